//! Who is to blame when an operation does not end: the same sentences for every transport.

use crate::backend::{GroupSpec, Presence};
use crate::descriptor::Descriptor;
use crate::failure::{Code, Failure, ranks_text};
use crate::lane::Active;
use crate::operation::{Fault, Unexpected};
use crate::world::WorldState;
use std::time::{Duration, Instant};

/// How long a disagreement waits for the remaining ranks, so that the odd one is named.
const DISPUTE: Duration = Duration::from_millis(50);

fn seconds(duration: Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 10.0).round() / 10.0)
}

/// `allReduce#43 f32[1024] (layers.1.mlp.down) on group tp`
fn in_group(descriptor: &Descriptor) -> String {
    format!("{descriptor} on group {}", descriptor.group)
}

fn last_entered(world: &WorldState, rank: u32) -> String {
    match world.control().entered(rank) {
        Some(descriptor) => format!("last operation it entered: {}", in_group(&descriptor)),
        None => "it has entered no operation yet".into(),
    }
}

/// `rank 1 (pid 2492, alive) never joined`, with what it did last.
fn absentee(world: &WorldState, active: &Active, spec: &GroupSpec, member: usize) -> String {
    let rank = spec.ranks[member];
    let state = if active.operation.posted(member).is_some() { "joined but does not go on" } else { "never joined" };
    format!("rank {rank} (pid {}, alive) {state}; {}", world.control().pid(rank), last_entered(world, rank))
}

/// The failure that the waiting of `active` amounts to by now; prints a warning when only slow.
pub(crate) fn inspect(world: &WorldState, spec: &GroupSpec, active: &mut Active, now: Instant) -> Option<Failure> {
    let missing = active.operation.missing();
    if let Some(failure) = missing.iter().find_map(|&member| gone(world, active, spec.ranks[member])) {
        return Some(failure);
    }
    let waited = now.duration_since(active.started);
    let limit = active.task.timeout();
    if waited >= limit && !missing.is_empty() {
        return Some(timeout(world, spec, active, &missing, limit));
    }
    if waited >= active.warn_after && !missing.is_empty() {
        active.warn_after = waited * 2;
        warn(world, spec, active, &missing, waited, limit);
    }
    None
}

fn gone(world: &WorldState, active: &Active, rank: u32) -> Option<Failure> {
    let control = world.control();
    let what = in_group(&active.task.descriptor);
    let (pid, last, me) = (control.pid(rank), last_entered(world, rank), world.rank);
    let message = match control.presence(rank) {
        Presence::Absent | Presence::Alive => return None,
        Presence::Lost => format!("rank {rank} (pid {pid}) exited while rank {me} was in {what}; {last}. Look at the log of rank {rank}."),
        Presence::Left => format!(
            "rank {rank} (pid {pid}) left the world while rank {me} was in {what}; {last}. Every rank of a group must make the same calls."
        ),
    };
    Some(Failure { code: Code::PeerLost, culprits: vec![rank], message })
}

fn timeout(world: &WorldState, spec: &GroupSpec, active: &Active, missing: &[usize], limit: Duration) -> Failure {
    let culprits: Vec<u32> = missing.iter().map(|&member| spec.ranks[member]).collect();
    let list: Vec<String> = missing.iter().map(|&member| absentee(world, active, spec, member)).collect();
    let message = format!(
        "rank {} waited {} ms in {}: {}. Find what keeps {} away, or raise the limit.",
        world.rank,
        limit.as_millis(),
        in_group(&active.task.descriptor),
        list.join("; "),
        ranks_text(&culprits),
    );
    Failure { code: Code::Timeout, culprits, message }
}

fn warn(world: &WorldState, spec: &GroupSpec, active: &Active, missing: &[usize], waited: Duration, limit: Duration) {
    let list: Vec<String> = missing.iter().map(|&member| absentee(world, active, spec, member)).collect();
    eprintln!(
        "megatron-ts: rank {} has waited {} in {}: {}. It fails after {}.",
        world.rank,
        seconds(waited),
        in_group(&active.task.descriptor),
        list.join("; "),
        seconds(limit),
    );
}

/// What the ranks disagree about, once it is clear which of them is the odd one; None while that is open.
pub(crate) fn verdict(spec: &GroupSpec, active: &Active) -> Option<Failure> {
    let mine = active.task.descriptor;
    let posted = |member: usize| if member == spec.rank { Some(mine) } else { active.operation.posted(member) };
    let posted: Vec<(u32, Descriptor)> = (0..spec.ranks.len()).filter_map(|member| Some((spec.ranks[member], posted(member)?))).collect();
    let waited = active.disputed.map_or(Duration::ZERO, |since| since.elapsed());
    if posted.len() < spec.ranks.len() && waited < DISPUTE {
        return None;
    }
    let same = |a: &Descriptor, b: &Descriptor| a.signature == b.signature && a.sequence == b.sequence;
    let votes = |candidate: &Descriptor| posted.iter().filter(|(_, other)| same(candidate, other)).count();
    // The first of those with most votes: `max_by_key` takes the last, hence the reversal.
    let (reference, norm) = posted.iter().rev().max_by_key(|(_, descriptor)| votes(descriptor))?;
    let odd: Vec<&(u32, Descriptor)> = posted.iter().filter(|(_, descriptor)| !same(descriptor, norm)).collect();
    let (first, theirs) = odd.first()?;
    let ops = theirs.signature.op.zip(norm.signature.op);
    let full = ops.is_some_and(|(theirs, norm)| theirs != norm);
    let text = |descriptor: &Descriptor| if full { format!("{descriptor:#}") } else { format!("{descriptor}") };
    let message = format!(
        "collective mismatch on group {}: rank {first} called {} while rank {reference} called {}. \
         The ranks disagree on the order of collectives.",
        spec.name,
        text(theirs),
        text(norm),
    );
    Some(Failure { code: Code::Mismatch, culprits: odd.iter().map(|(rank, _)| *rank).collect(), message })
}

/// The record of any other fault.
pub(crate) fn fault(world: &WorldState, spec: &GroupSpec, active: &Active, fault: Fault) -> Failure {
    let mine = active.task.descriptor;
    match fault {
        Fault::Disagree => Failure {
            code: Code::Mismatch,
            culprits: spec.ranks.clone(),
            message: format!("collective mismatch on group {}: rank {} called {mine} and others did not.", spec.name, world.rank),
        },
        Fault::Uneven { from, to, sent, expected } => {
            let (from, to) = (spec.ranks[from], spec.ranks[to]);
            let message = format!(
                "collective mismatch on group {}: rank {from} sends {sent} elements to rank {to} in {mine}, which expects {expected}. \
                 Make the counts agree.",
                spec.name
            );
            Failure { code: Code::Mismatch, culprits: vec![from, to], message }
        }
        Fault::Unexpected(unexpected) => {
            let Unexpected { peer, theirs, expected } = *unexpected;
            let peer = spec.ranks[peer];
            let message = format!(
                "collective mismatch on group {}: rank {peer} sent {theirs} while rank {} was to receive {expected}. \
                 The ranks disagree on the order or the shape of messages.",
                spec.name, world.rank
            );
            Failure { code: Code::Mismatch, culprits: vec![peer], message }
        }
        Fault::Broken(reason) => {
            let message = format!("rank {} gave up in {}: {reason}", world.rank, in_group(&mine));
            Failure { code: Code::Aborted, culprits: vec![world.rank], message }
        }
    }
}
