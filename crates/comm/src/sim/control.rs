//! What the ranks know about each other.

use super::SimBackend;
use crate::backend::{ControlPlane, Presence, Wait};
use crate::descriptor::Descriptor;
use crate::failure::Failure;
use crate::group::lock;

impl ControlPlane for SimBackend {
    fn presence(&self, rank: u32) -> Presence {
        self.hub.presence(rank)
    }

    fn pid(&self, _rank: u32) -> u32 {
        std::process::id()
    }

    fn enter(&self, descriptor: &Descriptor) {
        *lock(&self.hub.seat(self.rank).entered) = Some(*descriptor);
    }

    fn entered(&self, rank: u32) -> Option<Descriptor> {
        *lock(&self.hub.seat(rank).entered)
    }

    fn note_wait(&self, wait: Option<&Wait>) {
        *lock(&self.hub.seat(self.rank).waits) = wait.copied();
    }

    fn wait_of(&self, rank: u32) -> Option<Wait> {
        *lock(&self.hub.seat(rank).waits)
    }

    fn failure(&self) -> Option<Failure> {
        self.hub.failure()
    }

    fn fail(&self, failure: Failure) -> Failure {
        self.hub.fail(failure)
    }

    fn claim_report(&self) -> bool {
        self.hub.claim_report()
    }

    fn leave(&self) {
        self.hub.depart(self.rank, true);
    }
}
