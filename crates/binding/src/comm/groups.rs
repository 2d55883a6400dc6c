//! Exports that open, close and count groups.

use super::{REGISTRY, milliseconds};
use crate::hot_op::Failure;
use comm::{Kind, Limits};
use napi_derive::napi;

/// A group of a world.
#[napi(object)]
pub struct GroupOptions {
    /// What errors call it.
    pub name: String,
    /// An operation that has not ended after this long fails the world.
    pub timeout_ms: f64,
    /// A warning names the missing ranks after this long, and whenever the wait has doubled.
    pub slow_ms: f64,
    /// The limit of its first operation, when longer than the other: ranks arrive at it far apart.
    pub join_timeout_ms: f64,
}

/// Opens a group of world ranks, whose positions are the group ranks; its members connect at the first operation.
#[napi(catch_unwind)]
pub fn group_open(world: u32, ranks: &[u32], options: GroupOptions) -> napi::Result<u32, String> {
    let limits = Limits {
        timeout: milliseconds(options.timeout_ms),
        slow: milliseconds(options.slow_ms),
        first: milliseconds(options.join_timeout_ms),
    };
    let group = REGISTRY.with_borrow(|registry| {
        let world = registry.worlds.get("groupOpen", world)?;
        Ok::<_, Failure>(world.open_within(&options.name, ranks, limits))
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
    /// Calls of `reduce`.
    pub reduce: f64,
    /// Calls of `gather`.
    pub gather: f64,
    /// Calls of `scatter`.
    pub scatter: f64,
    /// Calls of `allToAll`.
    pub all_to_all: f64,
    /// Calls of `exchange`.
    pub exchange: f64,
    /// Calls of `send`.
    pub send: f64,
    /// Calls of `recv`.
    pub recv: f64,
    /// Calls of `barrier`.
    pub barrier: f64,
    /// Bytes this rank put in.
    pub bytes: f64,
}

/// The counts of a group since it was opened or they were reset.
#[napi(catch_unwind)]
pub fn group_counts(group: u32) -> napi::Result<GroupCounts, String> {
    let counts = super::group("groupCounts", group)?.counts();
    let of = |kind| counts.of(kind) as f64;
    Ok(GroupCounts {
        all_reduce: of(Kind::AllReduce),
        all_gather: of(Kind::AllGather),
        reduce_scatter: of(Kind::ReduceScatter),
        broadcast: of(Kind::Broadcast),
        reduce: of(Kind::Reduce),
        gather: of(Kind::Gather),
        scatter: of(Kind::Scatter),
        all_to_all: of(Kind::AllToAll),
        exchange: of(Kind::Exchange),
        send: of(Kind::Send),
        recv: of(Kind::Receive),
        barrier: of(Kind::Barrier),
        bytes: counts.bytes as f64,
    })
}

/// Sets the counts of a group to 0.
#[napi(catch_unwind)]
pub fn reset_group_counts(group: u32) -> napi::Result<(), String> {
    super::group("resetGroupCounts", group)?.reset_counts();
    Ok(())
}
