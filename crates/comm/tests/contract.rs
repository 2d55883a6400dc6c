//! One contract for all backends: the same operations, bit by bit the same results.

mod support;

use megatron_comm::{Settings, SimBackend, World};
use std::time::Duration;
use support::contract::{HASHES, keep};
use support::{check_all, play_run};

/// A chunk so small that everything takes many rounds.
const SMALL_CHUNK: usize = 1024;
const SEED: u32 = 7;

/// Where the ranks of a world come from.
trait Arena {
    /// Runs the contract in a new world of `size` ranks; returns every rank's hash. Nothing within a rank's own process.
    fn play(&self, size: u32, run: u32, chunk: Option<usize>) -> Vec<u64>;
}

/// Processes on shared memory.
struct Processes {
    test: &'static str,
    /// Whether they may read each other's memory.
    reads: bool,
}

impl Arena for Processes {
    fn play(&self, size: u32, run: u32, chunk: Option<usize>) -> Vec<u64> {
        let ended = play_run(self.test, size, run, |seat| {
            let world = seat.join_with(Settings { chunk, reads: self.reads, ..seat.settings() });
            seat.say(&keep(&world, seat.rank, size, SEED).to_string());
            world.leave();
        });
        check_all(ended).iter().flat_map(|end| end.said()).map(|said| said.parse().unwrap()).collect()
    }
}

/// Threads of this process.
struct Threads {
    test: &'static str,
}

impl Arena for Threads {
    fn play(&self, size: u32, run: u32, chunk: Option<usize>) -> Vec<u64> {
        let limit = Duration::from_secs(120);
        let settings = Settings { chunk, timeout: limit, join_timeout: limit, ..Settings::new(size as usize) };
        let job = format!("{}-{size}-{run}", self.test);
        let rank = |rank: u32| {
            let backend = SimBackend::join(&job, rank, size, &settings).unwrap_or_else(|error| panic!("{error}"));
            let world = World::over(&job, backend, rank, size, settings.clone());
            let hash = keep(&world, rank, size, SEED);
            world.leave();
            hash
        };
        let rank = &rank;
        std::thread::scope(|scope| {
            let ranks: Vec<_> = (0..size).map(|index| scope.spawn(move || rank(index))).collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }
}

/// All ranks, with all chunks, come to the same results, which are those of every other backend.
fn check(arena: &dyn Arena, sizes: &[u32]) {
    let mut results = Vec::new();
    for &size in sizes {
        // So many ranks take many rounds anyway.
        let chunks = if size > 16 { &[None][..] } else { &[None, Some(SMALL_CHUNK)] };
        let hashes: Vec<u64> = (0..).zip(chunks).flat_map(|(run, &chunk)| arena.play(size, run, chunk)).collect();
        let Some(&first) = hashes.first() else { continue };
        assert!(hashes.iter().all(|&hash| hash == first), "{size} ranks: {hashes:x?}");
        results.push((size, first));
    }
    let of_size = |size: u32| HASHES.into_iter().find(|(known, _)| *known == size);
    let expected: Vec<_> = results.iter().map(|&(size, hash)| of_size(size).unwrap_or((size, hash))).collect();
    assert!(results == expected, "other results than the contract's: {results:#x?}");
}

#[test]
fn processes_on_shared_memory_keep_the_contract() {
    check(&Processes { test: "processes_on_shared_memory_keep_the_contract", reads: true }, &[2, 3, 4]);
}

#[test]
fn processes_that_may_not_read_each_others_memory_keep_the_contract() {
    check(&Processes { test: "processes_that_may_not_read_each_others_memory_keep_the_contract", reads: false }, &[2, 3]);
}

#[test]
fn threads_of_one_process_keep_the_contract() {
    check(&Threads { test: "threads_of_one_process_keep_the_contract" }, &[1, 2, 3, 4, 5, 8, 16]);
}

#[test]
fn many_threads_of_one_process_keep_the_contract() {
    check(&Threads { test: "many_threads_of_one_process_keep_the_contract" }, &[64]);
}
