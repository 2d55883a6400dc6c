//! An operation as its submitter sees it: a result to wait for.

use crate::descriptor::Descriptor;
use crate::failure::{Code, Failure};
use crate::group::GroupState;
use crate::progress;
use crate::request::Request;
use crate::world::WorldState;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// What the submitter and whoever polls share of one operation.
pub(crate) struct Task {
    pub descriptor: Descriptor,
    pub request: Arc<Request>,
    submitted: Instant,
    /// Milliseconds from its start after which the operation fails; may change while it runs.
    timeout_ms: AtomicU64,
    outcome: OnceLock<Result<(), Failure>>,
}

impl Task {
    pub fn new(descriptor: Descriptor, request: Request, timeout: Duration) -> Arc<Self> {
        let timeout_ms = AtomicU64::new(timeout.as_millis() as u64);
        Arc::new(Self { descriptor, request: Arc::new(request), submitted: Instant::now(), timeout_ms, outcome: OnceLock::new() })
    }

    pub fn is_done(&self) -> bool {
        self.outcome.get().is_some()
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.load(Ordering::Relaxed))
    }

    /// Notes how it ended; the first outcome stands.
    pub fn settle(&self, outcome: Result<(), Failure>) {
        let _ = self.outcome.set(outcome);
    }
}

/// An operation under way. It goes on when this is dropped; the result is then lost.
pub struct Work {
    pub(crate) task: Arc<Task>,
    pub(crate) group: Arc<GroupState>,
    pub(crate) world: Arc<WorldState>,
}

impl Work {
    /// What the operation calls itself.
    pub fn descriptor(&self) -> &Descriptor {
        &self.task.descriptor
    }

    /// Whether it has ended, well or not. Helps it along.
    pub fn is_done(&self) -> bool {
        if !self.task.is_done() {
            self.group.poll(&self.world);
        }
        self.task.is_done()
    }

    /// Blocks until it has ended, polling on this thread. `timeout` counts from now; None keeps the world's own limit.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<(), Failure> {
        if let Some(timeout) = timeout {
            let limit = self.task.submitted.elapsed() + timeout;
            self.task.timeout_ms.store(limit.as_millis() as u64, Ordering::Relaxed);
        }
        if !self.task.is_done() {
            progress::wait(&self.world, &self.group, &|| self.task.is_done());
        }
        let lost = || {
            let message = format!("{} ended without an outcome. Please report it.", self.task.descriptor);
            Err(Failure { code: Code::Aborted, culprits: vec![self.world.rank], message })
        };
        self.task.outcome.get().cloned().unwrap_or_else(lost)
    }
}
