//! Which rank is the odd one, once the ranks of a group are known to disagree.

use crate::backend::GroupSpec;
use crate::descriptor::Descriptor;
use crate::failure::{Code, Failure};
use crate::lane::Active;
use crate::world::WorldState;
use std::time::{Duration, Instant};

/// How long a disagreement waits for the remaining ranks, so that the odd one is named.
const DISPUTE: Duration = Duration::from_millis(50);
/// How often they are looked for meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// A disagreement that is being looked into.
pub(crate) struct Dispute {
    since: Instant,
    next_look: Instant,
}

/// What a member has done about the operation in dispute.
enum Stance {
    Posted(Descriptor),
    /// Has sent this where the operation in dispute was expected.
    Elsewhere(Descriptor),
    /// Has ended it and gone on.
    Passed,
    Unknown,
}

/// What the transport saw of `member` or, where messages pass only along some edges, what it told all others that it entered.
fn stance(world: &WorldState, spec: &GroupSpec, active: &Active, member: usize) -> Stance {
    let mine = active.task.descriptor;
    if member == spec.rank {
        return Stance::Posted(mine);
    }
    if let Some(descriptor) = active.operation.posted(member) {
        return if descriptor.sequence == mine.sequence { Stance::Posted(descriptor) } else { Stance::Elsewhere(descriptor) };
    }
    let is_comparable = |entered: &Descriptor| entered.group == mine.group && !entered.signature.kind.is_messages();
    match world.control().entered(spec.ranks[member]).filter(is_comparable) {
        Some(entered) if entered.sequence == mine.sequence => Stance::Posted(entered),
        Some(entered) if entered.sequence > mine.sequence => Stance::Passed,
        _ => Stance::Unknown,
    }
}

/// The failure that a disagreement amounts to, once it is clear which rank is the odd one; None while that is open.
pub(crate) fn verdict(world: &WorldState, spec: &GroupSpec, active: &mut Active) -> Option<Failure> {
    let now = Instant::now();
    let dispute = active.dispute.get_or_insert(Dispute { since: now, next_look: now });
    if now < dispute.next_look {
        return None;
    }
    dispute.next_look = now + LOOK;
    let is_over = now.duration_since(dispute.since) >= DISPUTE;
    let (mut posted, mut elsewhere) = (Vec::new(), Vec::new());
    for member in 0..spec.ranks.len() {
        match stance(world, spec, active, member) {
            Stance::Posted(descriptor) => posted.push((spec.ranks[member], descriptor)),
            Stance::Elsewhere(descriptor) => elsewhere.push((spec.ranks[member], descriptor)),
            Stance::Passed => {}
            Stance::Unknown if is_over => {}
            Stance::Unknown => return None,
        }
    }
    // A rank that is further on has mostly done its part of this one: it is blamed only when nobody else can be.
    odd_one(spec, &posted)
        .or_else(|| odd_one(spec, &[posted, elsewhere].concat()))
        .or_else(|| is_over.then(|| unresolved(world, spec, active)))
}

fn odd_one(spec: &GroupSpec, posted: &[(u32, Descriptor)]) -> Option<Failure> {
    let same = |a: &Descriptor, b: &Descriptor| a.signature == b.signature && a.sequence == b.sequence;
    let votes = |candidate: &Descriptor| posted.iter().filter(|(_, other)| same(candidate, other)).count();
    // The first of those with most votes: `max_by_key` takes the last, hence the reversal.
    let (reference, norm) = posted.iter().rev().max_by_key(|(_, descriptor)| votes(descriptor))?;
    let odd: Vec<&(u32, Descriptor)> = posted.iter().filter(|(_, descriptor)| !same(descriptor, norm)).collect();
    let (first, theirs) = odd.first()?;
    let ops = theirs.signature.op.zip(norm.signature.op);
    let is_elsewhere = theirs.signature.on_device != norm.signature.on_device;
    let full = ops.is_some_and(|(theirs, norm)| theirs != norm) || is_elsewhere;
    let text = |descriptor: &Descriptor| if full { format!("{descriptor:#}") } else { format!("{descriptor}") };
    let message = format!(
        "collective mismatch on group {}: rank {first} called {} while rank {reference} called {}. \
         The ranks disagree on {}.",
        spec.name,
        text(theirs),
        text(norm),
        if is_elsewhere { "where the tensors lie: copy them to one kind of place" } else { "the order of collectives" },
    );
    Some(Failure { code: Code::Mismatch, culprits: odd.iter().map(|(rank, _)| *rank).collect(), message })
}

/// The record of a disagreement whose other side cannot be told.
pub(crate) fn unresolved(world: &WorldState, spec: &GroupSpec, active: &Active) -> Failure {
    let message = format!(
        "collective mismatch on group {}: rank {} called {} and others did not. The ranks disagree on the order of collectives.",
        spec.name, world.rank, active.task.descriptor
    );
    Failure { code: Code::Mismatch, culprits: spec.ranks.clone(), message }
}
