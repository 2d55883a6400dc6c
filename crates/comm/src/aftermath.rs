//! What a rank does once its world has failed: it keeps the first cause, writes its flight record, sees to the one report, and after a time
//! of grace ends a process that goes on regardless. A thread of its own watches for the failure, so that a rank that merely computes, or
//! whose main thread never yields, learns of it too.

use crate::failure::Failure;
use crate::group::lock;
use crate::recorder::{self, Reason};
use crate::report;
use crate::world::WorldState;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the thread looks for a failure that nobody else here has noticed.
const LOOK: Duration = Duration::from_millis(400);

/// The state of the watching thread and of what a failure entails.
#[derive(Default)]
pub(crate) struct Aftermath {
    failure: OnceLock<Failure>,
    /// What is to be done once.
    done: OnceLock<()>,
    /// One record is written at a time.
    writing: Mutex<()>,
    stopped: Mutex<bool>,
    changed: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Aftermath {
    fn notify(&self) {
        let guard = lock(&self.stopped);
        self.changed.notify_all();
        drop(guard);
    }

    /// Ends the watching thread. What it has begun after a failure goes on.
    pub fn stop_watching(&self) {
        *lock(&self.stopped) = true;
        self.changed.notify_all();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl WorldState {
    /// The failure that ended this world, if any. Once there is one, returns only when its record is written.
    pub fn failure(&self) -> Option<Failure> {
        let failure = match self.aftermath.failure.get() {
            Some(failure) => failure,
            None => {
                let failure = self.control().failure()?;
                self.aftermath.failure.get_or_init(|| failure)
            }
        };
        self.suffer(failure);
        Some(failure.clone())
    }

    /// Ends the world; returns the record that stands, which may be an earlier one of another rank.
    pub fn fail(&self, failure: Failure) -> Failure {
        let stands = self.aftermath.failure.get_or_init(|| self.control().fail(failure));
        self.suffer(stands);
        stands.clone()
    }

    /// The failure as far as it is known here, without waiting for anything.
    fn known_failure(&self) -> Option<Failure> {
        self.aftermath.failure.get().cloned().or_else(|| self.control().failure())
    }

    /// This rank's flight record.
    pub fn record(&self, reason: Reason) -> String {
        recorder::record(self, reason, self.aftermath.failure.get())
    }

    /// Does what is to be done once. Must not ask for `failure` on its way.
    fn suffer(&self, failure: &Failure) {
        self.aftermath.done.get_or_init(|| {
            self.aftermath.notify();
            self.write_record(Reason::Failure);
            if !self.backend.is_alone() {
                report::print(self, failure);
            }
        });
    }

    /// Writes this rank's flight record where the settings say so.
    pub fn write_record(&self, reason: Reason) {
        let Some(directory) = &self.settings.recorder_dir else { return };
        let guard = lock(&self.aftermath.writing);
        // The record of the failure is not overwritten by a lesser one.
        let is_wanted = reason == Reason::Failure || self.aftermath.failure.get().is_none();
        if is_wanted && let Err(error) = recorder::write(directory, self.rank, &self.record(reason)) {
            eprintln!(
                "megatron-ts: rank {} cannot write its flight record into {}: {error}. Set MEGATRON_RECORDER_DIR to a directory that can \
                 be written, or to off.",
                self.rank,
                directory.display()
            );
        }
        drop(guard);
    }
}

/// Starts to watch for a failure of the world.
pub(crate) fn watch(world: &Arc<WorldState>) {
    let shared = Arc::clone(world);
    match std::thread::Builder::new().name("megatron-watch".into()).spawn(move || run(&shared)) {
        Ok(thread) => *lock(&world.aftermath.thread) = Some(thread),
        Err(error) => eprintln!("megatron-ts: rank {} does not watch for failures while it computes: {error}.", world.rank),
    }
}

fn run(world: &WorldState) {
    let aftermath = &world.aftermath;
    loop {
        if let Some(failure) = world.known_failure() {
            // First of all, so that a disk that does not answer cannot prevent it.
            grant(world.rank, world.settings.exit_grace, &failure);
            drop(world.failure());
            return;
        }
        let stopped = lock(&aftermath.stopped);
        if *stopped {
            return;
        }
        // Whoever notes a failure here notifies under the lock.
        if aftermath.failure.get().is_some() {
            continue;
        }
        drop(aftermath.changed.wait_timeout(stopped, LOOK).unwrap_or_else(PoisonError::into_inner));
    }
}

/// Sees to it that the process ends within `grace`. The clock goes on when the world is left.
fn grant(rank: u32, grace: Option<Duration>, failure: &Failure) {
    let Some(grace) = grace else { return };
    let deadline = Instant::now() + grace;
    let text = format!(
        "megatron-ts: rank {rank} still runs {} s after its world failed and exits with status 1. First cause: {} {failure} \
         Pass exitOnFailure: false to go on after a failure.",
        (grace.as_secs_f64() * 10.0).round() / 10.0,
        failure.code.name(),
    );
    let end = move || {
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        eprintln!("{text}");
        // SAFETY: ends the process without running anything else of it, which may be stuck.
        unsafe { libc::_exit(1) }
    };
    if let Err(error) = std::thread::Builder::new().name("megatron-grace".into()).spawn(end) {
        eprintln!("megatron-ts: rank {rank} cannot end itself after the failure of its world: {error}.");
    }
}
