//! The one thread of this process on which MPI is called.

use super::bell::MpiBell;
use crate::backend::Funnel;
use crate::group::lock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Body = Box<dyn FnOnce() + Send>;

/// The thread lives as long as this does, or for ever when MPI does not return.
pub struct MpiThread {
    bodies: Mutex<Sender<Body>>,
}

impl MpiThread {
    pub fn start(bell: Arc<MpiBell>) -> std::io::Result<Self> {
        let (bodies, receiver) = channel::<Body>();
        let run = move || {
            bell.is_polled_here();
            sharpen_naps();
            serve(&receiver);
        };
        std::thread::Builder::new().name("megatron-mpi".into()).spawn(run)?;
        Ok(Self { bodies: Mutex::new(bodies) })
    }

    /// What `ask` returns when run on that thread; None when it does not return within `limit`.
    pub fn ask<T: Send + 'static>(&self, limit: Duration, ask: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, answer) = channel();
        self.run(Box::new(move || {
            let _ = sender.send(ask());
        }));
        answer.recv_timeout(limit).ok()
    }
}

impl Funnel for MpiThread {
    fn run(&self, body: Body) {
        // The receiver lives as long as the sender.
        let _ = lock(&self.bodies).send(body);
    }
}

fn serve(bodies: &Receiver<Body>) {
    while let Ok(body) = bodies.recv() {
        body();
    }
}

/// Lets this thread's short naps be as short as they are meant: the system may otherwise add 50 microseconds to each.
#[cfg(target_os = "linux")]
fn sharpen_naps() {
    // SAFETY: changes a property of the calling thread alone.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000 as libc::c_ulong) };
}

#[cfg(not(target_os = "linux"))]
fn sharpen_naps() {}
