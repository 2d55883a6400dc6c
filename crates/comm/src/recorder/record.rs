//! The recorder's file: the structs are its JSON, field by field.

use super::entry::{Message, Reading};
use super::{Recorder, wall_clock_ms};
use crate::failure::Failure;
use crate::group::lock;
use crate::world::WorldState;
use serde::Serialize;
use std::collections::HashSet;
use std::sync::atomic::Ordering;

/// Why a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The world has failed.
    Failure,
    /// An operation is slow.
    Slow,
    /// Somebody asked.
    Request,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    format: &'static str,
    version: u32,
    job: &'a str,
    rank: u32,
    world_size: usize,
    host: String,
    pid: u32,
    backend: &'static str,
    written_ms: f64,
    reason: Reason,
    failure: Option<FailureRecord<'a>>,
    /// Operations, the oldest ones, that the recorder no longer holds.
    dropped: u64,
    groups: Vec<GroupRecord>,
    /// In the order in which they were posted.
    operations: Vec<OperationRecord>,
}

#[derive(Serialize)]
struct FailureRecord<'a> {
    code: &'static str,
    culprits: &'a [u32],
    message: &'a str,
}

#[derive(Serialize)]
struct GroupRecord {
    id: u32,
    name: String,
    ranks: Vec<u32>,
    instance: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OperationRecord {
    group: u32,
    sequence: u64,
    kind: &'static str,
    dtype: Option<&'static str>,
    count: u64,
    op: Option<&'static str>,
    root: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sends: Option<Vec<MessageRecord>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receives: Option<Vec<MessageRecord>>,
    label: String,
    state: &'static str,
    posted: u64,
    waited: Option<u64>,
    posted_ms: f64,
    started_ms: Option<f64>,
    ended_ms: Option<f64>,
}

#[derive(Serialize)]
struct MessageRecord {
    peer: usize,
    dtype: &'static str,
    count: usize,
}

fn messages(list: &[Message]) -> Vec<MessageRecord> {
    list.iter().map(|message| MessageRecord { peer: message.peer, dtype: message.dtype.name(), count: message.count }).collect()
}

/// Microseconds are exact enough.
fn rounded(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

impl Recorder {
    /// A time of the recorder's clock in milliseconds since 1970; None for never.
    fn milliseconds(&self, clock: u64) -> Option<f64> {
        clock.checked_sub(1).map(|nanoseconds| rounded(self.epoch_ms + nanoseconds as f64 / 1e6))
    }

    fn operation(&self, reading: &Reading) -> OperationRecord {
        let signature = &reading.signature;
        let is_messages = signature.kind.is_messages();
        let ended_ms = self.milliseconds(reading.ended_at);
        let started_ms = self.milliseconds(reading.started_at);
        let state = match (started_ms, ended_ms) {
            (_, Some(_)) if reading.is_failed => "failed",
            (_, Some(_)) => "completed",
            (Some(_), None) => "started",
            (None, None) => "queued",
        };
        OperationRecord {
            group: reading.group,
            sequence: reading.sequence,
            kind: signature.kind.name(),
            dtype: signature.dtype.map(|dtype| dtype.name()),
            count: if is_messages { 0 } else { signature.count },
            op: signature.op.map(|op| op.name()),
            root: signature.root,
            sends: is_messages.then(|| messages(&reading.messages.sends)),
            receives: is_messages.then(|| messages(&reading.messages.receives)),
            label: reading.label.to_string(),
            state,
            posted: reading.posted,
            waited: (reading.waited > 0).then_some(reading.waited),
            posted_ms: self.milliseconds(reading.posted_at).unwrap_or_default(),
            started_ms,
            ended_ms,
        }
    }

    /// (how many operations are no longer held, those that are).
    fn operations(&self) -> (u64, Vec<OperationRecord>) {
        let limit = self.entries.limit();
        let posted = self.posted.load(Ordering::Acquire);
        let numbers = posted.saturating_sub(limit)..posted;
        let readings: Vec<_> = numbers.filter_map(|number| Some((number, self.entries.at(number).read(number)?))).collect();
        // Others may go on posting: what they overwrite in the meantime counts as dropped as a whole, so that no gap arises.
        let dropped = self.posted.load(Ordering::Acquire).saturating_sub(limit);
        let kept = readings.iter().filter(|(number, _)| *number >= dropped);
        let mut operations: Vec<_> = kept.map(|(_, reading)| self.operation(reading)).collect();
        operations.sort_by_key(|operation| operation.posted);
        (dropped, operations)
    }

    /// The groups that are open, and those that the operations speak of.
    fn groups(&self, operations: &[OperationRecord]) -> Vec<GroupRecord> {
        let used: HashSet<u32> = operations.iter().map(|operation| operation.group).collect();
        let groups = lock(&self.groups);
        let wanted = groups.known.iter().filter(|group| group.closed.is_none() || used.contains(&group.id));
        let record =
            |id, spec: &crate::GroupSpec| GroupRecord { id, name: spec.name.clone(), ranks: spec.ranks.clone(), instance: spec.instance };
        wanted.map(|group| record(group.id, &group.spec)).collect()
    }
}

/// The record of this rank as JSON. `failure`: the one that ended the world, as far as this rank knows.
pub(crate) fn record(world: &WorldState, reason: Reason, failure: Option<&Failure>) -> String {
    let (dropped, operations) = world.recorder.operations();
    let failure =
        failure.map(|failure| FailureRecord { code: failure.code.name(), culprits: &failure.culprits, message: &failure.message });
    let record = Record {
        format: "megatron-ts flight recorder",
        version: 1,
        job: &world.job,
        rank: world.rank,
        world_size: world.size,
        host: world.host(world.rank),
        pid: std::process::id(),
        backend: world.backend.name(),
        written_ms: rounded(wall_clock_ms()),
        reason,
        failure,
        dropped,
        groups: world.recorder.groups(&operations),
        operations,
    };
    // Text and numbers alone: this cannot fail.
    serde_json::to_string(&record).unwrap_or_default()
}
