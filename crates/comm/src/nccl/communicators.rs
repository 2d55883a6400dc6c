//! The communicators of a rank, which end with their groups, or with the world.

use crate::group::lock;
use cuda::Communicator;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// How long the end of a world waits for the other ranks to end theirs too, and between two looks.
const FAREWELL: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(1));

#[derive(Default)]
pub(super) struct Communicators(Mutex<Held>);

#[derive(Default)]
struct Held {
    open: Vec<Communicator>,
    /// Those that this rank has done with, and perhaps not all of the others.
    leaving: Vec<Communicator>,
}

impl Communicators {
    pub fn add(&self, communicator: &Communicator) {
        lock(&self.0).open.push(communicator.clone());
    }

    /// Begins the end of one whose group is closed. Nobody waits for that here.
    pub fn retire(&self, communicator: &Communicator) {
        let mut held = lock(&self.0);
        let Some(at) = held.open.iter().position(|other| other.is(communicator)) else { return };
        let communicator = held.open.swap_remove(at);
        // One that cannot be ended in order is given up when it is dropped.
        if communicator.finalize().is_ok() {
            held.leaving.push(communicator);
        }
    }

    /// Gives back what all ranks have done with.
    pub fn sweep(&self) {
        let mut held = lock(&self.0);
        let over: Vec<Communicator> = held.leaving.extract_if(.., |leaving| leaving.poll().unwrap_or(true)).collect();
        drop(held);
        // What NCCL says of an end interests nobody any more.
        over.iter().for_each(|communicator| _ = communicator.release());
    }

    /// Ends all of them: in order where the world ends so, otherwise at once, since others may not come any more.
    pub fn end(&self, clean: bool) {
        let open = std::mem::take(&mut lock(&self.0).open);
        if clean {
            let finalized = open.into_iter().filter(|communicator| communicator.finalize().is_ok()).collect::<Vec<_>>();
            lock(&self.0).leaving.extend(finalized);
            let begin = Instant::now();
            self.sweep();
            while !lock(&self.0).leaving.is_empty() && begin.elapsed() < FAREWELL.0 {
                thread::sleep(FAREWELL.1);
                self.sweep();
            }
        } else {
            open.iter().for_each(|communicator| _ = communicator.abort("the world has ended."));
        }
        let late = std::mem::take(&mut lock(&self.0).leaving);
        late.iter().for_each(|communicator| _ = communicator.abort("the world has ended."));
    }
}
