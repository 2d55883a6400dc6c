//! What the ranks know about each other, and how they sleep: all of it lies in the segment's header.

use super::ShmBackend;
use super::platform::{self, ProcessWatch};
use super::segment::{ALIVE, LEFT};
use crate::backend::{Bell, ControlPlane, Presence, Wait};
use crate::descriptor::Descriptor;
use crate::failure::Failure;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

impl ControlPlane for ShmBackend {
    fn presence(&self, rank: u32) -> Presence {
        let cell = self.segment.rank_cell(rank);
        let said = || cell.presence.load(Ordering::Acquire);
        if said() == 0 {
            return Presence::Absent;
        }
        let watch = self.watches.get(rank as usize).and_then(Option::as_ref);
        let alive = rank == self.segment.rank || watch.is_none_or(ProcessWatch::is_alive) && self.segment.memory.is_held(rank);
        // Asked last: a rank says that it leaves before its lock goes.
        match said() {
            LEFT => Presence::Left,
            _ if alive => Presence::Alive,
            _ => Presence::Lost,
        }
    }

    fn pid(&self, rank: u32) -> u32 {
        self.segment.rank_cell(rank).pid.load(Ordering::Relaxed)
    }

    fn enter(&self, descriptor: &Descriptor) {
        self.segment.enter(descriptor);
    }

    fn entered(&self, rank: u32) -> Option<Descriptor> {
        self.segment.entered(rank)
    }

    fn note_wait(&self, wait: Option<&Wait>) {
        self.segment.note_wait(wait);
    }

    fn wait_of(&self, rank: u32) -> Option<Wait> {
        self.segment.wait_of(rank)
    }

    fn failure(&self) -> Option<Failure> {
        self.segment.failure()
    }

    fn fail(&self, failure: Failure) -> Failure {
        self.segment.fail(failure)
    }

    fn claim_report(&self) -> bool {
        self.segment.claim_report()
    }

    fn leave(&self) {
        let presence = &self.segment.rank_cell(self.segment.rank).presence;
        let _ = presence.compare_exchange(ALIVE, LEFT, Ordering::AcqRel, Ordering::Acquire);
        self.segment.ring_all();
    }
}

impl Bell for ShmBackend {
    fn announce(&self) -> u32 {
        let bell = self.segment.own_bell();
        bell.sleepers.fetch_add(1, Ordering::SeqCst);
        let epoch = bell.epoch.load(Ordering::SeqCst);
        fence(Ordering::SeqCst);
        epoch
    }

    fn sleep(&self, ticket: u32, limit: Option<Duration>) {
        let bell = self.segment.own_bell();
        if let Some(limit) = limit {
            platform::wait(&bell.epoch, ticket, limit);
        }
        bell.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn ring(&self) {
        self.segment.ring(self.segment.rank);
    }
}
