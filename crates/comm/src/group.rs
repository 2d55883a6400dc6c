//! A group of ranks: where operations are submitted, counted and polled.

use crate::backend::GroupSpec;
use crate::descriptor::{Descriptor, GroupName, KINDS, Kind, Label};
use crate::failure::{Code, Error, Failure};
use crate::lane::Lane;
use crate::progress;
use crate::request::Request;
use crate::work::{Task, Work};
use crate::world::WorldState;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many operations of each kind (in the order of `KINDS`) were submitted, and how many bytes this rank handed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub kinds: [u64; KINDS.len()],
    pub bytes: u64,
}

impl Counts {
    pub fn of(&self, kind: Kind) -> u64 {
        self.kinds[kind.index()]
    }
}

/// Submitted, not yet seen by whoever polls.
#[derive(Default)]
struct Inbox {
    tasks: Vec<Arc<Task>>,
    collectives: u64,
    exchanges: u64,
}

pub(crate) struct GroupState {
    pub spec: Arc<GroupSpec>,
    name: GroupName,
    inbox: Mutex<Inbox>,
    /// Whether the inbox may hold something.
    fresh: AtomicBool,
    lane: Mutex<Lane>,
    pub in_flight: AtomicUsize,
    closed: AtomicBool,
    kinds: [AtomicU64; KINDS.len()],
    bytes: AtomicU64,
}

/// A lock that a panic elsewhere does not turn into a second one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GroupState {
    pub fn new(spec: Arc<GroupSpec>, lane: Lane) -> Self {
        let name = GroupName::new(&spec.name);
        Self {
            spec,
            name,
            inbox: Mutex::default(),
            fresh: AtomicBool::new(false),
            lane: Mutex::new(lane),
            in_flight: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            kinds: Default::default(),
            bytes: AtomicU64::new(0),
        }
    }

    /// Advances this group's operations by one round, unless another thread is at it. True when anything moved.
    pub fn poll(&self, world: &WorldState) -> bool {
        self.with_lane(world, |lane| lane.poll(world, &self.spec))
    }

    /// Looks after the operations that wait.
    pub fn inspect(&self, world: &WorldState) {
        self.with_lane(world, |lane| (lane.inspect(world, &self.spec), false));
    }

    fn with_lane(&self, world: &WorldState, act: impl FnOnce(&mut Lane) -> (usize, bool)) -> bool {
        let mut lane = match self.lane.try_lock() {
            Ok(lane) => lane,
            Err(std::sync::TryLockError::WouldBlock) => return false,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        if self.fresh.swap(false, Ordering::Acquire) {
            for task in lock(&self.inbox).tasks.drain(..) {
                lane.accept(world, task);
            }
        }
        let (ended, moved) = act(&mut lane);
        drop(lane);
        if ended > 0 {
            self.in_flight.fetch_sub(ended, Ordering::AcqRel);
            world.ended(ended);
        }
        moved
    }

    /// Ends everything with `failure` and accepts nothing more.
    pub fn close(&self, world: &WorldState, failure: &Failure) {
        self.closed.store(true, Ordering::Release);
        let mut lane = lock(&self.lane);
        for task in lock(&self.inbox).tasks.drain(..) {
            lane.accept(world, task);
        }
        let ended = lane.fail(failure);
        drop(lane);
        self.in_flight.fetch_sub(ended, Ordering::AcqRel);
        world.ended(ended);
    }
}

/// A group of ranks, opened by `World::open`.
#[derive(Clone)]
pub struct Group {
    pub(crate) state: Arc<GroupState>,
    pub(crate) world: Arc<WorldState>,
}

impl Group {
    /// The number of ranks.
    pub fn size(&self) -> usize {
        self.state.spec.ranks.len()
    }

    /// This process's rank in the group.
    pub fn rank(&self) -> usize {
        self.state.spec.rank
    }

    /// Submits an operation. It is under way when this returns; its memory is held until it ends.
    pub fn submit(&self, request: Request, label: Label) -> Result<Work, Error> {
        let kind = request.kind();
        let (rank, size) = (self.rank(), self.size());
        let refuse = |reason: String| Error::Refused(format!("{} on group {}: {reason}", kind.name(), self.state.spec.name));
        request.check(rank, size).map_err(refuse)?;
        if self.state.closed.load(Ordering::Acquire) {
            return Err(refuse("the group is closed. Open it again, or close it later.".into()));
        }
        if let Some(failure) = self.world.failure() {
            return Err(failure.into());
        }
        self.state.kinds[kind.index()].fetch_add(1, Ordering::Relaxed);
        self.state.bytes.fetch_add(request.bytes(), Ordering::Relaxed);
        let others = self.world.submitted();
        let task = self.enqueue(request, label);
        self.state.poll(&self.world);
        if !task.is_done() {
            progress::notice(&self.world, others);
        }
        Ok(Work { task, group: Arc::clone(&self.state), world: Arc::clone(&self.world) })
    }

    fn enqueue(&self, request: Request, label: Label) -> Arc<Task> {
        let settings = &self.world.settings;
        let mut inbox = lock(&self.state.inbox);
        let counter = if request.kind() == Kind::Exchange { &mut inbox.exchanges } else { &mut inbox.collectives };
        *counter += 1;
        let sequence = *counter;
        // Ranks arrive at their first operation far apart: loading takes its time.
        let timeout = if sequence == 1 { settings.timeout.max(settings.join_timeout) } else { settings.timeout };
        let descriptor = Descriptor { group: self.state.name, sequence, signature: request.signature(), label };
        let task = Task::new(descriptor, request, timeout);
        self.state.in_flight.fetch_add(1, Ordering::AcqRel);
        inbox.tasks.push(Arc::clone(&task));
        self.state.fresh.store(true, Ordering::Release);
        task
    }

    /// Closes the group; operations still outstanding end with an error.
    pub fn close(&self) {
        let message = format!("the group {} was closed before the operation had ended. Wait for it first.", self.state.spec.name);
        self.state.close(&self.world, &Failure { code: Code::Aborted, culprits: vec![self.world.rank], message });
        self.world.forget(&self.state);
    }

    /// What was submitted since the group was opened or the counts were reset.
    pub fn counts(&self) -> Counts {
        let kinds = std::array::from_fn(|index| self.state.kinds[index].load(Ordering::Relaxed));
        Counts { kinds, bytes: self.state.bytes.load(Ordering::Relaxed) }
    }

    pub fn reset_counts(&self) {
        self.state.kinds.iter().chain([&self.state.bytes]).for_each(|count| count.store(0, Ordering::Relaxed));
    }
}
