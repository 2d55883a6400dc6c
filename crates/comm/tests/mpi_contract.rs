//! The contract of all backends, kept over MPI: bit by bit the results of shared memory.

mod mpi_launch;
mod support;

use megatron_comm::Settings;
use mpi_launch::{Flavour, Play, play};
use support::contract::{HASHES, keep};

/// A chunk so small that everything takes many rounds.
const SMALL_CHUNK: usize = 1024;
const SEED: u32 = 7;

fn check(name: &str, flavour: Flavour) {
    for (size, expected) in HASHES {
        for chunk in [None, Some(SMALL_CHUNK)] {
            let run = format!("{chunk:?}");
            let ended = play(flavour, &Play { name, size, run: &run, lost: &[] }, |seat| {
                // With small chunks MPI is called by its own thread alone.
                let exit_grace = seat.settings().exit_grace.filter(|_| chunk.is_none());
                let world = seat.join_with(Settings { chunk, exit_grace, ..seat.settings() });
                seat.say(&format!("{:x}", keep(&world, seat.rank, size, SEED)));
                world.leave();
            });
            let Some(ended) = ended else { continue };
            let expected = format!("{expected:x}");
            assert_eq!(ended.verdicts(&[]), vec![expected.as_str(); size as usize], "{size} ranks, chunk {chunk:?}");
        }
    }
}

#[test]
fn mpich_by_the_standard_interface_keeps_the_contract() {
    check("mpich_by_the_standard_interface_keeps_the_contract", Flavour::Standard);
}

#[test]
fn mpich_by_its_own_interface_keeps_the_contract() {
    check("mpich_by_its_own_interface_keeps_the_contract", Flavour::Mpich);
}

#[test]
fn open_mpi_keeps_the_contract() {
    check("open_mpi_keeps_the_contract", Flavour::OpenMpi);
}
