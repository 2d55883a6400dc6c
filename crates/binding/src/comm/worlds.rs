//! Exports that join, record and leave worlds.

use super::{REGISTRY, milliseconds};
use crate::hot_op::Failure;
use crate::tensors::current_device;
use comm::{Carrier, Reason, Settings, World};
use napi_derive::napi;
use std::path::PathBuf;

/// How to join a world.
#[napi(object)]
pub struct WorldOptions {
    /// Names the job: equal on its ranks, unlike that of any other job on this host.
    pub job: String,
    /// This rank's number.
    pub rank: u32,
    /// Number of ranks.
    pub size: u32,
    /// How many of them share this host.
    pub local_size: u32,
    /// An operation that has not ended after this long fails the world.
    pub timeout_ms: f64,
    /// A warning names the missing ranks after this long, and whenever the wait has doubled.
    pub slow_ms: f64,
    /// The limit for joining.
    pub join_timeout_ms: f64,
    /// What carries the data: shm, sim, mpi or fake.
    pub backend: String,
    /// Whether NCCL is laid over it, between this thread's device and those of the other ranks.
    pub on_device: bool,
    /// Where the flight records go when the world fails; none are written without.
    pub recorder_directory: Option<String>,
    /// Whether they are also written when an operation is slow.
    pub record_on_slow: bool,
    /// A process that still runs this long after its world failed is ended; without it goes on.
    pub exit_grace_ms: Option<f64>,
}

fn carrier(name: &str) -> Result<Carrier, Failure> {
    match name {
        "shm" => Ok(Carrier::Shm),
        "sim" => Ok(Carrier::Sim),
        "mpi" => Ok(Carrier::Mpi),
        "fake" => Ok(Carrier::Fake),
        _ => Err(format!("worldJoin: backend \"{name}\" is unknown. Use shm, sim, mpi or fake.").into()),
    }
}

/// Joins a world; returns its handle once all ranks have joined.
#[napi(catch_unwind)]
pub fn world_join(options: WorldOptions) -> napi::Result<u32, String> {
    let settings = Settings {
        carrier: carrier(&options.backend)?,
        timeout: milliseconds(options.timeout_ms),
        slow: milliseconds(options.slow_ms),
        join_timeout: milliseconds(options.join_timeout_ms),
        recorder_dir: options.recorder_directory.map(PathBuf::from),
        recorder_on_slow: options.record_on_slow,
        exit_grace: options.exit_grace_ms.map(milliseconds),
        ..Settings::sharing_host(options.local_size as usize)
    };
    let (job, rank, size) = (&options.job, options.rank, options.size);
    let world = match current_device().filter(|_| options.on_device) {
        Some(on) => World::join_with_device(job, rank, size, (settings, on.device())),
        None => World::join(job, rank, size, settings),
    };
    let world = world.map_err(join_failure)?;
    Ok(REGISTRY.with_borrow_mut(|registry| registry.worlds.insert("worldJoin", world))?)
}

/// A world that cannot be joined (its size differs, shared memory is full) is a matter of process groups, not of one operation.
fn join_failure(error: comm::Error) -> Failure {
    match error {
        comm::Error::Refused(message) => Failure { code: c"JOIN_FAILED", message },
        comm::Error::Failed(failure) => failure.into(),
    }
}

/// Leaves a world on purpose, after a moment for what is still outstanding.
#[napi(catch_unwind)]
pub fn world_leave(world: u32) -> napi::Result<(), String> {
    let world = REGISTRY.with_borrow_mut(|registry| registry.worlds.remove("worldLeave", world))?;
    world.leave();
    Ok(())
}

/// What this rank has posted so far, as JSON.
#[napi(catch_unwind)]
pub fn world_record(world: u32) -> napi::Result<String, String> {
    let record = REGISTRY.with_borrow(|registry| Ok::<_, Failure>(registry.worlds.get("worldRecord", world)?.record(Reason::Request)))?;
    Ok(record)
}

/// Ends the worlds of backend sim whose jobs begin with `job`: whoever waits in them, on any thread of this process, is told.
#[napi(catch_unwind)]
pub fn abort_sim(job: String) {
    comm::abort_sim(&job);
}
