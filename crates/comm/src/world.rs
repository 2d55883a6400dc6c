//! All ranks of a job, as one of them sees it.

use crate::backend::{Backend, ControlPlane, GroupSpec, Transport};
use crate::failure::{Code, Error, Failure};
use crate::group::{Group, GroupState, lock};
use crate::lane::Lane;
use crate::progress::{self, Progress};
use crate::shm;
use crate::solo::{SoloBackend, SoloTransport};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How long `leave` waits for operations that are still outstanding.
const LEAVE: Duration = Duration::from_secs(2);

/// Limits and habits of a world.
#[derive(Clone, Debug)]
pub struct Settings {
    /// An operation that has not ended after this long fails the world.
    pub timeout: Duration,
    /// A warning names the missing ranks after this long, and each time the wait has doubled.
    pub slow: Duration,
    /// The limit for joining and, when longer than `timeout`, for the first operation of each group.
    pub join_timeout: Duration,
    /// Polls without result before a thread offers its core to others; 0 where ranks outnumber cores.
    pub spins: u32,
    /// Polls without result after that, each of which offers the core, before a thread sleeps.
    pub yields: u32,
    /// Bytes of one staging chunk; None chooses by the size of the world. For tests.
    pub chunk: Option<usize>,
}

impl Settings {
    /// The usual settings of a world of `size` ranks. `LOCAL_WORLD_SIZE` tells how many of them share this host.
    pub fn new(size: usize) -> Self {
        const SPINS: u32 = 200;
        const YIELDS: u32 = 200;
        // Measured with 4 and 8 ranks on 2 cores: fewer cost wake-ups, more keep the ranks that have work from a core.
        const CROWDED_YIELDS: u32 = 8;
        let local = std::env::var("LOCAL_WORLD_SIZE").ok().and_then(|text| text.parse().ok()).unwrap_or(size);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            timeout: Duration::from_secs(600),
            slow: Duration::from_secs(5),
            join_timeout: Duration::from_secs(1800),
            spins: if local > cores { 0 } else { SPINS },
            yields: if local > cores { CROWDED_YIELDS } else { YIELDS },
            chunk: None,
        }
    }
}

pub(crate) struct WorldState {
    pub rank: u32,
    pub size: usize,
    pub settings: Settings,
    pub backend: Arc<dyn Backend>,
    pub progress: Progress,
    groups: RwLock<Vec<Arc<GroupState>>>,
    in_flight: AtomicUsize,
    failure: OnceLock<Failure>,
    started: Instant,
    /// Milliseconds from `started` to the next inspection.
    next_inspection: AtomicU64,
    left: AtomicBool,
}

impl WorldState {
    pub fn control(&self) -> &dyn ControlPlane {
        self.backend.control()
    }

    /// The failure that ended this world, if any.
    pub fn failure(&self) -> Option<Failure> {
        if let Some(failure) = self.failure.get() {
            return Some(failure.clone());
        }
        let failure = self.control().failure()?;
        Some(self.failure.get_or_init(|| failure).clone())
    }

    /// Ends the world; returns the record that stands, which may be an earlier one of another rank.
    pub fn fail(&self, failure: Failure) -> Failure {
        self.failure.get_or_init(|| self.control().fail(failure)).clone()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Counts one more operation; returns how many there were.
    pub fn submitted(&self) -> usize {
        self.in_flight.fetch_add(1, Ordering::SeqCst)
    }

    /// Counts operations that have ended and wakes who may wait for them.
    pub fn ended(&self, count: usize) {
        self.in_flight.fetch_sub(count, Ordering::SeqCst);
        self.backend.bell().ring();
    }

    /// One round over `own`, and over all others when they have operations outstanding. True when anything moved.
    pub fn poll(&self, own: Option<&GroupState>) -> bool {
        if let Some(own) = own
            && own.in_flight.load(Ordering::Acquire) == self.in_flight()
        {
            return own.poll(self);
        }
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        let busy = groups.iter().filter(|group| group.in_flight.load(Ordering::Acquire) > 0);
        busy.fold(false, |moved, group| group.poll(self) | moved)
    }

    /// Looks after everything that waits, at most once in `interval`.
    pub fn inspect_if_due(&self, interval: Duration) {
        let now = self.started.elapsed().as_millis() as u64;
        let due = self.next_inspection.load(Ordering::Relaxed);
        let next = now + interval.as_millis() as u64;
        if now < due || self.next_inspection.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.iter().filter(|group| group.in_flight.load(Ordering::Acquire) > 0).for_each(|group| group.inspect(self));
    }

    /// Forgets a group, so that nobody polls it any more.
    pub fn forget(&self, group: &Arc<GroupState>) {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|other| !Arc::ptr_eq(other, group));
    }

    fn close_all(&self, failure: &Failure) {
        let groups = std::mem::take(&mut *self.groups.write().unwrap_or_else(PoisonError::into_inner));
        groups.iter().for_each(|group| group.close(self, failure));
    }
}

/// A world this process is a rank of.
pub struct World {
    state: Arc<WorldState>,
    /// How often each group (name and ranks) was opened.
    instances: Mutex<HashMap<(String, Vec<u32>), u32>>,
}

impl World {
    /// Joins the world of `job` as `rank` of `size`; returns once all ranks have joined. A world of one joins nothing.
    pub fn join(job: &str, rank: u32, size: u32, settings: Settings) -> Result<Self, Error> {
        if size == 0 || rank >= size {
            let message = format!("join: rank {rank} is outside a world of {size}. Check RANK and WORLD_SIZE.");
            return Err(Error::Refused(message));
        }
        let backend: Arc<dyn Backend> =
            if size == 1 { Arc::new(SoloBackend::default()) } else { shm::ShmBackend::join(job, rank, size, &settings)? };
        Ok(Self::over(backend, rank, size, settings))
    }

    /// The world that `backend` carries.
    pub fn over(backend: Arc<dyn Backend>, rank: u32, size: u32, settings: Settings) -> Self {
        let state = WorldState {
            rank,
            size: size as usize,
            settings,
            backend,
            progress: Progress::default(),
            groups: RwLock::default(),
            in_flight: AtomicUsize::new(0),
            failure: OnceLock::new(),
            started: Instant::now(),
            next_inspection: AtomicU64::new(0),
            left: AtomicBool::new(false),
        };
        Self { state: Arc::new(state), instances: Mutex::default() }
    }

    /// Opens a group of world ranks. Every member opens the groups of one name and ranks in the same order.
    pub fn open(&self, name: &str, ranks: &[u32]) -> Result<Group, Error> {
        let world = &self.state;
        let refuse = |reason: String| Err(Error::Refused(format!("group {name}: {reason}")));
        if world.left.load(Ordering::Acquire) {
            return refuse("the world was left. Open groups before leaving it.".into());
        }
        if let Some(rank) = ranks.iter().find(|&&rank| rank as usize >= world.size) {
            return refuse(format!("rank {rank} is outside a world of {}. Pass world ranks.", world.size));
        }
        if !ranks.is_sorted_by(|a, b| a < b) {
            return refuse(format!("ranks {ranks:?} are not ascending. Sort them and name each once."));
        }
        let Some(rank) = ranks.iter().position(|&rank| rank == world.rank) else {
            return refuse(format!("rank {} is not among its ranks {ranks:?}. Open only groups this rank is in.", world.rank));
        };
        let instance = self.next_instance(name, ranks);
        let spec = Arc::new(GroupSpec { name: name.to_owned(), ranks: ranks.to_vec(), rank, instance });
        let transport: Box<dyn Transport> = if ranks.len() == 1 { Box::new(SoloTransport) } else { world.backend.open(&spec) };
        let state = Arc::new(GroupState::new(spec, Lane::new(transport)));
        world.groups.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&state));
        Ok(Group { state, world: Arc::clone(world) })
    }

    fn next_instance(&self, name: &str, ranks: &[u32]) -> u32 {
        let mut instances = lock(&self.instances);
        let count = instances.entry((name.to_owned(), ranks.to_vec())).or_insert(0);
        *count += 1;
        *count - 1
    }

    /// The failure that ended this world, if any.
    pub fn failure(&self) -> Option<Failure> {
        self.state.failure()
    }

    /// Leaves on purpose: the other ranks see that this one did not die. Operations still outstanding get a moment to end.
    pub fn leave(&self) {
        let world = &self.state;
        if world.left.swap(true, Ordering::AcqRel) {
            return;
        }
        if world.failure().is_none() {
            progress::drain(world, LEAVE);
            self.abandon_rest();
            world.control().leave();
        }
        self.stop();
    }

    /// Operations that did not end in time are a failure of the whole world.
    fn abandon_rest(&self) {
        let world = &self.state;
        let count = world.in_flight();
        if count > 0 && world.failure().is_none() {
            let rank = world.rank;
            let message =
                format!("rank {rank} left the world with {count} operations outstanding. Wait for every operation before leaving.");
            world.fail(Failure { code: Code::Aborted, culprits: vec![rank], message });
        }
    }

    fn stop(&self) {
        let world = &self.state;
        world.progress.shut_down(world);
        let message = format!("rank {} has left the world. Wait for every operation before leaving.", world.rank);
        world.close_all(&world.failure().unwrap_or(Failure { code: Code::Aborted, culprits: vec![world.rank], message }));
    }
}

impl Drop for World {
    /// Without `leave` the other ranks take this one for dead.
    fn drop(&mut self) {
        if !self.state.left.swap(true, Ordering::AcqRel) {
            self.stop();
        }
    }
}
