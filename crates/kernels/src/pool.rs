//! The threads that share the items of an operation.
//!
//! The caller publishes a job and works on it; workers join while it is open. When the caller finds no more items it closes the
//! job and waits only for workers that joined, so a worker that is still asleep costs nothing.
//!
//! Each thread begins with its own run of items, and takes from the others' runs when that has ended. Operations over the same elements
//! thus find in a core's cache what that core has just written, and a core that is taken away for a while holds up nobody.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Mutex, OnceLock};
use std::thread::Thread;

/// The most threads that take part.
pub const MAX_THREADS: usize = 256;

/// Pauses before a worker without a job parks: about the time between two ops of a step.
const SPINS: u32 = 4000;
/// The same when there are more threads than cores.
const SPINS_OVERSUBSCRIBED: u32 = 20;
/// Pauses of the caller before it gives its core to a worker that has not finished.
const CALLER_SPINS: u32 = 2000;

/// The state word: joined workers, the open bit, and above it the number of the job.
const OPEN: u64 = 1 << 16;
const JOB: u64 = 1 << 17;

/// What the workers of a job share.
#[derive(Clone, Copy)]
struct Job {
    f: *const (dyn Fn(usize) + Sync),
    items: usize,
    /// Threads that may take part, the caller included.
    threads: usize,
}

impl Job {
    /// The items with which thread `node` begins.
    fn own(&self, node: usize) -> Range<usize> {
        self.items * node / self.threads..self.items * (node + 1) / self.threads
    }
}

/// The next item of a thread's run, in a cache line of its own.
#[repr(align(64))]
struct Next(AtomicUsize);

struct Worker {
    parked: AtomicBool,
    thread: OnceLock<Thread>,
}

struct Pool {
    state: AtomicU64,
    next: [Next; MAX_THREADS],
    job: UnsafeCell<Option<Job>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Held by the caller whose job runs.
    busy: AtomicBool,
    /// Threads wanted; 0 before the first use.
    threads: AtomicUsize,
    oversubscribed: AtomicBool,
    started: AtomicUsize,
    workers: [Worker; MAX_THREADS],
}

// SAFETY: `job` is written by the holder of `busy` while the job is closed and nobody has joined, and read by who has joined.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool {
    state: AtomicU64::new(0),
    next: [const { Next(AtomicUsize::new(0)) }; MAX_THREADS],
    job: UnsafeCell::new(None),
    panic: Mutex::new(None),
    busy: AtomicBool::new(false),
    threads: AtomicUsize::new(0),
    oversubscribed: AtomicBool::new(false),
    started: AtomicUsize::new(0),
    workers: [const { Worker { parked: AtomicBool::new(false), thread: OnceLock::new() } }; MAX_THREADS],
};

/// The number of threads that share an operation, the caller included.
pub fn threads() -> usize {
    match POOL.threads.load(Relaxed) {
        0 => {
            let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_THREADS));
            POOL.threads.store(cores, Relaxed);
            cores
        }
        threads => threads,
    }
}

/// Sets that number, from 1 on; results do not depend on it.
pub fn set_threads(threads: usize) {
    POOL.threads.store(threads.clamp(1, MAX_THREADS), Relaxed);
}

/// Tells that the threads of all ranks of this host are more than its cores: waiting threads give their core away at once.
pub fn set_oversubscribed(oversubscribed: bool) {
    POOL.oversubscribed.store(oversubscribed, Relaxed);
}

/// Calls `f` with every number below `items`, in any order, on the pool and on the caller; returns when all calls have.
/// From within an item, or while another thread's job runs, the calls are made here, one after the other. A panic of an
/// item is carried to the caller; items not yet begun are then left out.
pub fn run(items: usize, f: &(dyn Fn(usize) + Sync)) {
    let threads = threads().min(items);
    if threads <= 1 || POOL.busy.swap(true, Acquire) {
        return (0..items).for_each(f);
    }
    POOL.run(items, threads, f);
    let panic = POOL.panic.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    POOL.busy.store(false, Release);
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

impl Pool {
    /// Runs a job; the caller holds `busy`.
    fn run(&'static self, items: usize, threads: usize, f: &(dyn Fn(usize) + Sync)) {
        self.start(threads - 1);
        // SAFETY: only the lifetime changes; the job is closed and left by all before this call returns.
        let f: *const (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(f) };
        let job = Job { f, items, threads };
        // SAFETY: the job is closed and nobody has joined.
        unsafe { *self.job.get() = Some(job) };
        for (node, next) in self.next[..threads].iter().enumerate() {
            next.0.store(job.own(node).start, Relaxed);
        }
        let number = (self.state.load(Relaxed) / JOB + 1) * JOB;
        self.state.store(number | OPEN, SeqCst);
        self.wake_below(0, threads);
        self.work(job, 0);
        self.state.fetch_and(!OPEN, SeqCst);
        let mut spins = if self.oversubscribed.load(Relaxed) { CALLER_SPINS } else { 0 };
        while self.state.load(Acquire) != number {
            spins += 1;
            if spins < CALLER_SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }

    /// Makes items of `job` until there are none left, those of thread `node` first.
    fn work(&self, job: Job, node: usize) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            for owner in (node..job.threads).chain(0..node) {
                let (Next(next), end) = (&self.next[owner], job.own(owner).end);
                // A look first: what has ended is read by all, and written by nobody.
                while next.load(Relaxed) < end {
                    let item = next.fetch_add(1, Relaxed);
                    if item < end {
                        // SAFETY: the job is open or this thread has joined it, so the caller still waits.
                        unsafe { (*job.f)(item) };
                    }
                }
            }
        }));
        if let Err(payload) = result {
            for next in &self.next[..job.threads] {
                next.0.store(job.items, Relaxed);
            }
            self.panic.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(payload);
        }
    }

    /// Sees to it that `count` workers exist, as far as the system allows.
    fn start(&'static self, count: usize) {
        while self.started.load(Relaxed) < count {
            let index = self.started.load(Relaxed);
            let worker = std::thread::Builder::new().name(format!("megatron-{}", index + 1)).spawn(move || self.serve(index));
            let Ok(handle) = worker else { return };
            let _ = self.workers[index].thread.set(handle.thread().clone());
            self.started.store(index + 1, Release);
        }
    }

    /// Wakes the two children of thread `node` (0 is the caller, worker i is i + 1), which wake theirs when they join.
    fn wake_below(&self, node: usize, threads: usize) {
        for child in [2 * node + 1, 2 * node + 2] {
            let worker = &self.workers[(child - 1).min(MAX_THREADS - 1)];
            let asleep = child < threads && worker.parked.swap(false, SeqCst);
            if let Some(thread) = worker.thread.get().filter(|_| asleep) {
                thread.unpark();
            }
        }
    }

    /// A worker's life.
    fn serve(&self, index: usize) {
        let mut seen = 0;
        loop {
            seen = self.await_job(index, seen);
            if let Some(job) = self.join(seen) {
                if index + 1 < job.threads {
                    self.wake_below(index + 1, job.threads);
                    self.work(job, index + 1);
                }
                self.state.fetch_sub(1, Release);
            }
        }
    }

    /// Waits for an open job other than `seen`: spins for a while, then parks.
    fn await_job(&self, index: usize, seen: u64) -> u64 {
        let parked = &self.workers[index].parked;
        let fresh = || Some(self.state.load(SeqCst)).filter(|state| state & OPEN != 0 && state / JOB != seen).map(|state| state / JOB);
        loop {
            let spins = if self.oversubscribed.load(Relaxed) { SPINS_OVERSUBSCRIBED } else { SPINS };
            for _ in 0..spins {
                if let Some(number) = fresh() {
                    return number;
                }
                std::hint::spin_loop();
            }
            parked.store(true, SeqCst);
            if let Some(number) = fresh() {
                parked.store(false, SeqCst);
                return number;
            }
            while parked.load(SeqCst) {
                std::thread::park();
            }
        }
    }

    /// Joins job `number` if it is still open.
    fn join(&self, number: u64) -> Option<Job> {
        let mut state = self.state.load(Relaxed);
        while state & OPEN != 0 && state / JOB == number {
            match self.state.compare_exchange_weak(state, state + 1, AcqRel, Relaxed) {
                // SAFETY: joined, so the job stays as it is until this thread leaves.
                Ok(_) => return unsafe { *self.job.get() },
                Err(now) => state = now,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
