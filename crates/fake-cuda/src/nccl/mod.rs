//! NCCL between the communicators of this process, or of several that meet in a folder: what is asked is written down and put into its stream, of the driver in the same folder;
//! a collective happens once the streams of all of its ranks have come to it, and no stream goes past it before.

mod apart;
mod collectives;
mod communicators;
mod group;
mod memory;
mod world;

pub use world::Played;

pub const NCCL_INVALID_ARGUMENT: u32 = 4;
pub const NCCL_INVALID_USAGE: u32 = 5;
pub const NCCL_IN_PROGRESS: u32 = 7;

use crate::state::{State, state};

/// Runs a function of NCCL for the rank of `comm`: one that was told to fail does.
fn ask(name: &str, comm: usize, body: impl FnOnce(&mut State) -> u32) -> u32 {
    let mut state = state();
    let rank = state.played.comms.get(&comm).map(|comm| comm.rank);
    let is_meant = state.settings.failing_rank.is_none_or(|only| rank == Some(only));
    if is_meant
        && let Some((function, status, after)) = &mut state.settings.failing
        && function == name
    {
        if *after == 0 {
            return *status;
        }
        *after -= 1;
    }
    body(&mut state)
}
