//! Ranks as threads of one process: real data, real waiting, no shared memory segment and no sockets.

mod bell;
mod control;
mod hub;
mod mailbox;
mod registry;
mod wire;

use crate::backend::{Backend, Bell, ControlPlane, GroupSpec, Transport};
use crate::failure::{Code, Error, Failure};
use crate::settings::Settings;
use crate::wire::{Wire, WireTransport};
use hub::Hub;
use std::sync::Arc;

/// One rank of a world within this process.
pub struct SimBackend {
    hub: Arc<Hub>,
    rank: u32,
    wire: Arc<dyn Wire>,
    chunk: Option<usize>,
}

impl SimBackend {
    /// Joins the world of `job` within this process; returns once every rank has.
    pub fn join(job: &str, rank: u32, size: u32, settings: &Settings) -> Result<Arc<Self>, Error> {
        let hub = registry::enter(job, rank, size, settings.chunk)?;
        // From here on this rank departs whatever happens.
        let wire = Arc::new(wire::SimWire::new(Arc::clone(&hub), rank));
        let backend = Arc::new(Self { hub, rank, wire, chunk: settings.chunk });
        backend.hub.meet(rank, settings.join_timeout)?;
        Ok(backend)
    }
}

/// Ends the worlds of this process whose jobs begin with `job`, as somebody does who has waited long enough: whoever waits in them is told.
pub fn abort_sim(job: &str) {
    for hub in registry::find(job) {
        let message = format!("the world {job} was ended from outside. Look for the rank that did not come.");
        hub.fail(Failure { code: Code::Aborted, culprits: Vec::new(), message });
    }
}

impl Backend for SimBackend {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn control(&self) -> &dyn ControlPlane {
        self
    }

    fn bell(&self) -> &dyn Bell {
        &self.hub.seat(self.rank).bell
    }

    fn open(&self, spec: &Arc<GroupSpec>) -> Box<dyn Transport> {
        Box::new(WireTransport::new(&self.wire, spec, self.chunk))
    }

    fn end(&self, clean: bool) {
        self.hub.depart(self.rank, clean);
    }
}

impl Drop for SimBackend {
    fn drop(&mut self) {
        self.hub.depart(self.rank, false);
    }
}
