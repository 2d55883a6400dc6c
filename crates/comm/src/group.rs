//! A group of ranks: where operations are submitted, counted and polled.

use crate::backend::GroupSpec;
use crate::descriptor::{Descriptor, GroupName, KINDS, Kind, Label};
use crate::device_request::{Asked, DeviceRequest};
use crate::failure::{Code, Error, Failure};
use crate::lane::Lane;
use crate::memory::Memory;
use crate::progress;
use crate::request::Request;
use crate::work::{Task, Work};
use crate::world::WorldState;
use cuda::Part;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

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
    messages: u64,
    /// Group ranks that messages were for or from, as long as there has been no collective.
    met: Vec<usize>,
}

impl Inbox {
    /// Counts one more operation. Returns its number, and whether ranks may come to it far apart: nothing has let them meet before.
    fn count<M>(&mut self, request: &Request<M>) -> (u64, bool) {
        let Request::Exchange { sends, receives, .. } = request else {
            self.collectives += 1;
            return (self.collectives, self.collectives == 1);
        };
        self.messages += 1;
        if self.collectives > 0 {
            return (self.messages, false);
        }
        let met = self.met.len();
        for (peer, _) in sends.iter().chain(receives) {
            if !self.met.contains(peer) {
                self.met.push(*peer);
            }
        }
        (self.messages, self.met.len() > met)
    }
}

/// How long the operations of a group may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// An operation that has not ended after this long fails the world.
    pub timeout: Duration,
    /// A warning names the missing ranks after this long, and each time the wait has doubled.
    pub slow: Duration,
    /// The limit, when longer than `timeout`, of the first collective, and of the first message with each peer before it: ranks arrive there
    /// far apart.
    pub first: Duration,
}

pub(crate) struct GroupState {
    pub spec: Arc<GroupSpec>,
    /// What the flight recorder calls it.
    pub number: u32,
    limits: Limits,
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
    pub fn new(spec: Arc<GroupSpec>, number: u32, limits: Limits, lane: Lane) -> Self {
        let name = GroupName::new(&spec.name);
        Self {
            spec,
            number,
            limits,
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
            Err(TryLockError::WouldBlock) => return false,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
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

    /// The lane. None where the library of a failed world does not give back the thread that polls it: what is there stays there.
    fn lane_to_close(&self, world: &WorldState) -> Option<MutexGuard<'_, Lane>> {
        if world.backend.funnel().is_none() || world.failure().is_none() {
            return Some(lock(&self.lane));
        }
        let deadline = Instant::now() + progress::STUCK;
        loop {
            match self.lane.try_lock() {
                Ok(lane) => return Some(lane),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Whether a stream of a device still waits for something of this group.
    fn is_led(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0 && self.lane.try_lock().map_or(true, |lane| lane.is_led())
    }

    /// Ends everything with `failure` and accepts nothing more.
    pub fn close(&self, world: &WorldState, failure: &Failure) {
        self.closed.store(true, Ordering::Release);
        let Some(mut lane) = self.lane_to_close(world) else { return };
        for task in lock(&self.inbox).tasks.drain(..) {
            lane.accept(world, task);
        }
        let ended = lane.fail(world, failure);
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
        self.check(&request)?;
        let request = Arc::new(request);
        self.enter(&*request, Asked::OnHost(Arc::clone(&request)), label)
    }

    /// The same on memory of this rank's device, after all that was asked of its compute stream so far. [`Work::lead`] lets a stream wait for it.
    pub fn submit_on_device(&self, request: Request<Part>, label: Label) -> Result<Work, Error> {
        self.check(&request)?;
        let refuse = |reason: String| self.refused(request.kind(), &reason);
        let parts: Vec<Part> = request.memories().cloned().collect();
        let first = parts.first().ok_or_else(|| refuse("it has no memory on a device. Submit it as one on the host.".into()))?;
        let device = first.block().device().clone();
        if self.size() > 1 {
            self.world.backend.check_on_device(&request, &parts).map_err(refuse)?;
        }
        let asked = DeviceRequest::new(request, &device).map_err(|error| Error::Refused(error.message))?;
        let asked = Arc::new(asked);
        self.enter(&asked.request, Asked::OnDevice(Arc::clone(&asked)), label)
    }

    fn refused(&self, kind: Kind, reason: &str) -> Error {
        Error::Refused(format!("{} on group {}: {reason}", kind.name(), self.state.spec.name))
    }

    fn check<M: Memory>(&self, request: &Request<M>) -> Result<(), Error> {
        let refuse = |reason: String| self.refused(request.kind(), &reason);
        request.check(self.rank(), self.size()).map_err(refuse)?;
        if self.state.closed.load(Ordering::Acquire) {
            return Err(refuse("the group is closed. Open it again, or close it later.".into()));
        }
        self.world.failure().map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn enter<M: Memory>(&self, request: &Request<M>, asked: Asked, label: Label) -> Result<Work, Error> {
        let kind = request.kind();
        self.state.kinds[kind.index()].fetch_add(1, Ordering::Relaxed);
        self.state.bytes.fetch_add(request.bytes(), Ordering::Relaxed);
        let others = self.world.submitted();
        let task = self.enqueue(request, asked, label);
        progress::help(&self.world, &self.state);
        if !task.is_done() {
            progress::notice(&self.world, others);
        }
        Ok(Work { task, group: Arc::clone(&self.state), world: Arc::clone(&self.world) })
    }

    fn enqueue<M: Memory>(&self, request: &Request<M>, asked: Asked, label: Label) -> Arc<Task> {
        let limits = self.state.limits;
        let mut inbox = lock(&self.state.inbox);
        let (sequence, is_meeting) = inbox.count(request);
        let timeout = if is_meeting { limits.timeout.max(limits.first) } else { limits.timeout };
        let descriptor = Descriptor { group: self.state.name, sequence, signature: request.signature(), label };
        let submitted = Instant::now();
        // Within the lock: the recorder has the operations of a group in their order.
        let entry = self.world.recorder.post(self.state.number, &descriptor, request, submitted);
        let task = Task::new(descriptor, asked, Limits { timeout, ..limits }, submitted, entry);
        self.state.in_flight.fetch_add(1, Ordering::AcqRel);
        inbox.tasks.push(Arc::clone(&task));
        self.state.fresh.store(true, Ordering::Release);
        task
    }

    /// Closes the group; operations still outstanding end with an error, but for those that a stream has been let to wait for.
    pub fn close(&self) {
        let has_ended = || !self.state.is_led() || self.world.failure().is_some();
        if !has_ended() {
            progress::wait(&self.world, &self.state, &has_ended);
        }
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
