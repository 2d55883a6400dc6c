//! Worlds, groups and work that this thread's JavaScript holds, and the exports that open and close them.

use crate::hot_op::Failure;
use comm::{Code, Group, Kind, Label, Settings, Work, World, signals};
use napi_derive::napi;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

const SLOT_BITS: u32 = 20;
const SLOTS: usize = 1 << SLOT_BITS;
/// Free slots kept waiting, so that a stale handle is told from a new one for long.
const RESTING: usize = 64;

/// Things that handles name: 20 bits of slot, 11 of generation, never 0.
struct Table<T> {
    slots: Vec<(u32, Option<T>)>,
    free: VecDeque<usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: VecDeque::new() }
    }
}

impl<T> Table<T> {
    fn insert(&mut self, what: &str, value: T) -> Result<u32, Failure> {
        let index = if self.free.len() > RESTING { self.free.pop_front() } else { None }.unwrap_or(self.slots.len());
        if index == SLOTS {
            return Err(format!("{what}: {SLOTS} are open at once. Wait for work, and close groups.").into());
        }
        if index == self.slots.len() {
            self.slots.push((0, None));
        }
        let slot = &mut self.slots[index];
        *slot = (slot.0 % 0x7ff + 1, Some(value));
        Ok(slot.0 << SLOT_BITS | index as u32)
    }

    fn get(&self, what: &str, handle: u32) -> Result<&T, Failure> {
        let slot = self.slots.get(handle as usize % SLOTS).filter(|slot| slot.0 == handle >> SLOT_BITS);
        slot.and_then(|slot| slot.1.as_ref())
            .ok_or_else(|| format!("{what}: handle {handle} is not open. Use it before it is closed.").into())
    }

    fn remove(&mut self, what: &str, handle: u32) -> Result<T, Failure> {
        self.get(what, handle)?;
        let index = handle as usize % SLOTS;
        self.free.push_back(index);
        self.slots[index].1.take().ok_or_else(|| format!("{what}: handle {handle} is not open.").into())
    }
}

#[derive(Default)]
struct Registry {
    works: Table<Work>,
    groups: Table<Group>,
    worlds: Table<World>,
    labels: Vec<Label>,
    label_numbers: HashMap<String, u32>,
    last_failure: Option<comm::Failure>,
}

thread_local! {
    static REGISTRY: RefCell<Registry> = RefCell::default();
}

impl From<comm::Error> for Failure {
    fn from(error: comm::Error) -> Failure {
        match error {
            comm::Error::Refused(message) => message.into(),
            comm::Error::Failed(failure) => failure.into(),
        }
    }
}

impl From<comm::Failure> for Failure {
    /// Also remembers the failure for `lastFailure`.
    fn from(failure: comm::Failure) -> Failure {
        let code = match failure.code {
            Code::PeerLost => c"PEER_LOST",
            Code::Mismatch => c"MISMATCH",
            Code::Timeout => c"TIMEOUT",
            Code::Aborted => c"ABORTED",
        };
        let message = failure.message.clone();
        REGISTRY.with_borrow_mut(|registry| registry.last_failure = Some(failure));
        Failure { code, message }
    }
}

impl From<Failure> for napi::Error<String> {
    fn from(failure: Failure) -> Self {
        napi::Error::new(failure.code.to_string_lossy().into_owned(), failure.message)
    }
}

/// The group behind a handle.
pub fn group(op: &str, handle: u32) -> Result<Group, Failure> {
    REGISTRY.with_borrow(|registry| registry.groups.get(op, handle).cloned())
}

/// The label behind a number that `internLabel` gave; 0 is none.
pub fn label(number: u32) -> Label {
    let index = (number as usize).wrapping_sub(1);
    REGISTRY.with_borrow(|registry| registry.labels.get(index).copied()).unwrap_or(Label::EMPTY)
}

/// A handle for work under way.
pub fn keep(op: &str, work: Work) -> Result<u32, Failure> {
    REGISTRY.with_borrow_mut(|registry| registry.works.insert(op, work))
}

/// Ends a handle of work and hands the work over.
pub fn take(op: &str, handle: u32) -> Result<Work, Failure> {
    REGISTRY.with_borrow_mut(|registry| registry.works.remove(op, handle))
}

/// Whether the work behind a handle has ended.
pub fn is_done(op: &str, handle: u32) -> Result<bool, Failure> {
    REGISTRY.with_borrow(|registry| Ok(registry.works.get(op, handle)?.is_done()))
}

/// Milliseconds that JavaScript passed, as a duration; not a number and negative ones are none at all.
pub fn milliseconds(value: f64) -> Duration {
    const LARGEST: f64 = 1e15;
    Duration::from_millis(value.clamp(0.0, LARGEST) as u64)
}

/// How to join a world.
#[napi(object)]
pub struct WorldOptions {
    /// Names the job: equal on its ranks, unlike that of any other job on this host.
    pub job: String,
    /// This rank's number.
    pub rank: u32,
    /// Number of ranks.
    pub size: u32,
    /// An operation that has not ended after this long fails the world.
    pub timeout_ms: f64,
    /// A warning names the missing ranks after this long, and whenever the wait has doubled.
    pub slow_ms: f64,
    /// The limit for joining and, when longer than `timeoutMs`, for the first operation of each group.
    pub join_timeout_ms: f64,
}

/// Joins a world; returns its handle once all ranks have joined.
#[napi(catch_unwind)]
pub fn world_join(options: WorldOptions) -> napi::Result<u32, String> {
    let settings = Settings {
        timeout: milliseconds(options.timeout_ms),
        slow: milliseconds(options.slow_ms),
        join_timeout: milliseconds(options.join_timeout_ms),
        ..Settings::new(options.size as usize)
    };
    let world = World::join(&options.job, options.rank, options.size, settings).map_err(Failure::from)?;
    Ok(REGISTRY.with_borrow_mut(|registry| registry.worlds.insert("worldJoin", world))?)
}

/// Leaves a world on purpose, after a moment for what is still outstanding.
#[napi(catch_unwind)]
pub fn world_leave(world: u32) -> napi::Result<(), String> {
    let world = REGISTRY.with_borrow_mut(|registry| registry.worlds.remove("worldLeave", world))?;
    world.leave();
    Ok(())
}

/// Opens a group of ascending world ranks; its members connect at the first operation.
#[napi(catch_unwind)]
pub fn group_open(world: u32, name: String, ranks: &[u32]) -> napi::Result<u32, String> {
    let group = REGISTRY.with_borrow(|registry| {
        let world = registry.worlds.get("groupOpen", world)?;
        Ok::<_, Failure>(world.open(&name, ranks))
    })?;
    let group = group.map_err(Failure::from)?;
    Ok(REGISTRY.with_borrow_mut(|registry| registry.groups.insert("groupOpen", group))?)
}

/// Closes a group; operations still outstanding end with an error.
#[napi(catch_unwind)]
pub fn group_close(group: u32) -> napi::Result<(), String> {
    let group = REGISTRY.with_borrow_mut(|registry| registry.groups.remove("groupClose", group))?;
    group.close();
    Ok(())
}

/// How many operations a group was given, and how many bytes this rank handed in.
#[napi(object)]
pub struct GroupCounts {
    /// Calls of `allReduce`.
    pub all_reduce: f64,
    /// Calls of `allGather`.
    pub all_gather: f64,
    /// Calls of `reduceScatter`.
    pub reduce_scatter: f64,
    /// Calls of `broadcast`.
    pub broadcast: f64,
    /// Calls of `allToAll`.
    pub all_to_all: f64,
    /// Calls of `exchange`.
    pub exchange: f64,
    /// Calls of `barrier`.
    pub barrier: f64,
    /// Bytes this rank put in.
    pub bytes: f64,
}

/// The counts of a group since it was opened or they were reset.
#[napi(catch_unwind)]
pub fn group_counts(group: u32) -> napi::Result<GroupCounts, String> {
    let counts = self::group("groupCounts", group)?.counts();
    let of = |kind| counts.of(kind) as f64;
    Ok(GroupCounts {
        all_reduce: of(Kind::AllReduce),
        all_gather: of(Kind::AllGather),
        reduce_scatter: of(Kind::ReduceScatter),
        broadcast: of(Kind::Broadcast),
        all_to_all: of(Kind::AllToAll),
        exchange: of(Kind::Exchange),
        barrier: of(Kind::Barrier),
        bytes: counts.bytes as f64,
    })
}

/// Sets the counts of a group to 0.
#[napi(catch_unwind)]
pub fn reset_group_counts(group: u32) -> napi::Result<(), String> {
    self::group("resetGroupCounts", group)?.reset_counts();
    Ok(())
}

/// A number for a label, to be passed to operations; 0 for an empty one.
#[napi(catch_unwind)]
pub fn intern_label(label: String) -> u32 {
    if label.is_empty() {
        return 0;
    }
    REGISTRY.with_borrow_mut(|registry| {
        let Registry { labels, label_numbers, .. } = registry;
        *label_numbers.entry(label).or_insert_with_key(|text| {
            labels.push(Label::new(text));
            labels.len() as u32
        })
    })
}

/// Why a world failed.
#[napi(object)]
pub struct WorldFailure {
    /// PEER_LOST, MISMATCH, TIMEOUT or ABORTED.
    pub code: String,
    /// World ranks.
    pub culprits: Vec<u32>,
    /// The sentence.
    pub message: String,
}

/// The failure that this thread was told of last.
#[napi(catch_unwind)]
pub fn last_failure() -> Option<WorldFailure> {
    let failure = REGISTRY.with_borrow(|registry| registry.last_failure.clone())?;
    Some(WorldFailure { code: failure.code.name().into(), culprits: failure.culprits, message: failure.message })
}

/// From now on SIGTERM and SIGINT set a flag; a second one ends the process at once.
#[napi(catch_unwind)]
pub fn install_signal_handlers() -> napi::Result<(), String> {
    Ok(signals::install_signal_handlers().map_err(Failure::from)?)
}

/// The signal that asked this process to stop; 0 when none did.
#[napi(catch_unwind)]
pub fn stop_requested() -> u32 {
    signals::stop_requested()
}

/// Forgets the request to stop.
#[napi(catch_unwind)]
pub fn clear_stop() {
    signals::clear_stop();
}

/// From now on this process is killed when its parent ends; an error when the parent, whose process id may be passed, has ended.
#[napi(catch_unwind)]
pub fn die_with_parent(parent: Option<u32>) -> napi::Result<(), String> {
    Ok(comm::die_with_parent(parent).map_err(Failure::from)?)
}
