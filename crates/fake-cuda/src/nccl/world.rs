//! Ranks that meet, and what they ask of each other.

use super::NCCL_INVALID_ARGUMENT;
use super::collectives::carry_out;
use crate::state::State;
use std::collections::{HashMap, VecDeque};
use std::ptr;

/// Everything that NCCL remembers.
#[derive(Default)]
pub struct Played {
    pub ids: usize,
    pub comms: HashMap<usize, Comm>,
    pub worlds: HashMap<usize, World>,
    /// Memory given out, and its bytes.
    pub memory: HashMap<usize, usize>,
}

/// One rank's end of a world.
pub struct Comm {
    pub world: usize,
    pub rank: i32,
    pub size: i32,
    /// Not all ranks have come to the same call yet.
    pub waits: bool,
    /// What `ncclCommGetAsyncError` answers.
    pub error: u32,
    /// Collectives and splits posted so far.
    pub posted: usize,
    pub splits: usize,
    /// Operations under way: the streams that they are in.
    pub open: Vec<usize>,
}

/// Ranks that belong together.
#[derive(Default)]
pub struct World {
    pub size: i32,
    pub joined: HashMap<i32, usize>,
    pub rounds: Vec<HashMap<i32, Call>>,
    pub splits: Vec<HashMap<i32, Split>>,
    pub sent: HashMap<(i32, i32), VecDeque<Call>>,
    pub awaited: HashMap<(i32, i32), VecDeque<Call>>,
}

/// What a rank asks for in a split.
#[derive(Clone, Copy)]
pub struct Split {
    pub color: i32,
    pub key: i32,
    pub place: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    AllReduce,
    AllGather,
    ReduceScatter,
    Broadcast,
    Reduce,
    Send,
    Receive,
}

/// One operation of one rank.
#[derive(Clone, Copy)]
pub struct Call {
    pub kind: Kind,
    pub send: usize,
    pub receive: usize,
    pub count: usize,
    pub dtype: u32,
    pub op: u32,
    /// The root, or the peer.
    pub root: i32,
    pub stream: usize,
}

/// Tells the driver that a stream has so many operations more, or less, under way.
fn pend(state: &State, stream: usize, by: isize) {
    if state.settings.driver_pend == 0 {
        return;
    }
    // SAFETY: tests pass the address of this very function of the driver's copy.
    let tell: extern "C" fn(usize, isize) = unsafe { std::mem::transmute(ptr::with_exposed_provenance::<()>(state.settings.driver_pend)) };
    tell(stream, by);
}

/// Ends one operation of a rank.
fn done(state: &mut State, world: usize, rank: i32, stream: usize) {
    let Some(handle) = state.played.worlds.get(&world).and_then(|world| world.joined.get(&rank).copied()) else { return };
    let Some(comm) = state.played.comms.get_mut(&handle) else { return };
    let Some(at) = comm.open.iter().position(|&open| open == stream) else { return };
    comm.open.remove(at);
    pend(state, stream, -1);
}

/// Takes an operation of a rank, and carries out what is complete by it.
pub fn post(state: &mut State, handle: usize, call: Call) -> u32 {
    let Some(comm) = state.played.comms.get_mut(&handle) else { return NCCL_INVALID_ARGUMENT };
    let (number, rank, size, turn) = (comm.world, comm.rank, comm.size, comm.posted);
    comm.open.push(call.stream);
    let is_message = matches!(call.kind, Kind::Send | Kind::Receive);
    comm.posted += usize::from(!is_message);
    let text = format!("{:?} {} of type {} op {} root {} in stream {}", call.kind, call.count, call.dtype, call.op, call.root, call.stream);
    state.note(format!("rank {rank} of {size}: {text}"));
    pend(state, call.stream, 1);
    if state.settings.hangs {
        return 0;
    }
    let Some(world) = state.played.worlds.get_mut(&number) else { return NCCL_INVALID_ARGUMENT };
    if is_message {
        let pair = if call.kind == Kind::Send { (rank, call.root) } else { (call.root, rank) };
        let list = if call.kind == Kind::Send { &mut world.sent } else { &mut world.awaited };
        list.entry(pair).or_default().push_back(call);
        return deliver(state, number, pair);
    }
    while world.rounds.len() <= turn {
        world.rounds.push(HashMap::new());
    }
    world.rounds[turn].insert(rank, call);
    if world.rounds[turn].len() < usize::try_from(size).unwrap_or(0) {
        return 0;
    }
    let calls: Vec<Call> = (0..size).map(|rank| world.rounds[turn][&rank]).collect();
    if calls.iter().any(|other| (other.kind, other.count, other.dtype, other.root) != (call.kind, call.count, call.dtype, call.root)) {
        // As with the real one: nothing ends any more.
        return 0;
    }
    carry_out(&calls);
    for (rank, call) in (0..).zip(calls) {
        done(state, number, rank, call.stream);
    }
    0
}

fn deliver(state: &mut State, number: usize, pair: (i32, i32)) -> u32 {
    let Some(world) = state.played.worlds.get_mut(&number) else { return NCCL_INVALID_ARGUMENT };
    let (Some(sent), Some(awaited)) = (world.sent.get_mut(&pair), world.awaited.get_mut(&pair)) else { return 0 };
    if sent.is_empty() || awaited.is_empty() {
        return 0;
    }
    let (Some(from), Some(to)) = (sent.pop_front(), awaited.pop_front()) else { return 0 };
    carry_out(&[from, to]);
    done(state, number, pair.0, from.stream);
    done(state, number, pair.1, to.stream);
    0
}

/// Ends a communicator; what it had under way will never happen.
pub fn end(state: &mut State, handle: usize) -> u32 {
    let Some(comm) = state.played.comms.remove(&handle) else { return NCCL_INVALID_ARGUMENT };
    comm.open.iter().for_each(|&stream| pend(state, stream, -1));
    0
}

/// A new end of a world; those that are there already go on when it was the last.
pub fn join(state: &mut State, number: usize, rank: i32, size: i32) -> usize {
    let handle = 0x5000 + state.next_handle();
    let world = state.played.worlds.entry(number).or_default();
    world.size = size;
    world.joined.insert(rank, handle);
    let is_whole = world.joined.len() == usize::try_from(size).unwrap_or(0);
    let comm = Comm { world: number, rank, size, waits: !is_whole, error: 0, posted: 0, splits: 0, open: Vec::new() };
    state.played.comms.insert(handle, comm);
    if is_whole {
        state.played.comms.values_mut().filter(|comm| comm.world == number).for_each(|comm| comm.waits = false);
    }
    handle
}
