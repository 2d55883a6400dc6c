//! Who is to blame when an operation does not end: the same sentences for every transport.

mod verdict;

use crate::backend::{GroupSpec, Presence, Wait};
use crate::descriptor::Descriptor;
use crate::failure::{Code, Failure, ranks_text};
use crate::lane::Active;
use crate::operation::{Fault, Unexpected};
use crate::recorder::Reason;
use crate::waiting::{circle, is_same_collective, keeper, wait_of};
use crate::world::WorldState;
use std::time::{Duration, Instant};

pub(crate) use verdict::{Dispute, verdict};

/// After how long a circle of waiting ranks is looked at again before it counts.
const SECOND_LOOK: Duration = Duration::from_secs(1);

fn seconds(duration: Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 10.0).round() / 10.0)
}

/// `allReduce#43 f32[1024] (layers.1.mlp.down) on group tp`
fn in_group(descriptor: &Descriptor) -> String {
    format!("{descriptor} on group {}", descriptor.group)
}

/// `rank 1 (pid 2492, host n2)`; the host where the world has several, `remark` where there is one.
fn whom(world: &WorldState, rank: u32, remark: &str) -> String {
    let host = world.control().host(rank).map_or(String::new(), |host| format!(", host {host}"));
    format!("rank {rank} (pid {}{host}{remark})", world.control().pid(rank))
}

fn last_entered(world: &WorldState, rank: u32) -> String {
    match world.control().entered(rank) {
        Some(descriptor) => format!("last operation it entered: {}", in_group(&descriptor)),
        None => "it has entered no operation yet".into(),
    }
}

/// `rank 1 (pid 2492, alive) never joined`, with what it does instead or did last.
fn absentee(world: &WorldState, front: &Active, rank: u32, member: usize) -> String {
    let state = if front.operation.posted(member).is_some() { "joined but does not go on" } else { "never joined" };
    let elsewhere = |wait: &Wait| !is_same_collective(&wait.operation, &front.task.descriptor);
    let does = match wait_of(world, rank).filter(elsewhere) {
        Some(wait) => format!("it waits for rank {} in {}", wait.rank, in_group(&wait.operation)),
        None => last_entered(world, rank),
    };
    format!("{} {state}; {does}", whom(world, rank, ", alive"))
}

/// Whom an operation waits for, in words.
struct Absence {
    culprits: Vec<u32>,
    text: String,
    advice: String,
    /// The ranks that wait for each other, if they do.
    circle: Vec<(u32, Wait)>,
}

/// Why `front` does not go on.
fn absence(world: &WorldState, spec: &GroupSpec, front: &Active, missing: &[usize]) -> Absence {
    let starts = missing.iter().filter_map(|&member| {
        let rank = spec.ranks[member];
        let own = (world.rank, Wait { operation: front.task.descriptor, rank });
        if front.is_awaited { Some(own) } else { Some((rank, wait_of(world, rank)?)) }
    });
    if let Some(links) = starts.into_iter().find_map(|first| circle(world, first)) {
        let link = |(rank, wait): &(u32, Wait)| format!("rank {rank} waits for rank {} in {}", wait.rank, in_group(&wait.operation));
        let text: Vec<String> = links.iter().map(link).collect();
        let mut culprits: Vec<u32> = links.iter().map(|(rank, _)| *rank).collect();
        culprits.sort_unstable();
        let text = format!("{}: they wait for each other", text.join("; "));
        let advice = "Make all ranks post these operations in one order, or together.".into();
        return Absence { culprits, text, advice, circle: links };
    }
    if missing.is_empty() {
        let text = "no rank is missing, and nothing moves".into();
        let advice = "Look at the connection between the ranks, or raise the limit.".into();
        return Absence { culprits: Vec::new(), text, advice, circle: Vec::new() };
    }
    let mut list: Vec<String> = missing.iter().map(|&member| absentee(world, front, spec.ranks[member], member)).collect();
    let mut culprits: Vec<u32> = missing.iter().map(|&member| keeper(world, spec.ranks[member])).collect();
    culprits.sort_unstable();
    culprits.dedup();
    let is_missing = |rank: &u32| missing.iter().any(|&member| spec.ranks[member] == *rank);
    let remote = culprits.iter().filter(|rank| !is_missing(rank));
    list.extend(remote.map(|&rank| format!("{} waits for nobody; {}", whom(world, rank, ", alive"), last_entered(world, rank))));
    let advice = format!("Find what keeps {} away, or raise the limit.", ranks_text(&culprits));
    Absence { culprits, text: list.join("; "), advice, circle: Vec::new() }
}

/// The failure that the waiting of `active` amounts to by now; prints a warning when only slow.
pub(crate) fn inspect(world: &WorldState, spec: &GroupSpec, active: &mut Active, now: Instant) -> Option<Failure> {
    let missing = active.operation.missing();
    if let Some(failure) = missing.iter().find_map(|&member| gone(world, active, spec.ranks[member])) {
        return Some(failure);
    }
    let missing = active.operation.blockers();
    if let Some(limit) = active.task.overrun(Some(active.started), now) {
        return Some(timeout(world, spec, active, &missing, limit));
    }
    let waited = now.saturating_duration_since(active.started);
    if waited < active.warn_after || missing.is_empty() {
        return None;
    }
    let absence = absence(world, spec, active, &missing);
    if absence.circle.is_empty() {
        active.warn_after = waited * 2;
        warn(world, active, &absence.text, waited);
    } else if absence.circle == active.circle {
        return Some(deadlock(world, active, absence, waited));
    } else {
        // What the others told may be out of date by a moment: it counts when it is still so at the next look.
        active.circle = absence.circle;
        active.warn_after = waited + SECOND_LOOK;
    }
    None
}

/// Every rank of the circle has stopped its program for another one of it: no deadline is needed to know how this ends.
fn deadlock(world: &WorldState, active: &Active, absence: Absence, waited: Duration) -> Failure {
    let Absence { culprits, text, advice, .. } = absence;
    let what = in_group(&active.task.descriptor);
    let message = format!("rank {} has waited {} in {what} and would for ever: {text}. {advice}", world.rank, seconds(waited));
    Failure { code: Code::Mismatch, culprits, message }
}

fn gone(world: &WorldState, active: &Active, rank: u32) -> Option<Failure> {
    let control = world.control();
    let presence = control.presence(rank);
    if matches!(presence, Presence::Absent | Presence::Alive) {
        return None;
    }
    let what = in_group(&active.task.descriptor);
    let (who, last, me) = (whom(world, rank, ""), last_entered(world, rank), world.rank);
    let message = match presence {
        Presence::Left => {
            format!("{who} left the world while rank {me} was in {what}; {last}. Every rank of a group must make the same calls.")
        }
        _ => format!("{who} exited while rank {me} was in {what}; {last}. Look at the log of rank {rank}."),
    };
    Some(Failure { code: Code::PeerLost, culprits: vec![rank], message })
}

fn timeout(world: &WorldState, spec: &GroupSpec, active: &Active, missing: &[usize], limit: Duration) -> Failure {
    let Absence { culprits, text, advice, .. } = absence(world, spec, active, missing);
    let what = in_group(&active.task.descriptor);
    let message = format!("rank {} waited {} ms in {what}: {text}. {advice}", world.rank, limit.as_millis());
    Failure { code: Code::Timeout, culprits, message }
}

/// The failure of an operation that has not begun within its submitter's limit, since `front` has not ended.
pub(crate) fn queue_timeout(world: &WorldState, spec: &GroupSpec, front: &Active, queued: &Descriptor, limit: Duration) -> Failure {
    let Absence { culprits, text, advice, .. } = absence(world, spec, front, &front.operation.blockers());
    let message = format!(
        "rank {} waited {} ms for {}, queued behind {}: {text}. {advice}",
        world.rank,
        limit.as_millis(),
        in_group(queued),
        front.task.descriptor
    );
    Failure { code: Code::Timeout, culprits, message }
}

fn warn(world: &WorldState, active: &Active, text: &str, waited: Duration) {
    eprintln!(
        "megatron-ts: rank {} has waited {} in {}: {text}. It fails after {}.",
        world.rank,
        seconds(waited),
        in_group(&active.task.descriptor),
        seconds(active.task.limit()),
    );
    if world.settings.recorder_on_slow {
        world.write_record(Reason::Slow);
    }
}

/// The record of any other fault.
pub(crate) fn fault(world: &WorldState, spec: &GroupSpec, active: &Active, fault: Fault) -> Failure {
    let mine = active.task.descriptor;
    match fault {
        Fault::Disagree => verdict::unresolved(world, spec, active),
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
