//! An operation as its submitter sees it: a result to wait for.

use crate::descriptor::Descriptor;
use crate::device_request::Asked;
use crate::failure::{Code, Failure};
use crate::group::{GroupState, Limits};
use crate::progress;
use crate::world::WorldState;
use cuda::Stream;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// `Task::deadline_ms` of an operation whose submitter gave no limit.
const NO_DEADLINE: u64 = u64::MAX;

/// What the submitter and whoever polls share of one operation.
pub(crate) struct Task {
    pub descriptor: Descriptor,
    pub asked: Asked,
    /// Its number in the flight recorder.
    pub entry: u64,
    submitted: Instant,
    /// How long it may take from its start, where its submitter says nothing else.
    limit: Duration,
    /// Milliseconds from its submission within which its submitter wants it to end.
    deadline_ms: AtomicU64,
    /// When to warn first.
    pub slow: Duration,
    /// Threads that wait for it.
    waiters: AtomicU32,
    /// A stream waits for it in place of the program.
    is_led: AtomicBool,
    outcome: OnceLock<Result<(), Failure>>,
}

impl Task {
    pub fn new(descriptor: Descriptor, asked: Asked, limits: Limits, submitted: Instant, entry: u64) -> Arc<Self> {
        Arc::new(Self {
            descriptor,
            asked,
            entry,
            submitted,
            limit: limits.timeout,
            deadline_ms: AtomicU64::new(NO_DEADLINE),
            slow: limits.slow,
            waiters: AtomicU32::new(0),
            is_led: AtomicBool::new(false),
            outcome: OnceLock::new(),
        })
    }

    pub fn is_done(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// Whether the program does not go on before it has ended.
    pub fn is_awaited(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    /// Whether a stream waits for it in place of the program.
    pub fn is_led(&self) -> bool {
        self.is_led.load(Ordering::Relaxed)
    }

    /// The limit that its submitter gave, from the submission on.
    fn deadline(&self) -> Option<Duration> {
        Some(self.deadline_ms.load(Ordering::Relaxed)).filter(|&limit| limit != NO_DEADLINE).map(Duration::from_millis)
    }

    /// How long it may take in all.
    pub fn limit(&self) -> Duration {
        self.deadline().unwrap_or(self.limit)
    }

    /// The limit it has passed, if any. `started`: since when it runs; None while it is queued.
    pub fn overrun(&self, started: Option<Instant>, now: Instant) -> Option<Duration> {
        let (limit, since) = match self.deadline() {
            Some(limit) => (limit, Some(self.submitted)),
            None => (self.limit, started),
        };
        since.is_some_and(|since| now.saturating_duration_since(since) >= limit).then_some(limit)
    }

    /// Notes how it ended; the first outcome stands.
    pub fn settle(&self, world: &WorldState, outcome: Result<(), Failure>) {
        // Before the outcome, so that who has waited finds it in the record.
        world.recorder.end(self.entry, outcome.is_ok());
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
            progress::help(&self.world, &self.group);
        }
        let is_done = self.has_ended();
        if is_done {
            // What the program does from here on may rest on the result.
            self.world.recorder.wait(self.task.entry);
        }
        is_done
    }

    /// Blocks until it has ended, polling on this thread where that may be. `timeout` counts from now, also while it is queued behind
    /// others; None keeps the group's own limit, which counts from its start.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<(), Failure> {
        let task = &self.task;
        self.world.recorder.wait(task.entry);
        self.limit(timeout);
        self.until(&|| self.has_ended());
        let lost = || {
            let message = format!("{} ended without an outcome. Please report it.", task.descriptor);
            Err(Failure { code: Code::Aborted, culprits: vec![self.world.rank], message })
        };
        let failed = || self.world.failure().map_or_else(lost, Err);
        task.outcome.get().cloned().unwrap_or_else(failed)
    }

    /// Notes within which time from now on it has to end.
    fn limit(&self, timeout: Option<Duration>) {
        if let Some(timeout) = timeout {
            let limit = self.task.submitted.elapsed().saturating_add(timeout).as_millis() as u64;
            self.task.deadline_ms.store(limit, Ordering::Relaxed);
        }
    }

    /// Lets what is asked of a stream of the device from now on begin after the results. This thread waits only until all ranks have come and
    /// the device has been asked, not for the device. For memory of a device; otherwise it is the same as `wait`.
    pub fn lead(&self, stream: Stream, timeout: Option<Duration>) -> Result<(), Failure> {
        let Asked::OnDevice(asked) = &self.task.asked else { return self.wait(timeout) };
        self.world.recorder.wait(self.task.entry);
        self.limit(timeout);
        self.until(&|| asked.is_issued() || self.has_ended());
        if self.has_ended() {
            self.wait(None)?;
        }
        self.task.is_led.store(true, Ordering::Relaxed);
        asked.lead(stream).map_err(|error| {
            let message = format!("rank {} cannot wait for {}: {}", self.world.rank, self.task.descriptor, error.message);
            self.world.fail(Failure { code: Code::Aborted, culprits: vec![self.world.rank], message })
        })
    }

    /// Polls, or sleeps, until `is_done`.
    fn until(&self, is_done: &dyn Fn() -> bool) {
        if !is_done() {
            self.task.waiters.fetch_add(1, Ordering::Relaxed);
            progress::wait(&self.world, &self.group, is_done);
            self.task.waiters.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A failed world may have lost the thread that would tell: the library it was in does not return.
    fn has_ended(&self) -> bool {
        self.task.is_done() || (self.world.backend.funnel().is_some() && self.world.failure().is_some())
    }
}
