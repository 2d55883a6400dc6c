//! Ranks under real MPI launchers: joining, and every way in which a rank can go missing.

mod mpi_launch;

use megatron_comm::{Failure, Group, Label, MpiBackend, ReduceOp, Request, Settings, World};
use mpi_launch::{Ended, FLAVOURS, Flavour, Play, Seat, play};
use std::time::{Duration, Instant};
use storage::{DType, Span};

/// How long an operation may take in tests of ranks that stay away.
const LIMIT: Duration = Duration::from_secs(2);
/// How much later than its limit a failure may be told.
const MARGIN: Duration = Duration::from_secs(1);

fn sum(count: usize) -> Request {
    Request::AllReduce { data: Span::from_slice(DType::F32, &vec![1f32; count]).unwrap(), op: ReduceOp::Sum }
}

fn complete(group: &Group, request: Request) -> Result<(), Failure> {
    group.submit(request, Label::new("layers.1")).unwrap().wait(None)
}

/// Joins, lets all ranks meet, runs `act`, and says how it failed, and whether that took longer than `limit` and a second.
fn fail_in(seat: &Seat, limit: Duration, act: impl Fn(&World, &Group) -> Result<(), Failure>) {
    let settings = Settings { timeout: limit, ..seat.settings() };
    let world = seat.join_with(settings);
    let group = world.open("tp", &seat.everyone()).unwrap();
    complete(&group, Request::Barrier).unwrap();
    let start = Instant::now();
    let failure = act(&world, &group).unwrap_err();
    let took = start.elapsed();
    if took > limit + MARGIN {
        seat.say(&format!("took {took:?}"));
    }
    seat.report(&failure);
    assert_eq!(complete_again(&group), failure);
    world.leave();
}

/// What a failed world says to the next operation.
fn complete_again(group: &Group) -> Failure {
    match group.submit(sum(1), Label::EMPTY) {
        Err(megatron_comm::Error::Failed(failure)) => failure,
        other => panic!("{:?} after a failure", other.err()),
    }
}

/// Each survivor's verdict begins with `start` and contains all of `parts`.
fn expect(ended: &Ended, dead: &[u32], start: &str, parts: &[&str]) {
    for verdict in ended.verdicts(dead) {
        assert!(verdict.starts_with(start), "{verdict}\n{}", ended.printed);
        for part in parts {
            assert!(verdict.contains(part), "no {part:?} in: {verdict}");
        }
    }
}

fn signal_self(signal: libc::c_int) {
    // SAFETY: a signal to this very process.
    unsafe { libc::kill(libc::getpid(), signal) };
}

/// Plays one test with all flavours.
fn everywhere(name: &str, size: u32, lost: &[u32], body: impl Fn(&Seat), check: impl Fn(&Ended)) {
    for flavour in FLAVOURS {
        let run = format!("{flavour:?}");
        if let Some(ended) = play(flavour, &Play { name, size, run: &run, lost }, &body) {
            check(&ended);
        }
    }
}

fn killed(name: &str, victim: u32) {
    let body = |seat: &Seat| {
        fail_in(seat, Duration::from_secs(30), |_, group| {
            if seat.rank == victim {
                // The others have all come out of the barrier by then.
                std::thread::sleep(Duration::from_millis(300));
                signal_self(libc::SIGKILL);
            }
            let start = Instant::now();
            let result = complete(group, sum(1 << 20));
            assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
            result
        });
    };
    everywhere(name, 3, &[victim], body, |ended| {
        expect(
            ended,
            &[victim],
            &format!("PEER_LOST [{victim}] "),
            &[&format!("rank {victim} (pid "), "allReduce#2 f32[1048576] (layers.1)"],
        );
    });
}

#[test]
fn a_killed_rank_is_named_by_every_survivor() {
    killed("a_killed_rank_is_named_by_every_survivor", 2);
}

#[test]
fn a_killed_rank_0_is_named_although_it_held_the_store() {
    killed("a_killed_rank_0_is_named_although_it_held_the_store", 0);
}

#[test]
fn a_stopped_rank_is_named_at_the_limit() {
    let body = |seat: &Seat| {
        fail_in(seat, LIMIT, |_, group| {
            if seat.rank == 1 {
                std::thread::sleep(Duration::from_millis(300));
                signal_self(libc::SIGSTOP);
                // Another thread may be the first to stop: this one goes no further until it is stopped as well.
                std::thread::sleep(LIMIT);
            }
            complete(group, sum(1 << 20))
        });
    };
    everywhere("a_stopped_rank_is_named_at_the_limit", 3, &[1], body, |ended| {
        expect(ended, &[1], "TIMEOUT [1] ", &["rank 1 (pid ", "never joined"]);
    });
}

#[test]
fn a_rank_that_does_something_else_is_named_by_all() {
    let body = |seat: &Seat| {
        fail_in(seat, Duration::from_secs(30), |_, group| complete(group, if seat.rank == 1 { Request::Barrier } else { sum(1 << 18) }));
    };
    everywhere("a_rank_that_does_something_else_is_named_by_all", 3, &[], body, |ended| {
        expect(ended, &[], "MISMATCH [1] ", &["rank 1 called barrier#2 (layers.1) while rank 0 called allReduce#2 f32[262144] (layers.1)"]);
    });
}

#[test]
fn a_rank_that_leaves_early_is_named() {
    let body = |seat: &Seat| {
        if seat.rank == 1 {
            let world = seat.join();
            complete(&world.open("tp", &seat.everyone()).unwrap(), Request::Barrier).unwrap();
            world.leave();
            return seat.say("left");
        }
        fail_in(seat, Duration::from_secs(30), |_, group| complete(group, sum(100)));
    };
    everywhere("a_rank_that_leaves_early_is_named", 3, &[], body, |ended| {
        expect(ended, &[1], "PEER_LOST [1] ", &["rank 1 (pid ", "left the world"]);
        assert_eq!(ended.said[1], ["left", "DONE"]);
    });
}

#[test]
fn a_late_rank_is_waited_for() {
    let body = |seat: &Seat| {
        if seat.rank == 1 {
            std::thread::sleep(Duration::from_millis(500));
        }
        let world = seat.join();
        let group = world.open("tp", &seat.everyone()).unwrap();
        for round in 0..3 {
            if seat.rank == 2 {
                std::thread::sleep(Duration::from_millis(100 * round));
            }
            complete(&group, sum(1000)).unwrap();
        }
        world.leave();
    };
    everywhere("a_late_rank_is_waited_for", 3, &[], body, |ended| assert_eq!(ended.said, vec![vec!["DONE"]; 3]));
}

#[test]
fn operations_nobody_waits_for_end_between_brisk_ones() {
    let body = |seat: &Seat| {
        // Threads that wait may call MPI, as in a training.
        let world = seat.join_with(Settings { exit_grace: Some(Duration::from_secs(10)), ..seat.settings() });
        let group = world.open("tp", &seat.everyone()).unwrap();
        for round in 0..5 {
            for _ in 0..100 {
                complete(&group, sum(8)).unwrap();
            }
            let data = Span::from_slice(DType::F32, &[1f32; 1000]).unwrap();
            let request = Request::AllReduce { data: data.clone(), op: ReduceOp::Sum };
            let work = group.submit(request, Label::new("layers.1")).unwrap();
            let start = Instant::now();
            // Reads the result without helping.
            while data.f32s().unwrap().last() != Some(&3.0) {
                std::thread::sleep(Duration::from_millis(1));
                assert!(start.elapsed() < Duration::from_secs(50), "nothing went on in round {round}");
            }
            work.wait(None).unwrap();
        }
        world.leave();
    };
    everywhere("operations_nobody_waits_for_end_between_brisk_ones", 3, &[], body, |ended| {
        assert_eq!(ended.said, vec![vec!["DONE"]; 3], "{}", ended.printed);
    });
}

#[test]
fn a_rank_that_never_starts_mpi_is_a_sentence_of_the_others() {
    let body = |seat: &Seat| {
        if seat.rank == 1 {
            std::thread::sleep(Duration::from_secs(3600));
        }
        let settings = Settings { join_timeout: LIMIT, ..seat.settings() };
        let error = MpiBackend::join(&seat.job, seat.rank, seat.size, &settings).map(|_| ()).unwrap_err();
        seat.say(&error.to_string());
    };
    everywhere("a_rank_that_never_starts_mpi_is_a_sentence_of_the_others", 2, &[1], body, |ended| {
        expect(
            ended,
            &[1],
            "join: MPI did not start on rank 0 within 2000 ms. It waits until all 2 ranks",
            &["check that each of them runs"],
        );
    });
}

#[test]
fn a_library_that_is_not_the_launchers_is_named() {
    let name = "a_library_that_is_not_the_launchers_is_named";
    let pairs = [(Flavour::Standard, Flavour::OpenMpi), (Flavour::OpenMpi, Flavour::Standard)];
    for (launcher, library) in pairs {
        let run = format!("{launcher:?}");
        let ended = Play { name, size: 2, run: &run, lost: &[] }.run(&library.library(), launcher.launcher(2), |seat| {
            let error = MpiBackend::join(&seat.job, seat.rank, seat.size, &seat.settings()).map(|_| ()).unwrap_err();
            seat.say(&error.to_string());
        });
        let Some(ended) = ended else { continue };
        let path = library.library();
        expect(&ended, &[], "join: ", &[&path.to_string_lossy(), "MEGATRON_MPI_LIBRARY"]);
    }
}
