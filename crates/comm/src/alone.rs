//! The control plane and the bell of a rank that is alone: nobody else fails, and nothing is waited for.

use crate::backend::{Bell, ControlPlane, Presence};
use crate::descriptor::Descriptor;
use crate::failure::Failure;
use std::sync::OnceLock;
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Alone {
    failure: OnceLock<Failure>,
}

impl ControlPlane for Alone {
    fn presence(&self, _rank: u32) -> Presence {
        Presence::Alive
    }

    fn pid(&self, _rank: u32) -> u32 {
        std::process::id()
    }

    fn enter(&self, _descriptor: &Descriptor) {}

    fn entered(&self, _rank: u32) -> Option<Descriptor> {
        None
    }

    fn failure(&self) -> Option<Failure> {
        self.failure.get().cloned()
    }

    fn fail(&self, failure: Failure) -> Failure {
        self.failure.get_or_init(|| failure).clone()
    }

    fn leave(&self) {}
}

impl Bell for Alone {
    fn announce(&self) -> u32 {
        0
    }

    fn sleep(&self, _ticket: u32, limit: Option<Duration>) {
        if limit.is_some() {
            std::thread::yield_now();
        }
    }

    fn ring(&self) {}
}
