//! Who polls: a thread that waits for a result polls for itself; one thread per world polls for operations nobody waits for. Where the
//! backend has a thread of its own, that one polls everything, and those who wait sleep.
//!
//! A submission does not wake that thread: most operations are waited for at once, and a second running thread would only
//! take the core from another rank. It looks every millisecond while there is traffic, and at once when a submission
//! finds an earlier operation still outstanding, which shows that the program overlaps them.

use crate::backend::Funnel;
use crate::failure::{Code, Failure};
use crate::group::{GroupState, lock};
use crate::settings::Settings;
use crate::world::WorldState;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest sleep: liveness, deadlines and failures are looked at this often.
const NAP: Duration = Duration::from_millis(20);
/// How often the thread looks for operations that nobody waits for.
const TICK: Duration = Duration::from_millis(1);
/// After this long without a submission it sleeps until it is woken.
const QUIET: Duration = Duration::from_millis(100);
/// Polls between two looks at the clock while something always moves.
const POLLS_PER_LOOK: u32 = 1024;
/// How long a backend's own thread may take to come out of the library it polls.
pub(crate) const STUCK: Duration = Duration::from_secs(1);

/// The state of the thread and of those who poll for themselves.
#[derive(Default)]
pub(crate) struct Progress {
    thread: Mutex<Option<JoinHandle<()>>>,
    parking: Mutex<()>,
    awake: Condvar,
    started: AtomicBool,
    /// A backend's own thread is at work here.
    running: AtomicBool,
    /// The thread sleeps until it is woken.
    parked: AtomicBool,
    /// The thread polls.
    driving: AtomicBool,
    stop: AtomicBool,
    /// Threads that wait for a result, and poll.
    waiters: AtomicUsize,
    submissions: AtomicU64,
}

impl Progress {
    fn wake(&self) {
        let guard = lock(&self.parking);
        self.awake.notify_all();
        drop(guard);
    }

    fn is_wanted(&self, world: &WorldState) -> bool {
        world.in_flight() > 0 && (world.backend.funnel().is_some() || self.waiters.load(Ordering::SeqCst) == 0)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Ends the thread.
    pub fn shut_down(&self, world: &WorldState) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
        world.backend.bell().ring();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
        if world.backend.funnel().is_some() {
            let ended = lock(&self.parking);
            let is_running = |_: &mut ()| self.running.load(Ordering::SeqCst);
            drop(self.awake.wait_timeout_while(ended, STUCK, is_running).unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// Sees to it that an operation just submitted goes on although nobody may wait for it.
/// `others`: how many operations were outstanding before.
pub(crate) fn notice(world: &Arc<WorldState>, others: usize) {
    let progress = &world.progress;
    start(world);
    progress.submissions.fetch_add(1, Ordering::SeqCst);
    let overlapping = others > 0 && progress.is_wanted(world) && !progress.driving.load(Ordering::SeqCst);
    if progress.parked.load(Ordering::SeqCst) || overlapping {
        progress.wake();
    }
    // A thread that sleeps on the bell has not seen this operation.
    world.backend.bell().ring();
}

/// Starts the thread, unless it has been.
pub(crate) fn start(world: &Arc<WorldState>) {
    if world.progress.started.swap(true, Ordering::SeqCst) {
        return;
    }
    let shared = Arc::clone(world);
    let body = move || {
        let poll = || match shared.backend.funnel() {
            None => run(&shared),
            Some(funnel) => run_in(&shared, funnel),
        };
        if catch_unwind(AssertUnwindSafe(poll)).is_err() {
            let message = format!("rank {}: the progress thread panicked. Please report it.", shared.rank);
            shared.fail(Failure { code: Code::Aborted, culprits: vec![shared.rank], message });
        }
        shared.progress.running.store(false, Ordering::SeqCst);
        shared.progress.wake();
    };
    if let Some(funnel) = world.backend.funnel() {
        world.progress.running.store(true, Ordering::SeqCst);
        return funnel.run(Box::new(body));
    }
    match std::thread::Builder::new().name("megatron-comm".into()).spawn(body) {
        Ok(handle) => *lock(&world.progress.thread) = Some(handle),
        // Waiting threads poll for themselves; only operations nobody waits for stand still meanwhile.
        Err(error) => eprintln!("megatron-ts: rank {} has no progress thread: {error}.", world.rank),
    }
}

fn run(world: &WorldState) {
    let progress = &world.progress;
    let mut seen = 0;
    let mut last = Instant::now();
    while !progress.is_stopped() {
        if progress.is_wanted(world) {
            progress.driving.store(true, Ordering::SeqCst);
            drive(world, None, &|| !progress.is_wanted(world) || progress.is_stopped());
            progress.driving.store(false, Ordering::SeqCst);
            last = Instant::now();
            continue;
        }
        let submissions = progress.submissions.load(Ordering::SeqCst);
        if submissions != seen {
            (seen, last) = (submissions, Instant::now());
        }
        let guard = lock(&progress.parking);
        let park = last.elapsed() > QUIET;
        progress.parked.store(park, Ordering::SeqCst);
        let changed = progress.submissions.load(Ordering::SeqCst) != seen;
        if !changed && !progress.is_wanted(world) && !progress.is_stopped() {
            if park {
                drop(progress.awake.wait(guard).unwrap_or_else(PoisonError::into_inner));
            } else {
                drop(progress.awake.wait_timeout(guard, TICK).unwrap_or_else(PoisonError::into_inner));
            }
        }
        progress.parked.store(false, Ordering::SeqCst);
    }
}

/// On a backend's own thread: polls whatever is outstanding, and looks after the library meanwhile.
fn run_in(world: &WorldState, funnel: &dyn Funnel) {
    let progress = &world.progress;
    let mut last = Instant::now();
    let is_called = || world.in_flight() > 0 || progress.is_stopped();
    while !progress.is_stopped() {
        if world.in_flight() > 0 {
            drive(world, None, &|| world.in_flight() == 0 || progress.is_stopped());
            // The next operation often follows at once.
            linger(world, &is_called);
            last = Instant::now();
            continue;
        }
        funnel.idle();
        let guard = lock(&progress.parking);
        progress.parked.store(true, Ordering::SeqCst);
        if !is_called() {
            let limit = if last.elapsed() > QUIET { NAP } else { TICK };
            drop(progress.awake.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner));
        }
        progress.parked.store(false, Ordering::SeqCst);
    }
}

/// Waits a little without sleeping. True once `is_done`.
fn linger(world: &WorldState, is_done: &dyn Fn() -> bool) -> bool {
    let Settings { spins, yields, .. } = world.settings;
    for round in 0..spins + yields {
        if is_done() {
            return true;
        }
        if round < spins { std::hint::spin_loop() } else { std::thread::yield_now() }
    }
    is_done()
}

/// Blocks until `is_done`: polls on the calling thread, unless another one must.
pub(crate) fn wait(world: &Arc<WorldState>, group: &GroupState, is_done: &dyn Fn() -> bool) {
    let progress = &world.progress;
    progress.waiters.fetch_add(1, Ordering::SeqCst);
    match world.backend.funnel() {
        None => drive(world, Some(group), is_done),
        Some(_) => sleep_until(world, is_done),
    }
    progress.waiters.fetch_sub(1, Ordering::SeqCst);
    if progress.is_wanted(world) {
        progress.wake();
    }
}

/// Waits for the thread that polls; the bell rings whenever an operation has ended.
fn sleep_until(world: &WorldState, is_done: &dyn Fn() -> bool) {
    let bell = world.backend.bell();
    if linger(world, is_done) {
        return;
    }
    while !is_done() {
        let ticket = bell.announce();
        bell.sleep(ticket, if is_done() { None } else { Some(NAP) });
    }
}

/// Polls `own`, and whatever else is outstanding, until `is_done`; sleeps when nothing moves.
fn drive(world: &WorldState, own: Option<&GroupState>, is_done: &dyn Fn() -> bool) {
    let bell = world.backend.bell();
    let (mut quiet, mut polls) = (0, 0u32);
    while !is_done() {
        polls = polls.wrapping_add(1);
        if polls.is_multiple_of(POLLS_PER_LOOK) {
            world.inspect_if_due(NAP);
        }
        if world.poll(own) {
            quiet = 0;
            continue;
        }
        quiet += 1;
        let Settings { spins, yields, .. } = world.settings;
        if quiet <= spins {
            std::hint::spin_loop();
            continue;
        }
        if quiet <= spins + yields {
            std::thread::yield_now();
            continue;
        }
        quiet = 0;
        let ticket = bell.announce();
        if world.poll(None) || is_done() {
            bell.sleep(ticket, None);
            continue;
        }
        bell.sleep(ticket, Some(NAP));
        world.inspect_if_due(NAP);
    }
}

/// Waits until nothing is outstanding, or `limit` has passed.
pub(crate) fn drain(world: &Arc<WorldState>, limit: Duration) {
    let start = Instant::now();
    let is_done = || world.in_flight() == 0 || start.elapsed() > limit;
    world.progress.waiters.fetch_add(1, Ordering::SeqCst);
    match world.backend.funnel() {
        None => drive(world, None, &is_done),
        Some(_) => sleep_until(world, &is_done),
    }
    world.progress.waiters.fetch_sub(1, Ordering::SeqCst);
}
