//! What keeps this rank waiting, told to the others: so that a deadline elsewhere can say who waits for whom, and name a circle.

use crate::backend::Wait;
use crate::descriptor::Descriptor;
use crate::group::lock;
use crate::world::WorldState;
use std::sync::Mutex;
use std::time::Instant;

/// The wait that was told last.
struct Told {
    /// The operation's number in the flight recorder.
    entry: u64,
    started: Instant,
    wait: Wait,
}

#[derive(Default)]
pub(crate) struct Waiting(Mutex<Option<Told>>);

impl WorldState {
    /// Tells the others of a wait, unless they know of an older one.
    pub fn tell_wait(&self, entry: u64, started: Instant, wait: Wait) {
        let mut told = lock(&self.waiting.0);
        let is_news = match &*told {
            Some(other) if other.entry == entry => other.wait != wait,
            Some(other) => started < other.started,
            None => true,
        };
        if is_news {
            self.control().note_wait(Some(&wait));
            *told = Some(Told { entry, started, wait });
        }
    }

    /// The wait for this operation is over.
    pub fn end_wait(&self, entry: u64) {
        let mut told = lock(&self.waiting.0);
        if told.as_ref().is_some_and(|other| other.entry == entry) {
            self.control().note_wait(None);
            *told = None;
        }
    }
}

/// Steps after which a search for a circle gives up.
const STEPS: usize = 64;

/// What `rank` said it waits for, unless the awaited rank has gone on since: one that was stopped meanwhile cannot take its word back.
pub(crate) fn wait_of(world: &WorldState, rank: u32) -> Option<Wait> {
    let wait = world.control().wait_of(rank)?;
    let Descriptor { group, sequence, signature, .. } = wait.operation;
    let has_gone_on = |entered: &Descriptor| {
        entered.group == group && entered.sequence > sequence && !signature.kind.is_messages() && !entered.signature.kind.is_messages()
    };
    (!world.control().entered(wait.rank).as_ref().is_some_and(has_gone_on)).then_some(wait)
}

/// The circle, if any, that one comes to from `first`, a rank with its wait, by asking whom the awaited rank waits for, and so on. Ranks
/// that are all in one collective do not wait for each other in this sense: the transport moves them on.
pub(crate) fn circle(world: &WorldState, first: (u32, Wait)) -> Option<Vec<(u32, Wait)>> {
    let mut path = vec![first];
    for _ in 0..world.size.min(STEPS) {
        let next = path.last()?.1.rank;
        if let Some(from) = path.iter().position(|(rank, _)| *rank == next) {
            let links = path.split_off(from);
            let is_knot = links.iter().any(|(_, wait)| !is_same_collective(&wait.operation, &links[0].1.operation));
            return is_knot.then_some(links);
        }
        path.push((next, wait_of(world, next)?));
    }
    None
}

/// The rank at the end of the chain of waits that begins with `rank`: the one that keeps it, or itself when it waits for nobody.
pub(crate) fn keeper(world: &WorldState, rank: u32) -> u32 {
    let mut last = rank;
    for _ in 0..world.size.min(STEPS) {
        match wait_of(world, last) {
            // A wait for this rank ends with what this rank does next.
            Some(wait) if wait.rank != world.rank && wait.rank != rank => last = wait.rank,
            _ => break,
        }
    }
    last
}

/// Whether two ranks that have entered these are in the same operation.
pub(crate) fn is_same_collective(a: &Descriptor, b: &Descriptor) -> bool {
    !a.signature.kind.is_messages() && !b.signature.kind.is_messages() && a.group == b.group && a.sequence == b.sequence
}
