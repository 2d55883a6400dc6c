//! Ranks that meet, and what they ask of each other.

use super::collectives::carry_out;
use super::{NCCL_INVALID_ARGUMENT, apart};
use crate::neighbour;
use crate::state::{State, state};
use std::collections::{HashMap, VecDeque};

/// Everything that NCCL remembers.
#[derive(Default)]
pub struct Played {
    pub ids: usize,
    pub comms: HashMap<usize, Comm>,
    pub worlds: HashMap<usize, World>,
    /// Operations that were asked for and have not ended.
    pub open: HashMap<usize, Open>,
    /// Operations that one stream does together.
    pub parcels: HashMap<usize, Vec<usize>>,
    pub tickets: usize,
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
    pub is_blocking: bool,
    /// What `ncclCommGetAsyncError` answers.
    pub error: u32,
    /// Collectives and splits posted so far.
    pub posted: usize,
    pub splits: usize,
    /// What has not reached its stream, and how often this is asked for before it does.
    pub put_off: Vec<Parcel>,
    pub deferral: usize,
    /// What it has put where other processes find it.
    pub left: apart::Left,
}

/// Ranks that belong together.
#[derive(Default)]
pub struct World {
    pub size: i32,
    pub joined: HashMap<i32, usize>,
    /// Tickets of those whose streams have come so far, by their turn and rank.
    pub rounds: HashMap<usize, HashMap<i32, usize>>,
    pub splits: Vec<HashMap<i32, Split>>,
    pub sent: HashMap<(i32, i32), VecDeque<usize>>,
    pub awaited: HashMap<(i32, i32), VecDeque<usize>>,
}

/// What a rank asks for in a split.
#[derive(Clone, Copy)]
pub struct Split {
    pub color: i32,
    pub key: i32,
    pub place: usize,
    pub is_blocking: bool,
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

/// One operation that has not ended.
#[derive(Clone, Copy)]
pub struct Open {
    pub comm: usize,
    pub call: Call,
    /// Its number among the collectives of its communicator.
    pub turn: usize,
    /// Its stream has come so far.
    pub is_here: bool,
    /// Of a message between processes: its number among those of its direction.
    pub message: usize,
}

/// Operations of one communicator that a stream does together.
#[derive(Clone, Copy)]
pub struct Parcel {
    stream: usize,
    number: usize,
}

fn ticket(state: &mut State) -> usize {
    state.played.tickets += 1;
    state.played.tickets
}

/// Takes an operation of a rank.
fn post(state: &mut State, handle: usize, call: Call) -> Option<usize> {
    let comm = state.played.comms.get_mut(&handle)?;
    let (rank, size, turn) = (comm.rank, comm.size, comm.posted);
    comm.posted += usize::from(!matches!(call.kind, Kind::Send | Kind::Receive));
    let text = format!("{:?} {} of type {} op {} root {} in stream {}", call.kind, call.count, call.dtype, call.op, call.root, call.stream);
    state.note(format!("rank {rank} of {size}: {text}"));
    let ticket = ticket(state);
    state.played.open.insert(ticket, Open { comm: handle, call, turn, is_here: false, message: 0 });
    Some(ticket)
}

/// Takes operations that are done together; returns what goes to the streams now. None where a communicator is not known.
pub fn take(state: &mut State, calls: &[(usize, Call)]) -> Option<Vec<Parcel>> {
    let mut bundles: Vec<((usize, usize), Vec<usize>)> = Vec::new();
    for &(handle, call) in calls {
        let (key, ticket) = ((handle, call.stream), post(state, handle, call)?);
        match bundles.iter_mut().find(|(other, _)| *other == key) {
            Some((_, tickets)) => tickets.push(ticket),
            None => bundles.push((key, vec![ticket])),
        }
    }
    let deferral = state.settings.deferral;
    let mut ready = Vec::new();
    for ((handle, stream), tickets) in bundles {
        let parcel = Parcel { stream, number: ticket(state) };
        state.played.parcels.insert(parcel.number, tickets);
        let comm = state.played.comms.get_mut(&handle).filter(|comm| deferral > 0 && !comm.is_blocking);
        match comm {
            Some(comm) => {
                comm.put_off.push(parcel);
                comm.deferral = deferral;
            }
            None => ready.push(parcel),
        }
    }
    Some(ready)
}

/// Puts operations into their streams. The state must be free.
pub fn hand_over(parcels: Vec<Parcel>) {
    parcels.into_iter().for_each(|parcel| neighbour::enqueue(parcel.stream, visit, parcel.number));
}

/// What a stream does when it comes to a parcel, until it has ended.
extern "C" fn visit(number: usize) -> bool {
    let mut state = state();
    let Some(tickets) = state.played.parcels.get(&number).cloned() else { return true };
    let (is_apart, hangs) = (!state.settings.meet.is_empty(), state.settings.hangs);
    for &ticket in &tickets {
        match is_apart {
            true if hangs => {}
            true => _ = apart::advance(&mut state, ticket, number),
            false => arrive(&mut state, ticket),
        }
    }
    let has_ended = tickets.iter().all(|ticket| !state.played.open.contains_key(ticket));
    if has_ended {
        state.played.parcels.remove(&number);
    }
    has_ended
}

/// A stream has come to an operation: what is complete by it is carried out.
fn arrive(state: &mut State, ticket: usize) {
    let hangs = state.settings.hangs;
    let Some(open) = state.played.open.get_mut(&ticket).filter(|open| !open.is_here && !hangs) else { return };
    open.is_here = true;
    let Open { comm, call, turn, .. } = *open;
    let Some(Comm { world, rank, size, .. }) = state.played.comms.get(&comm) else { return };
    let (number, rank, size) = (*world, *rank, usize::try_from(*size).unwrap_or(0));
    let Some(world) = state.played.worlds.get_mut(&number) else { return };
    if matches!(call.kind, Kind::Send | Kind::Receive) {
        let pair = if call.kind == Kind::Send { (rank, call.root) } else { (call.root, rank) };
        let list = if call.kind == Kind::Send { &mut world.sent } else { &mut world.awaited };
        list.entry(pair).or_default().push_back(ticket);
        return deliver(state, number, pair);
    }
    let round = world.rounds.entry(turn).or_default();
    round.insert(rank, ticket);
    if round.len() < size {
        return;
    }
    let tickets: Vec<usize> = (0..).map_while(|rank| round.get(&rank).copied()).collect();
    let calls: Vec<Call> = tickets.iter().filter_map(|ticket| state.played.open.get(ticket)).map(|open| open.call).collect();
    let differs = |other: &Call| (other.kind, other.count, other.dtype, other.root) != (call.kind, call.count, call.dtype, call.root);
    if calls.len() < size || calls.iter().any(differs) {
        // As with the real one: nothing ends any more.
        return;
    }
    carry_out(&calls, state.settings.is_ring);
    tickets.iter().for_each(|ticket| _ = state.played.open.remove(ticket));
    _ = state.played.worlds.get_mut(&number).and_then(|world| world.rounds.remove(&turn));
}

fn deliver(state: &mut State, number: usize, pair: (i32, i32)) {
    let Some(world) = state.played.worlds.get_mut(&number) else { return };
    let (Some(sent), Some(awaited)) = (world.sent.get_mut(&pair), world.awaited.get_mut(&pair)) else { return };
    let (Some(&from), Some(&to)) = (sent.front(), awaited.front()) else { return };
    let (Some(source), Some(target)) = (state.played.open.get(&from), state.played.open.get(&to)) else { return };
    if (source.call.count, source.call.dtype) != (target.call.count, target.call.dtype) {
        // As above.
        return;
    }
    carry_out(&[source.call, target.call], false);
    sent.pop_front();
    awaited.pop_front();
    [from, to].iter().for_each(|ticket| _ = state.played.open.remove(ticket));
}

/// Ends a communicator; what it had under way will never happen, and keeps no stream.
pub fn end(state: &mut State, handle: usize) -> u32 {
    let Some(comm) = state.played.comms.remove(&handle) else { return NCCL_INVALID_ARGUMENT };
    comm.put_off.iter().for_each(|parcel| _ = state.played.parcels.remove(&parcel.number));
    let open = &mut state.played.open;
    open.retain(|_, open| open.comm != handle);
    if let Some(world) = state.played.worlds.get_mut(&comm.world) {
        let lists = world.sent.values_mut().chain(world.awaited.values_mut());
        lists.for_each(|list| list.retain(|ticket| open.contains_key(ticket)));
    }
    0
}

/// A new end of a world; those that are there already go on when it was the last.
pub fn join(state: &mut State, number: usize, (rank, size): (i32, i32), is_blocking: bool) -> usize {
    let handle = 0x5000 + state.next_handle();
    let world = state.played.worlds.entry(number).or_default();
    world.size = size;
    world.joined.insert(rank, handle);
    let meet = state.settings.meet.clone();
    let is_whole = match meet.is_empty() {
        true => world.joined.len() == usize::try_from(size).unwrap_or(0),
        false => apart::join(&meet, number, rank) && apart::is_whole(&meet, number, size),
    };
    let (put_off, deferral, left) = (Vec::new(), 0, apart::Left::default());
    let comm = Comm { world: number, rank, size, waits: !is_whole, is_blocking, error: 0, posted: 0, splits: 0, put_off, deferral, left };
    state.played.comms.insert(handle, comm);
    if is_whole {
        state.played.comms.values_mut().filter(|comm| comm.world == number).for_each(|comm| comm.waits = false);
    }
    handle
}
