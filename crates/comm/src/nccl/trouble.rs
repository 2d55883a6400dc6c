//! What NCCL tells of an operation that is under way. It is mostly the echo of a rank that has ended: whoever watches the ranks gets a moment
//! to say which.

use crate::backend::{Backend, GroupSpec, Presence};
use crate::operation::{Fault, Step};
use std::time::{Duration, Instant};

/// How long an error waits for its cause.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Trouble(Option<Instant>);

impl Trouble {
    /// Nothing to do as long as the cause may show itself, then the fault.
    pub fn tell(&mut self, error: cuda::Error) -> Result<Step, Fault> {
        let since = *self.0.get_or_insert_with(Instant::now);
        if since.elapsed() < GRACE { Ok(Step::Waiting) } else { Err(Fault::Broken(error.message)) }
    }
}

/// The members of a group that have ended without leaving: NCCL may wait for them for ever.
pub(super) fn lost(base: &dyn Backend, spec: &GroupSpec) -> Vec<usize> {
    let is_lost = |member: &usize| *member != spec.rank && base.control().presence(spec.ranks[*member]) == Presence::Lost;
    (0..spec.ranks.len()).filter(is_lost).collect()
}
