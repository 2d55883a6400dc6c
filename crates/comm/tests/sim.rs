//! Ranks as threads of one process: whatever goes wrong, every survivor says the same and names the culprit.

mod support;

use megatron_comm::{Blocks, Error, Failure, Group, Kind, Label, ReduceOp, Request, Settings, SimBackend, World};
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};
use storage::{DType, Span};
use support::reference::blank;
use support::{complete, complete_labelled, floats};

/// What came of one rank: what it reports, or nothing of a thread that panicked.
type Report = Option<Result<(), Failure>>;

fn settings(size: u32) -> Settings {
    let limit = Duration::from_secs(60);
    Settings { timeout: limit, join_timeout: limit, ..Settings::new(size as usize) }
}

fn join(job: &str, rank: u32, size: u32, settings: &Settings) -> Result<World, Error> {
    let backend = SimBackend::join(job, rank, size, settings)?;
    Ok(World::over(job, backend, rank, size, settings.clone()))
}

/// Runs `body` as every rank of a new world; a rank whose body returns leaves it.
fn play(job: &str, size: u32, settings: &Settings, body: impl Fn(&World, u32) -> Result<(), Failure> + Sync) -> Vec<Report> {
    let rank = |rank: u32| {
        let world = join(job, rank, size, settings).unwrap_or_else(|error| panic!("{error}"));
        let result = body(&world, rank);
        world.leave();
        result
    };
    let rank = &rank;
    std::thread::scope(|scope| {
        let ranks: Vec<ScopedJoinHandle<_>> = (0..size).map(|index| scope.spawn(move || rank(index))).collect();
        ranks.into_iter().map(|rank| rank.join().ok()).collect()
    })
}

/// As `play`: all ranks meet in a group, then do `act` and a barrier.
fn fail(job: &str, size: u32, settings: &Settings, act: impl Fn(&Group, u32) -> Result<(), Failure> + Sync) -> Vec<Report> {
    play(job, size, settings, |world, rank| {
        let group = world.open("tp", &(0..size).collect::<Vec<u32>>()).unwrap();
        complete(&group, Request::Barrier)?;
        act(&group, rank)?;
        complete(&group, Request::Barrier)
    })
}

fn sum(count: usize) -> Request {
    Request::AllReduce { data: floats(&vec![1.0; count]), op: ReduceOp::Sum }
}

/// The survivors' one sentence, behind its code and culprits. The ranks of `dead` have none.
fn verdict(reports: &[Report], dead: &[usize]) -> String {
    let survivors = reports.iter().enumerate().filter(|(rank, _)| !dead.contains(rank));
    let mut said = survivors.map(|(rank, report)| match report {
        Some(Err(Failure { code, culprits, message })) => format!("{} {culprits:?} {message}", code.name()),
        other => panic!("rank {rank}: {other:?}"),
    });
    let first = said.next().unwrap();
    said.for_each(|other| assert_eq!(other, first));
    first
}

fn expect(verdict: &str, start: &str, parts: &[&str]) {
    assert!(verdict.starts_with(start), "{verdict}");
    for part in parts {
        assert!(verdict.contains(part), "no {part:?} in: {verdict}");
    }
}

/// Rank 1 may wait for rank 2 longer than for an operation, although it has had a message from rank 0.
#[test]
fn the_first_message_with_each_peer_and_the_first_collective_wait_for_ranks_that_come_late() {
    let limits = Settings { timeout: Duration::from_millis(50), ..settings(3) };
    let reports = play("late", 3, &limits, |world, rank| {
        let (pipe, all) = (world.open("pp", &[0, 1, 2]).unwrap(), world.open("dp", &[0, 1, 2]).unwrap());
        let message = |peer: usize, is_send: bool| {
            let (one, none) = (vec![(peer, floats(&[1.0]))], Vec::new());
            let (sends, receives) = if is_send { (one, none) } else { (none, one) };
            complete(&pipe, Request::Exchange { sends, receives, kind: if is_send { Kind::Send } else { Kind::Receive } })
        };
        match rank {
            0 => message(1, true)?,
            1 => {
                message(0, false)?;
                message(2, false)?;
            }
            _ => {
                std::thread::sleep(Duration::from_millis(300));
                message(1, true)?;
                std::thread::sleep(Duration::from_millis(300));
            }
        }
        complete(&all, Request::Barrier)
    });
    assert!(reports.iter().all(|report| matches!(report, Some(Ok(())))), "{reports:?}");
}

#[test]
fn a_rank_whose_thread_panics_is_named() {
    for size in [2, 5, 12] {
        let start = Instant::now();
        let reports = fail(&format!("panics-{size}"), size, &settings(size), |group, rank| {
            assert!(rank != 1, "this rank was to panic");
            complete_labelled(group, sum(100_000), "layers.1.mlp.down")
        });
        let parts = ["rank 1 (pid ", "exited while rank ", "allReduce#2 f32[100000] (layers.1.mlp.down) on group tp"];
        expect(&verdict(&reports, &[1]), "PEER_LOST [1] ", &parts);
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn a_rank_that_leaves_early_has_left_and_did_not_die() {
    let reports = play("leaves", 3, &settings(3), |world, rank| {
        let group = world.open("tp", &[0, 1, 2]).unwrap();
        complete(&group, Request::Barrier)?;
        if rank == 1 { Ok(()) } else { complete(&group, sum(10)) }
    });
    expect(&verdict(&reports, &[1]), "PEER_LOST [1] ", &["left the world while rank", "last operation it entered: barrier#1 on group tp"]);
}

/// What differs, what a rank asks for, who is odd, and the sentence about it.
type Case = (&'static str, fn(u32) -> Request, &'static str);

fn of_root(rank: u32) -> usize {
    usize::from(rank == 2)
}

const CASES: [Case; 7] = [
    (
        "kind",
        |rank| {
            let (source, target) = (blank(DType::BF16, 1024), blank(DType::BF16, 4096));
            if rank == 2 { sum(1024) } else { Request::AllGather { source, target, blocks: Blocks::even(1024, 4) } }
        },
        "rank 2 called allReduce#2 f32[1024] while rank 0 called allGather#2 bf16[1024]",
    ),
    (
        "count",
        |rank| sum(10 + rank as usize / 2 % 2 * (3 - rank as usize)),
        "rank 2 called allReduce#2 f32[11] while rank 0 called allReduce#2 f32[10]",
    ),
    (
        "dtype",
        |rank| Request::AllReduce { data: blank(if rank == 2 { DType::BF16 } else { DType::F32 }, 8), op: ReduceOp::Sum },
        "rank 2 called allReduce#2 bf16[8] while rank 0 called allReduce#2 f32[8]",
    ),
    (
        "op",
        |rank| Request::AllReduce { data: floats(&[1.0; 8]), op: if rank == 2 { ReduceOp::Max } else { ReduceOp::Sum } },
        "rank 2 called allReduce#2 f32[8] max while rank 0 called allReduce#2 f32[8] sum",
    ),
    (
        "the root of a broadcast",
        |rank| Request::Broadcast { data: floats(&[1.0; 8]), root: of_root(rank) },
        "rank 2 called broadcast#2 f32[8] from group rank 1 while rank ",
    ),
    (
        "the root of a reduction",
        |rank| Request::Reduce { data: floats(&[1.0; 8]), op: ReduceOp::Sum, root: of_root(rank) },
        // It has sent its part and gone on when the others look for it.
        "rank 2 called ",
    ),
    (
        "the root that a rank takes itself for",
        |rank| Request::Reduce { data: floats(&[1.0; 8]), op: ReduceOp::Sum, root: 2 * of_root(rank) },
        "rank 2 called reduce#2 f32[8] to group rank 2 while rank ",
    ),
];

#[test]
fn ranks_that_disagree_are_named_at_once() {
    for (index, (what, request, sentence)) in CASES.into_iter().enumerate() {
        let start = Instant::now();
        let reports = fail(&format!("disagree-{index}"), 4, &settings(4), |group, rank| complete(group, request(rank)));
        let verdict = verdict(&reports, &[]);
        assert!(verdict.starts_with("MISMATCH [2] ") && verdict.contains(sentence), "{what}: {verdict}");
        assert!(start.elapsed() < Duration::from_secs(10), "{what} took {:?}", start.elapsed());
    }
}

#[test]
fn a_rank_in_another_operation_is_named_in_a_large_world() {
    let reports = fail("disagree-large", 24, &settings(24), |group, rank| match rank {
        17 => complete(group, sum(8)),
        _ => complete(group, Request::Broadcast { data: floats(&[1.0; 8]), root: 3 }),
    });
    expect(
        &verdict(&reports, &[]),
        "MISMATCH [17] ",
        &["rank 17 called allReduce#2 f32[8] while rank ", " called broadcast#2 f32[8] from group rank 3."],
    );
}

#[test]
fn uneven_counts_that_do_not_match_are_named() {
    let reports = fail("uneven", 2, &settings(2), |group, rank| {
        let (send, receive) = if rank == 0 { ([0, 7], [0, 3]) } else { ([5, 0], [7, 0]) };
        let [source, target] = [send, receive].map(|counts| blank(DType::F32, counts.iter().sum()));
        let [send, receive] = [send, receive].map(|counts| Blocks::of_counts(&counts).unwrap());
        complete(group, Request::AllToAll { source, target, send, receive })
    });
    expect(&verdict(&reports, &[]), "MISMATCH [1, 0] ", &["rank 1 sends 5 elements to rank 0 in allToAll#2 f32, which expects 3"]);
}

#[test]
fn lists_of_counts_that_differ_are_named() {
    for (index, gather) in [true, false].into_iter().enumerate() {
        let reports = fail(&format!("lists-{index}"), 3, &settings(3), |group, rank| {
            // Rank 2 is wrong about what rank 0 has.
            let blocks = Blocks::of_counts(&[if rank == 2 { 4 } else { 5 }, 2, 1]).unwrap();
            let own = blank(DType::F32, blocks.of(rank as usize).len());
            let all = blank(DType::F32, blocks.total());
            complete(
                group,
                match gather {
                    true => Request::AllGather { source: own, target: all, blocks },
                    false => Request::ReduceScatter { source: all, target: own, op: ReduceOp::Sum, blocks },
                },
            )
        });
        let sentence = if gather { "rank 0 sends 5 elements to rank 2" } else { "rank 2 sends 4 elements to rank 0" };
        expect(&verdict(&reports, &[]), "MISMATCH [", &[sentence]);
    }
}

#[test]
fn a_message_of_another_size_is_named() {
    let reports = fail("message", 2, &settings(2), |group, rank| {
        let request = match rank {
            1 => Request::Exchange { sends: vec![(0, floats(&[1.0; 10]))], receives: vec![], kind: Kind::Send },
            _ => Request::Exchange { sends: vec![], receives: vec![(1, floats(&[1.0; 12]))], kind: Kind::Receive },
        };
        complete_labelled(group, request, "stage")
    });
    expect(&verdict(&reports, &[]), "MISMATCH [1] ", &["rank 1 sent ", "f32[10] (stage) while rank 0 was to receive ", "f32[12] (stage)"]);
}

/// One of many operations in which not every rank needs every other directly.
fn any_operation(index: usize, size: usize) -> Request {
    let (part, whole) = (blank(DType::F32, 5000), blank(DType::F32, 5000 * size));
    match index {
        0 => sum(8),
        1 => sum(400_000),
        2 => Request::Barrier,
        3 => Request::AllGather { source: part, target: whole, blocks: Blocks::even(5000, size) },
        _ => Request::Broadcast { data: blank(DType::U8, 2 << 20), root: 0 },
    }
}

#[test]
fn a_rank_that_never_arrives_is_named_at_the_deadline() {
    for size in [3, 20] {
        for index in 0..5 {
            let limit = Duration::from_millis(500);
            let settings = Settings { timeout: limit, ..settings(size) };
            let reports = play(&format!("late-{size}-{index}"), size, &settings, |world, rank| {
                let group = world.open("tp", &(0..size).collect::<Vec<u32>>()).unwrap();
                complete(&group, sum(3))?;
                // Alive, but away, until the others have given up.
                while rank == 1 && world.failure().is_none() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                complete(&group, any_operation(index, size as usize))?;
                complete(&group, Request::Barrier)
            });
            let verdict = verdict(&reports, &[]);
            expect(
                &verdict,
                "TIMEOUT [1] rank ",
                &["waited 500 ms in ", "rank 1 (pid ", ", alive) never joined; last operation it entered: allReduce#1"],
            );
        }
    }
}

#[test]
fn a_rank_that_comes_late_is_awaited() {
    for size in [3, 20] {
        let reports = play(&format!("tardy-{size}"), size, &settings(size), |world, rank| {
            let group = world.open("tp", &(0..size).collect::<Vec<u32>>()).unwrap();
            for index in 0..5 {
                // Long enough for the others to ask around.
                std::thread::sleep(Duration::from_millis(if rank as usize == index % 3 { 120 } else { 0 }));
                complete(&group, any_operation(index, size as usize))?;
            }
            Ok(())
        });
        assert!(reports.iter().all(|report| *report == Some(Ok(()))), "{reports:?}");
    }
}

#[test]
fn ranks_that_leave_at_different_times_after_the_same_operations_succeed() {
    let reports = play("departures", 6, &settings(6), |world, rank| {
        let group = world.open("tp", &[0, 1, 2, 3, 4, 5]).unwrap();
        for root in 0..40 {
            complete(&group, Request::Broadcast { data: floats(&[1.0; 100]), root: root % 6 })?;
        }
        std::thread::sleep(Duration::from_millis(u64::from(rank) * 20));
        Ok(())
    });
    assert!(reports.iter().all(|report| *report == Some(Ok(()))), "{reports:?}");
}

#[test]
fn a_rank_that_does_not_join_is_named() {
    let settings = Settings { join_timeout: Duration::from_millis(200), ..settings(3) };
    let settings = &settings;
    let errors = std::thread::scope(|scope| {
        let ranks = [0, 1].map(|rank| scope.spawn(move || join("absent", rank, 3, settings).err().unwrap()));
        ranks.map(|rank| rank.join().unwrap().to_string())
    });
    let sentence = "join: 2 of 3 ranks joined job absent within 200 ms; missing: rank 2. Check that they were started.";
    assert_eq!(errors, [sentence, sentence]);
}

#[test]
fn worlds_of_different_sizes_and_second_copies_of_a_rank_do_not_meet() {
    let long = settings(2);
    let long = &long;
    std::thread::scope(|scope| {
        let first = scope.spawn(move || join("sizes", 0, 2, long));
        let refusal = |rank, size| loop {
            // The first rank may not have come yet: then this one would wait for it.
            let short = Settings { join_timeout: Duration::from_millis(50), ..long.clone() };
            match join("sizes", rank, size, &short) {
                Err(Error::Refused(message)) => break message,
                _ => std::thread::yield_now(),
            }
        };
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(refusal(1, 3), "join: rank 1 expects a world of 3 and rank 0 one of 2. Give all ranks one WORLD_SIZE.");
        assert_eq!(refusal(0, 2), "join: rank 0 is taken by another thread. Start each rank once.");
        let second = join("sizes", 1, 2, long).unwrap();
        let first = first.join().unwrap().unwrap();
        first.leave();
        second.leave();
    });
}

#[test]
fn a_job_may_be_played_again_under_its_name() {
    for round in 0..20 {
        let reports = play("again", 4, &settings(4), |world, _| {
            let group = world.open("tp", &[3, 1, 0, 2]).unwrap();
            let data = floats(&[round as f32; 4]);
            complete(&group, Request::AllReduce { data: data.clone(), op: ReduceOp::Sum })?;
            assert_eq!(data.f32s().unwrap(), [4.0 * round as f32; 4]);
            Ok(())
        });
        assert!(reports.iter().all(|report| *report == Some(Ok(()))), "{reports:?}");
    }
}

#[test]
fn memory_of_operations_given_up_is_let_go() {
    let data = Arc::new(floats(&vec![1.0; 1 << 20]));
    let reports = play("given-up", 2, &settings(2), |world, rank| {
        let group = world.open("tp", &[0, 1]).unwrap();
        complete(&group, Request::Barrier)?;
        while rank == 1 && world.failure().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let sends = vec![(1 - rank as usize, Span::clone(&data))];
        let work = group.submit(Request::Exchange { sends, receives: vec![], kind: Kind::Send }, Label::EMPTY);
        match work {
            Ok(work) => work.wait(Some(Duration::from_millis(100))),
            Err(Error::Failed(failure)) => Err(failure),
            Err(error) => panic!("{error}"),
        }
    });
    expect(&verdict(&reports, &[]), "TIMEOUT [1] ", &["send#1 f32[1048576] on group tp"]);
    // The message is nowhere under way any more: this memory is ours alone.
    // SAFETY: nobody else uses it.
    unsafe { data.f32s_mut() }.unwrap().fill(2.0);
}
