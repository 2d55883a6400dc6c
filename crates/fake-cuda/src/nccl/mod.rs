//! NCCL between the communicators of this process: what is asked is written down, a collective happens once all of its ranks have asked
//! for it, and until then events of their streams do not complete (where the word `driver=` told which driver that is).

mod collectives;
mod communicators;
mod group;
mod memory;
mod world;

pub use world::Played;

pub const NCCL_INVALID_ARGUMENT: u32 = 4;
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
