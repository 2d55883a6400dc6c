//! Who polls: a thread that waits for a result polls for itself; one thread per world polls for operations nobody waits for. Where the
//! backend has a thread of its own, that one polls; if it lends its place, whoever waits takes it for as long as operations go on briskly.
//!
//! A submission does not wake that thread: most operations are waited for at once, and a second running thread would only
//! take the core from another rank. It looks every millisecond while there is traffic, and at once when a submission
//! finds an earlier operation still outstanding, which shows that the program overlaps them.

use crate::backend::Funnel;
use crate::failure::{Code, Failure};
use crate::group::{GroupState, lock};
use crate::settings::Settings;
use crate::world::WorldState;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
/// Polls without result after which a spinning thread looks whether another rank needs its core.
const GLANCE: u32 = 16;
/// How long a thread that waits polls in the place of a backend's own thread before it offers its core: what comes over a network takes
/// longer than a few polls, and a system may give away a whole slice of time for one that is offered.
const PATIENCE: Duration = Duration::from_millis(1);
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
    /// Another rank was on the same core when this one looked last.
    shared: AtomicBool,
    /// Held by who polls in a world whose backend has a thread of its own.
    seat: Mutex<()>,
    submissions: AtomicU64,
}

impl Progress {
    fn wake(&self) {
        let guard = lock(&self.parking);
        self.awake.notify_all();
        drop(guard);
    }

    fn is_wanted(&self, world: &WorldState) -> bool {
        world.in_flight() > 0 && self.waiters.load(Ordering::SeqCst) == 0
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
        if catch_unwind(AssertUnwindSafe(|| run(&shared))).is_err() {
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
    let funnel = world.backend.funnel();
    let lends = funnel.is_none_or(Funnel::lends);
    let mut seen = 0;
    let mut last = Instant::now();
    let mut was_woken = true;
    while !progress.is_stopped() {
        // It may have come between a submission and its wait, which then takes the seat.
        let is_shy = funnel.is_some() && lends && !std::mem::replace(&mut was_woken, true);
        let is_left_alone = || !progress.is_wanted(world) || progress.is_stopped();
        if progress.is_wanted(world) && !(is_shy && linger(world, &is_left_alone)) {
            progress.driving.store(true, Ordering::SeqCst);
            let seat = funnel.map(|_| lock(&progress.seat));
            drive(world, None, &|| !progress.is_wanted(world) || progress.is_stopped());
            drop(seat);
            progress.driving.store(false, Ordering::SeqCst);
            if !lends {
                // The next operation often follows at once, and nobody else may begin it.
                linger(world, &|| world.in_flight() > 0 || progress.is_stopped());
            }
            last = Instant::now();
            continue;
        }
        if let Some(funnel) = funnel
            && let Ok(seat) = progress.seat.try_lock()
        {
            funnel.idle();
            drop(seat);
        }
        let submissions = progress.submissions.load(Ordering::SeqCst);
        if submissions != seen {
            (seen, last) = (submissions, Instant::now());
        }
        let is_quiet = last.elapsed() > QUIET;
        was_woken = park(world, seen, Parking { wakeable: is_quiet || !lends, limit: limit_of(is_quiet, funnel.is_some()) });
    }
}

/// How the thread waits for something to do.
struct Parking {
    /// Whether a submission wakes it.
    wakeable: bool,
    /// How long it waits at most; None for ever.
    limit: Option<Duration>,
}

fn limit_of(is_quiet: bool, looks_after_a_library: bool) -> Option<Duration> {
    match (is_quiet, looks_after_a_library) {
        (false, _) => Some(TICK),
        (true, true) => Some(NAP),
        (true, false) => None,
    }
}

/// Waits, unless something has come since `seen`. True when another thread has ended the wait.
fn park(world: &WorldState, seen: u64, Parking { wakeable, limit }: Parking) -> bool {
    let progress = &world.progress;
    let guard = lock(&progress.parking);
    progress.parked.store(wakeable, Ordering::SeqCst);
    let changed = progress.submissions.load(Ordering::SeqCst) != seen;
    let mut was_woken = false;
    if !changed && !progress.is_wanted(world) && !progress.is_stopped() {
        was_woken = match limit {
            None => progress.awake.wait(guard).is_ok(),
            Some(limit) => !progress.awake.wait_timeout(guard, limit).unwrap_or_else(PoisonError::into_inner).1.timed_out(),
        };
    }
    progress.parked.store(false, Ordering::SeqCst);
    was_woken
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
    let Some(funnel) = world.backend.funnel() else {
        progress.waiters.fetch_add(1, Ordering::SeqCst);
        drive(world, Some(group), is_done);
        progress.waiters.fetch_sub(1, Ordering::SeqCst);
        if progress.is_wanted(world) {
            progress.wake();
        }
        return;
    };
    let is_over = if funnel.lends() { poll_in_its_place(world, group, is_done) } else { linger(world, is_done) };
    if !is_over {
        progress.wake();
        sleep_until(world, is_done);
    }
}

/// Polls in the place of the backend's own thread until nothing has moved for a while. True once `is_done`; false also when that thread is at
/// work, or when the library may not be called any more.
fn poll_in_its_place(world: &WorldState, group: &GroupState, is_done: &dyn Fn() -> bool) -> bool {
    let progress = &world.progress;
    if world.failure().is_some() {
        return false;
    }
    // Counted first: the backend's own thread then leaves the seat, if it has just taken it.
    progress.waiters.fetch_add(1, Ordering::SeqCst);
    let seat = take_seat(world, is_done);
    let ended = if seat.is_some() { poll_awhile(world, Some(group), PATIENCE, is_done) } else { is_done() };
    progress.waiters.fetch_sub(1, Ordering::SeqCst);
    drop(seat);
    ended
}

/// The seat; None when it does not become free within a moment, or when `is_done` before that.
fn take_seat<'a>(world: &'a WorldState, is_done: &dyn Fn() -> bool) -> Option<MutexGuard<'a, ()>> {
    let seat = Cell::new(None);
    linger(world, &|| {
        let taken = world.progress.seat.try_lock().ok();
        let is_taken = taken.is_some();
        seat.set(taken);
        is_taken || is_done()
    });
    seat.into_inner()
}

/// Polls `group` once on the calling thread, where that may be.
pub(crate) fn help(world: &WorldState, group: &GroupState) {
    let Some(funnel) = world.backend.funnel() else {
        group.poll(world);
        return;
    };
    if funnel.lends()
        && world.failure().is_none()
        && let Ok(seat) = world.progress.seat.try_lock()
    {
        group.poll(world);
        drop(seat);
    }
}

/// Waits for the thread that polls; the bell rings whenever an operation has ended.
fn sleep_until(world: &WorldState, is_done: &dyn Fn() -> bool) {
    let bell = world.backend.bell();
    while !is_done() {
        let ticket = bell.announce();
        bell.sleep(ticket, if is_done() { None } else { Some(NAP) });
    }
}

/// Polls `own`, and whatever else is outstanding, until `is_done`; sleeps when nothing moves.
fn drive(world: &WorldState, own: Option<&GroupState>, is_done: &dyn Fn() -> bool) {
    let bell = world.backend.bell();
    while !poll_awhile(world, own, Duration::ZERO, is_done) {
        let ticket = bell.announce();
        if world.poll(None) || is_done() {
            bell.sleep(ticket, None);
            continue;
        }
        bell.sleep(ticket, Some(NAP));
        world.inspect_if_due(NAP);
    }
}

/// Polls until `is_done`, then true, or until nothing has moved for a while: where ranks have cores of their own, for `patience` at least.
fn poll_awhile(world: &WorldState, own: Option<&GroupState>, patience: Duration, is_done: &dyn Fn() -> bool) -> bool {
    let Settings { mut spins, yields, .. } = world.settings;
    // Two ranks that were on one core stay there for a while.
    let glance = if world.progress.shared.load(Ordering::Relaxed) { 1 } else { GLANCE };
    let mut until = None;
    let (mut quiet, mut polls) = (0, 0u32);
    while !is_done() {
        polls = polls.wrapping_add(1);
        if polls.is_multiple_of(POLLS_PER_LOOK) {
            world.inspect_if_due(NAP);
        }
        if world.poll(own) {
            (quiet, until) = (0, None);
            continue;
        }
        if quiet == spins && spins > 0 && !patience.is_zero() && Instant::now() < *until.get_or_insert_with(|| Instant::now() + patience) {
            std::hint::spin_loop();
            continue;
        }
        quiet += 1;
        if quiet == glance && spins > 0 {
            let shared = world.backend.shares_core();
            world.progress.shared.store(shared, Ordering::Relaxed);
            // What this thread waits for may be what another cannot do meanwhile.
            spins = if shared { 0 } else { spins };
        }
        if quiet <= spins {
            std::hint::spin_loop();
        } else if quiet <= spins + yields {
            std::thread::yield_now();
        } else {
            return false;
        }
    }
    true
}

/// Waits until nothing is outstanding, or `limit` has passed.
pub(crate) fn drain(world: &Arc<WorldState>, limit: Duration) {
    let start = Instant::now();
    let is_done = || world.in_flight() == 0 || start.elapsed() > limit;
    if world.backend.funnel().is_some() {
        world.progress.wake();
        return sleep_until(world, &is_done);
    }
    world.progress.waiters.fetch_add(1, Ordering::SeqCst);
    drive(world, None, &is_done);
    world.progress.waiters.fetch_sub(1, Ordering::SeqCst);
}
