//! All ranks of a job, as one of them sees it.

use crate::aftermath::{self, Aftermath};
use crate::backend::{Backend, ControlPlane, GroupSpec, Transport};
use crate::failure::{Code, Error, Failure};
use crate::fake::FakeBackend;
use crate::group::{Group, GroupState, Limits, lock};
use crate::lane::Lane;
use crate::mpi::MpiBackend;
use crate::nccl::NcclBackend;
use crate::progress::{self, Progress};
use crate::recorder::{Reason, Recorder};
use crate::settings::{Carrier, Settings};
use crate::shm;
use crate::sim::SimBackend;
use crate::solo::{SoloBackend, SoloTransport};
use crate::waiting::Waiting;
use cuda::{Config, Device};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How long `leave` waits for operations that are still outstanding.
const LEAVE: Duration = Duration::from_secs(2);
/// Bytes of the host that do not go by way of a device: two copies and a launch take longer than shared memory does.
const SHORT: usize = 64 << 10;

pub(crate) struct WorldState {
    pub job: String,
    pub rank: u32,
    pub size: usize,
    pub settings: Settings,
    pub backend: Arc<dyn Backend>,
    pub progress: Progress,
    pub recorder: Recorder,
    pub aftermath: Aftermath,
    pub waiting: Waiting,
    /// Replaced as a whole: nobody holds the lock while polling.
    groups: RwLock<Arc<Vec<Arc<GroupState>>>>,
    in_flight: AtomicUsize,
    started: Instant,
    /// Milliseconds from `started` to the next inspection.
    next_inspection: AtomicU64,
    left: AtomicBool,
}

impl WorldState {
    pub fn control(&self) -> &dyn ControlPlane {
        self.backend.control()
    }

    /// The name of a rank's host.
    pub fn host(&self, rank: u32) -> String {
        self.control().host(rank).unwrap_or_else(|| gethostname::gethostname().to_string_lossy().into_owned())
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
        let groups = self.groups();
        let busy = groups.iter().filter(|group| group.in_flight.load(Ordering::Acquire) > 0);
        busy.fold(false, |moved, group| group.poll(self) | moved)
    }

    fn groups(&self) -> Arc<Vec<Arc<GroupState>>> {
        Arc::clone(&self.groups.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks after everything that waits, at most once in `interval`.
    pub fn inspect_if_due(&self, interval: Duration) {
        let now = self.started.elapsed().as_millis() as u64;
        let due = self.next_inspection.load(Ordering::Relaxed);
        let next = now + interval.as_millis() as u64;
        if now < due || self.next_inspection.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        self.groups().iter().filter(|group| group.in_flight.load(Ordering::Acquire) > 0).for_each(|group| group.inspect(self));
    }

    /// Forgets a group, so that nobody polls it any more.
    pub fn forget(&self, group: &Arc<GroupState>) {
        self.recorder.close(group.number);
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut groups).retain(|other| !Arc::ptr_eq(other, group));
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
        if settings.carrier == Carrier::Fake {
            return Self::fake(job, rank, size, settings);
        }
        Ok(Self::over(job, Self::carried(job, rank, size, &settings)?, rank, size, settings))
    }

    /// The same with NCCL laid over what carries the data, between this rank's device and those of the others. All ranks do so.
    pub fn join_with_device(job: &str, rank: u32, size: u32, (settings, device): (Settings, &Device)) -> Result<Self, Error> {
        if settings.carrier == Carrier::Fake {
            return Err(Error::Refused("join: backend fake plays a rank without a device. Use another backend, or the CPU.".into()));
        }
        let base = Self::carried(job, rank, size, &settings)?;
        let config = Config { limit: settings.join_timeout, ..Config::default() };
        let backend = NcclBackend::keeping_short(Arc::clone(&base), device, (config, SHORT)).map_err(|error| {
            // The others have joined: they are told why this rank goes no further.
            let message = format!("rank {rank} cannot join its groups by NCCL: {}", error.message);
            base.control().fail(Failure { code: Code::Aborted, culprits: vec![rank], message: message.clone() });
            base.end(false);
            Error::Refused(message)
        })?;
        Ok(Self::over(job, backend, rank, size, settings))
    }

    fn carried(job: &str, rank: u32, size: u32, settings: &Settings) -> Result<Arc<dyn Backend>, Error> {
        if size == 0 || rank >= size {
            let message = format!("join: rank {rank} is outside a world of {size}. Check RANK and WORLD_SIZE.");
            return Err(Error::Refused(message));
        }
        Ok(match settings.carrier {
            _ if size == 1 => Arc::new(SoloBackend::default()),
            Carrier::Sim => SimBackend::join(job, rank, size, settings)?,
            Carrier::Mpi => MpiBackend::join(job, rank, size, settings)?,
            Carrier::Shm | Carrier::Fake => shm::ShmBackend::join(job, rank, size, settings)?,
        })
    }

    /// One rank alone of a world of up to 2^20: every operation ends at once and nothing moves. Records everything. Several such worlds may
    /// exist in one process.
    pub fn fake(job: &str, rank: u32, size: u32, settings: Settings) -> Result<Self, Error> {
        if rank >= size || size > FakeBackend::LARGEST {
            let largest = FakeBackend::LARGEST;
            let message = format!("fake: rank {rank} of {size} does not exist. Pass a world size up to {largest} and a rank below it.");
            return Err(Error::Refused(message));
        }
        Ok(Self::over(job, Arc::new(FakeBackend::default()), rank, size, Settings { recorded: None, ..settings }))
    }

    /// The world that `backend` carries.
    pub fn over(job: &str, backend: Arc<dyn Backend>, rank: u32, size: u32, settings: Settings) -> Self {
        let state = WorldState {
            job: job.to_owned(),
            rank,
            recorder: Recorder::new(settings.recorded),
            aftermath: Aftermath::default(),
            waiting: Waiting::default(),
            size: size as usize,
            settings,
            backend,
            progress: Progress::default(),
            groups: RwLock::default(),
            in_flight: AtomicUsize::new(0),
            started: Instant::now(),
            next_inspection: AtomicU64::new(0),
            left: AtomicBool::new(false),
        };
        let state = Arc::new(state);
        if state.backend.funnel().is_some() {
            progress::start(&state);
        }
        if !state.backend.is_alone() {
            aftermath::watch(&state);
        }
        Self { state, instances: Mutex::default() }
    }

    /// Opens a group of world ranks with the world's own limits.
    pub fn open(&self, name: &str, ranks: &[u32]) -> Result<Group, Error> {
        self.open_within(name, ranks, self.state.settings.limits())
    }

    /// Opens a group of world ranks, in any order: their positions are the group ranks. Every member opens the groups of one name and ranks
    /// in the same order.
    pub fn open_within(&self, name: &str, ranks: &[u32], limits: Limits) -> Result<Group, Error> {
        let world = &self.state;
        let refuse = |reason: String| Err(Error::Refused(format!("group {name}: {reason}")));
        if world.left.load(Ordering::Acquire) {
            return refuse("the world was left. Open groups before leaving it.".into());
        }
        if let Some(rank) = ranks.iter().find(|&&rank| rank as usize >= world.size) {
            return refuse(format!("rank {rank} is outside a world of {}. Pass world ranks.", world.size));
        }
        let mut places = HashMap::with_capacity(ranks.len());
        for (index, &rank) in ranks.iter().enumerate() {
            if let Some(first) = places.insert(rank, index) {
                return refuse(format!("rank {rank} is listed twice, at {first} and {index} of {ranks:?}. Name each rank once."));
            }
        }
        let Some(&rank) = places.get(&world.rank) else {
            return refuse(format!("rank {} is not among its ranks {ranks:?}. Open only groups this rank is in.", world.rank));
        };
        let instance = self.next_instance(name, ranks);
        let spec = Arc::new(GroupSpec { name: name.to_owned(), ranks: ranks.to_vec(), rank, instance });
        let transport: Box<dyn Transport> = if ranks.len() == 1 { Box::new(SoloTransport) } else { world.backend.open(&spec) };
        let number = world.recorder.open(&spec);
        let state = Arc::new(GroupState::new(spec, number, limits, Lane::new(transport)));
        Arc::make_mut(&mut world.groups.write().unwrap_or_else(PoisonError::into_inner)).push(Arc::clone(&state));
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

    /// This rank's flight record as JSON: what it has posted so far.
    pub fn record(&self, reason: Reason) -> String {
        self.state.record(reason)
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
        world.backend.end(world.failure().is_none());
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
        world.aftermath.stop_watching();
        world.close_all(&world.failure().unwrap_or(Failure { code: Code::Aborted, culprits: vec![world.rank], message }));
    }
}

impl Drop for World {
    /// Without `leave` the other ranks take this one for dead.
    fn drop(&mut self) {
        if !self.state.left.swap(true, Ordering::AcqRel) {
            self.stop();
            self.state.backend.end(false);
        }
    }
}
