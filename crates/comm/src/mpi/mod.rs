//! Worlds across hosts by MPI, which is opened at run time. MPI only moves bytes, by its nonblocking calls, and on one thread at a time;
//! sums, deadlines and liveness are ours.

mod abi;
mod bell;
mod control;
mod dispositions;
mod guard;
mod join;
mod library;
mod meeting;
mod place;
mod session;
mod tags;
mod thread;
mod wire;

use crate::backend::{Backend, Bell, ControlPlane, Funnel, GroupSpec, Transport};
use crate::failure::Error;
use crate::settings::Settings;
use crate::wire::{Wire, WireTransport};
use bell::MpiBell;
use control::MpiControl;
use std::sync::Arc;
use std::time::Duration;
use thread::MpiThread;
use wire::MpiWire;

/// How long MPI may take to end before the process goes on without waiting for it.
const FINALIZE: Duration = Duration::from_secs(2);

/// The backend of a world whose ranks were started by an MPI launcher.
pub struct MpiBackend {
    thread: MpiThread,
    wire: Arc<MpiWire>,
    bell: Arc<MpiBell>,
    control: MpiControl,
    library: String,
    /// Bytes of a round of staging; None for the usual size.
    chunk: Option<usize>,
    /// Whether a thread that waits may call MPI.
    lends: bool,
}

impl MpiBackend {
    /// Starts MPI and joins the world of `job` as `rank` of `size`; returns once all ranks have joined. A process can do this once.
    pub fn join(job: &str, rank: u32, size: u32, settings: &Settings) -> Result<Arc<Self>, Error> {
        join::join(job, rank, size, settings).map(Arc::new)
    }

    /// The path of the MPI library that a world would use, or a sentence that says where none was found. MPI is not started.
    pub fn find_library() -> Result<String, String> {
        join::open_library().map(|opened| opened.path)
    }

    /// The path of the MPI library in use.
    pub fn library(&self) -> &str {
        &self.library
    }
}

impl Backend for MpiBackend {
    fn name(&self) -> &'static str {
        "mpi"
    }

    fn control(&self) -> &dyn ControlPlane {
        &self.control
    }

    fn bell(&self) -> &dyn Bell {
        &*self.bell
    }

    fn open(&self, spec: &Arc<GroupSpec>) -> Box<dyn Transport> {
        let wire: Arc<dyn Wire> = Arc::clone(&self.wire) as _;
        Box::new(WireTransport::new(&wire, spec, self.chunk))
    }

    fn funnel(&self) -> Option<&dyn Funnel> {
        Some(self)
    }

    fn end(&self, clean: bool) {
        // After a failure it would wait for ranks that are gone.
        if clean {
            let wire = Arc::clone(&self.wire);
            let _ = self.thread.ask(FINALIZE, move || wire.finalize());
        }
    }
}

impl Funnel for MpiBackend {
    fn run(&self, body: Box<dyn FnOnce() + Send>) {
        self.thread.run(body);
    }

    fn lends(&self) -> bool {
        self.lends
    }

    fn idle(&self) {
        self.wire.nudge();
    }
}
