//! Whatever goes wrong, every survivor says the same and names the culprit.

mod support;

use megatron_comm::{Blocks, Code, Error, Failure, Group, Kind, Label, ReduceOp, Request, Settings, World};
use std::time::{Duration, Instant};
use storage::{DType, Span};
use support::{Ended, Seat, complete, complete_labelled, floats, kill_self, play};

fn sum(count: usize) -> Request {
    Request::AllReduce { data: floats(&vec![1.0; count]), op: ReduceOp::Sum }
}

fn report(seat: &Seat, failure: &Failure) {
    seat.say(&format!("{} {:?} {}", failure.code.name(), failure.culprits, failure.message));
}

/// Joins, lets all ranks meet, runs `act`, reports its failure, and checks that the world stays failed.
fn fail_in(seat: &Seat, settings: Settings, act: impl Fn(&World, &Group) -> Result<(), Failure>) {
    let world = seat.join_with(settings);
    let group = world.open("tp", &seat.everyone()).unwrap();
    complete(&group, Request::Barrier).unwrap();
    let failure = act(&world, &group).unwrap_err();
    report(seat, &failure);
    assert_eq!(world.failure(), Some(failure.clone()));
    assert_eq!(group.submit(sum(1), Label::EMPTY).err(), Some(Error::Failed(failure)));
    world.leave();
}

/// What the survivors said, which is one sentence; the ranks of `dead` said nothing.
fn verdict(ended: &[Ended], dead: &[usize]) -> Option<String> {
    let survivors = ended.iter().enumerate().filter(|(rank, _)| !dead.contains(rank));
    let mut said = survivors.map(|(rank, end)| {
        assert!(end.status.success(), "rank {rank}: {}\n{}", end.status, end.errors);
        assert_eq!(end.said().len(), 1, "rank {rank}:\n{}", end.errors);
        end.said()[0].to_owned()
    });
    let first = said.next()?;
    said.for_each(|other| assert_eq!(other, first));
    Some(first)
}

fn expect(verdict: Option<String>, start: &str, parts: &[&str]) {
    // In a rank of another size there are no others to judge.
    let Some(verdict) = verdict else { return };
    assert!(verdict.starts_with(start), "{verdict}");
    for part in parts {
        assert!(verdict.contains(part), "no {part:?} in: {verdict}");
    }
}

#[test]
fn a_killed_peer_is_named_by_every_survivor_at_once() {
    let ended = play("a_killed_peer_is_named_by_every_survivor_at_once", 4, |seat| {
        fail_in(seat, seat.settings(), |_, group| {
            complete_labelled(group, sum(10), "before")?;
            if seat.rank == 2 {
                kill_self();
            }
            let start = Instant::now();
            let result = complete_labelled(group, sum(1 << 20), "layers.1.mlp.down");
            assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
            result
        });
    });
    let parts = [
        "rank 2 (pid ",
        ") exited while rank ",
        "allReduce#3 f32[1048576] (layers.1.mlp.down) on group tp",
        "last operation it entered: allReduce#2 f32[10] (before)",
    ];
    expect(verdict(&ended, &[2]), "PEER_LOST [2] ", &parts);
}

#[test]
fn a_peer_killed_in_the_middle_of_an_operation_is_named() {
    let ended = play("a_peer_killed_in_the_middle_of_an_operation_is_named", 3, |seat| {
        fail_in(seat, seat.settings(), |_, group| {
            if seat.rank == 1 {
                std::thread::spawn(|| {
                    std::thread::sleep(Duration::from_millis(100));
                    kill_self();
                });
            }
            loop {
                complete(group, sum(4 << 20))?;
            }
        });
    });
    expect(verdict(&ended, &[1]), "PEER_LOST [1] ", &["exited while rank", "allReduce#"]);
}

#[test]
fn a_different_operation_is_named_on_all_ranks() {
    let ended = play("a_different_operation_is_named_on_all_ranks", 4, |seat| {
        fail_in(seat, seat.settings(), |_, group| {
            if seat.rank == 3 {
                return complete_labelled(group, sum(1024), "layers.1.mlp.down");
            }
            let target = Span::new(DType::BF16, 4096).unwrap();
            complete(group, Request::AllGather { source: Span::new(DType::BF16, 1024).unwrap(), target, blocks: Blocks::even(1024, 4) })
        });
    });
    let sentence = "collective mismatch on group tp: rank 3 called allReduce#2 f32[1024] (layers.1.mlp.down) while rank 0 called \
                    allGather#2 bf16[1024]. The ranks disagree on the order of collectives.";
    expect(verdict(&ended, &[]), "MISMATCH [3] ", &[sentence]);
}

/// What differs, what a rank asks for, and the sentence about it.
type Case = (&'static str, fn(u32) -> Request, &'static str);

#[test]
fn a_different_count_type_reduction_or_root_is_named() {
    let broadcast = |root| Request::Broadcast { data: floats(&[1.0; 8]), root };
    let cases: [Case; 4] = [
        ("count", |rank| sum(10 + rank as usize / 2), "rank 2 called allReduce#2 f32[11] while rank 0 called allReduce#2 f32[10]"),
        (
            "dtype",
            |rank| Request::AllReduce { data: Span::new(if rank == 2 { DType::BF16 } else { DType::F32 }, 8).unwrap(), op: ReduceOp::Sum },
            "rank 2 called allReduce#2 bf16[8] while rank 0 called allReduce#2 f32[8]",
        ),
        (
            "op",
            |rank| Request::AllReduce { data: floats(&[1.0; 8]), op: if rank == 2 { ReduceOp::Max } else { ReduceOp::Sum } },
            "rank 2 called allReduce#2 f32[8] max while rank 0 called allReduce#2 f32[8] sum",
        ),
        (
            "root",
            |_| Request::Barrier,
            "rank 2 called broadcast#2 f32[8] from group rank 1 while rank 0 called broadcast#2 f32[8] from group rank 0",
        ),
    ];
    for (run, (name, request, sentence)) in cases.into_iter().enumerate() {
        let ended = support::play_run("a_different_count_type_reduction_or_root_is_named", 3, run as u32, |seat| {
            fail_in(seat, seat.settings(), |_, group| {
                let request = if name == "root" { broadcast(usize::from(seat.rank == 2)) } else { request(seat.rank) };
                complete(group, request)
            });
        });
        expect(verdict(&ended, &[]), "MISMATCH [2] ", &[sentence]);
    }
}

#[test]
fn uneven_counts_that_do_not_match_are_named() {
    let ended = play("uneven_counts_that_do_not_match_are_named", 2, |seat| {
        fail_in(seat, seat.settings(), |_, group| {
            let (send, receive) = if seat.rank == 0 { (vec![0, 7], vec![0, 3]) } else { (vec![5, 0], vec![7, 0]) };
            let [source, target] = [&send, &receive].map(|counts| floats(&vec![0.0; counts.iter().sum()]));
            let [send, receive] = [send, receive].map(|counts| Blocks::of_counts(&counts).unwrap());
            complete(group, Request::AllToAll { source, target, send, receive })
        });
    });
    expect(verdict(&ended, &[]), "MISMATCH [1, 0] ", &["rank 1 sends 5 elements to rank 0 in allToAll#2 f32, which expects 3"]);
}

#[test]
fn a_message_of_another_size_is_named() {
    let ended = play("a_message_of_another_size_is_named", 2, |seat| {
        fail_in(seat, seat.settings(), |_, group| {
            if seat.rank == 1 {
                complete_labelled(
                    group,
                    Request::Exchange { sends: vec![(0, floats(&[1.0; 10]))], receives: vec![], kind: Kind::Exchange },
                    "stage 1",
                )?;
                return complete(group, Request::Barrier);
            }
            complete_labelled(
                group,
                Request::Exchange { sends: vec![], receives: vec![(1, floats(&[1.0; 12]))], kind: Kind::Exchange },
                "stage 0",
            )
        });
    });
    let sentence = "rank 1 sent exchange#1 f32[10] (stage 1) while rank 0 was to receive exchange#1 f32[12] (stage 0)";
    expect(verdict(&ended, &[]), "MISMATCH [1] ", &[sentence]);
}

#[test]
fn a_rank_that_never_arrives_is_named_at_the_deadline() {
    let ended = play("a_rank_that_never_arrives_is_named_at_the_deadline", 3, |seat| {
        let limit = Duration::from_millis(400);
        let settings = Settings { timeout: limit, slow: Duration::from_millis(50), ..seat.settings() };
        fail_in(seat, settings, |world, group| {
            if seat.rank != 1 {
                return complete(group, sum(1024));
            }
            // Alive, but away, until the others have given up.
            while world.failure().is_none() {
                std::thread::sleep(Duration::from_millis(10));
            }
            complete(group, sum(1024))
        });
    });
    if let Some(first) = ended.first() {
        assert!(first.errors.contains("megatron-ts: rank 0 has waited "), "no warning in:\n{}", first.errors);
    }
    let parts = [
        "waited 400 ms in allReduce#2 f32[1024] on group tp: rank 1 (pid ",
        ", alive) never joined",
        "last operation it entered: barrier#1 on group tp",
    ];
    expect(verdict(&ended, &[]), "TIMEOUT [1] ", &parts);
}

#[test]
fn a_limit_given_to_wait_holds_for_that_operation() {
    let ended = play("a_limit_given_to_wait_holds_for_that_operation", 2, |seat| {
        fail_in(seat, seat.settings(), |world, group| {
            if seat.rank == 0 {
                return group.submit(sum(4), Label::EMPTY).unwrap().wait(Some(Duration::from_millis(150)));
            }
            while world.failure().is_none() {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(world.failure().unwrap())
        });
    });
    expect(verdict(&ended, &[]), "TIMEOUT [1] ", &["never joined"]);
}

/// Rank 0 waits in one group for rank 1, which waits in the other for rank 0.
#[test]
fn ranks_that_wait_for_each_other_fail_long_before_the_deadline() {
    let ended = play("ranks_that_wait_for_each_other_fail_long_before_the_deadline", 2, |seat| {
        let settings = Settings { timeout: Duration::from_secs(600), slow: Duration::from_millis(150), ..seat.settings() };
        fail_in(seat, settings, |world, group| {
            let other = world.open("dp", &seat.everyone()).unwrap();
            complete(&other, Request::Barrier)?;
            complete(if seat.rank == 0 { group } else { &other }, sum(4))
        });
    });
    let links = [
        "rank 0 waits for rank 1 in allReduce#2 f32[4] on group tp",
        "rank 1 waits for rank 0 in allReduce#2 f32[4] on group dp",
        "and would for ever",
        ": they wait for each other. Make all ranks post these operations in one order, or together.",
    ];
    expect(verdict(&ended, &[]), "MISMATCH [0, 1] ", &links);
}

#[test]
fn messages_sent_round_a_ring_that_nobody_receives_are_named_as_a_circle() {
    let ended = play("messages_sent_round_a_ring_that_nobody_receives_are_named_as_a_circle", 3, |seat| {
        let settings = Settings { timeout: Duration::from_millis(400), chunk: Some(4096), ..seat.settings() };
        fail_in(seat, settings, |_, group| {
            let next = (seat.rank as usize + 1) % 3;
            complete(group, Request::Exchange { sends: vec![(next, floats(&vec![1.0; 1 << 20]))], receives: vec![], kind: Kind::Send })
        });
    });
    let links = ["rank 0 waits for rank 1 in send#1", "rank 1 waits for rank 2 in send#1", "rank 2 waits for rank 0 in send#1"];
    expect(verdict(&ended, &[]), "TIMEOUT [0, 1, 2] ", &links);
}

/// A message so long that the receiver reads it from the sender's memory, where the system allows that.
fn long_message(peer: usize, is_send: bool) -> Request {
    let (one, none) = (vec![(peer, floats(&vec![1.0; 4 << 20]))], Vec::new());
    let (sends, receives) = if is_send { (one, none) } else { (none, one) };
    Request::Exchange { sends, receives, kind: if is_send { Kind::Send } else { Kind::Receive } }
}

#[test]
fn a_sender_killed_while_its_memory_is_read_is_named() {
    let ended = play("a_sender_killed_while_its_memory_is_read_is_named", 2, |seat| {
        fail_in(seat, seat.settings(), |_, group| {
            if seat.rank == 1 {
                std::thread::spawn(|| {
                    std::thread::sleep(Duration::from_millis(30));
                    kill_self();
                });
            }
            loop {
                complete(group, long_message(1 - seat.rank as usize, seat.rank == 1))?;
            }
        });
    });
    expect(verdict(&ended, &[1]), "PEER_LOST [1] ", &["rank 1 (pid ", ") exited while rank 0 was in recv#"]);
}

#[test]
fn a_message_whose_sender_gave_it_up_is_not_delivered() {
    let ended = play("a_message_whose_sender_gave_it_up_is_not_delivered", 2, |seat| {
        let settings = Settings { timeout: Duration::from_millis(400), ..seat.settings() };
        fail_in(seat, settings, |world, _| {
            let pipe = world.open("pp", &seat.everyone()).unwrap();
            complete(&pipe, Request::Barrier)?;
            if seat.rank == 1 {
                let work = pipe.submit(long_message(0, true), Label::EMPTY).unwrap();
                pipe.close();
                assert_eq!(work.wait(None).unwrap_err().code, Code::Aborted);
            }
            let aside = world.open("dp", &seat.everyone()).unwrap();
            complete(&aside, Request::Barrier)?;
            if seat.rank == 0 {
                return complete(&pipe, long_message(1, false));
            }
            while world.failure().is_none() {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(world.failure().unwrap())
        });
    });
    expect(verdict(&ended, &[]), "TIMEOUT [1] ", &["recv#1"]);
}

#[test]
fn one_rank_reports_the_failure_with_a_table_of_all() {
    let ended = play("one_rank_reports_the_failure_with_a_table_of_all", 4, |seat| {
        fail_in(seat, seat.settings(), |world, group| {
            if seat.rank != 2 {
                return complete_labelled(group, sum(if seat.rank == 0 { 10 } else { 20 }), "layers.0");
            }
            // Computes, and has nothing to do with it.
            while world.failure().is_none() {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(world.failure().unwrap())
        });
    });
    if ended.is_empty() {
        return;
    }
    let reports: Vec<(usize, usize)> =
        ended.iter().enumerate().map(|(rank, end)| (rank, end.errors.matches("last operation entered").count())).collect();
    assert_eq!(reports, [(0, 0), (1, 1), (2, 0), (3, 0)]);
    let block: Vec<&str> = ended[1].errors.lines().skip_while(|line| !line.starts_with("megatron-ts: MISMATCH: ")).take(6).collect();
    let columns = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
    assert_eq!(columns(block[1]), ["rank", "host", "pid", "state", "group", "last", "operation", "entered"]);
    let rows: Vec<Vec<String>> = block[2..].iter().map(|line| columns(line)).collect();
    assert!(block[2].starts_with("> 0 "), "{block:?}");
    let order: Vec<&str> = rows.iter().map(|row| row[usize::from(row[0] == ">")].as_str()).collect();
    assert_eq!(order, ["0", "1", "2", "3"]);
    assert!(block[2].ends_with(" alive tp    allReduce#2 f32[10] (layers.0)"), "{block:?}");
    assert!(block[4].ends_with(" alive tp    barrier#1"), "{block:?}");
}

#[test]
fn a_rank_that_leaves_early_has_left_and_did_not_die() {
    let ended = play("a_rank_that_leaves_early_has_left_and_did_not_die", 3, |seat| {
        if seat.rank == 1 {
            let world = seat.join();
            let group = world.open("tp", &seat.everyone()).unwrap();
            complete(&group, Request::Barrier).unwrap();
            world.leave();
            return;
        }
        fail_in(seat, seat.settings(), |_, group| complete(group, sum(10)));
    });
    expect(
        verdict(&ended, &[1]),
        "PEER_LOST [1] ",
        &["rank 1 (pid ", "left the world while rank", "last operation it entered: barrier#1 on group tp"],
    );
}

#[test]
fn ranks_that_leave_at_different_times_after_the_same_operations_succeed() {
    support::play_all("ranks_that_leave_at_different_times_after_the_same_operations_succeed", 4, |seat| {
        let world = seat.join();
        let group = world.open("tp", &seat.everyone()).unwrap();
        for _ in 0..100 {
            complete(&group, sum(100)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(u64::from(seat.rank) * 60));
        world.leave();
    });
}

#[test]
fn a_full_shared_directory_is_reported_with_the_numbers() {
    let ended = play("a_full_shared_directory_is_reported_with_the_numbers", 2, |seat| {
        let world = seat.join_with(Settings { chunk: Some(1 << 44), ..seat.settings() });
        let group = world.open("tp", &seat.everyone()).unwrap();
        report(seat, &complete(&group, sum(10)).unwrap_err());
        world.leave();
    });
    let place = if cfg!(target_os = "linux") { ["of /dev/shm, where ", "--shm-size"] } else { [", where ", " are free ("] };
    expect(verdict(&ended, &[]), "ABORTED [", &["group tp needs 100663296", place[0], place[1]]);
}

#[test]
fn a_rank_that_does_not_join_is_named() {
    let ended = play("a_rank_that_does_not_join_is_named", 3, |seat| {
        if seat.rank == 2 {
            return;
        }
        let settings = Settings { join_timeout: Duration::from_millis(500), ..seat.settings() };
        match World::join(&seat.job, seat.rank, seat.size, settings) {
            Err(Error::Failed(failure)) => report(seat, &failure),
            _ => panic!("joined without rank 2"),
        }
    });
    expect(verdict(&ended, &[2]), "TIMEOUT [2] ", &["2 of 3 ranks joined", "missing: rank 2"]);
}

#[test]
fn a_rank_killed_while_the_others_join_is_named() {
    let ended = play("a_rank_killed_while_the_others_join_is_named", 3, |seat| {
        if seat.rank == 2 {
            std::thread::sleep(Duration::from_millis(600));
            return;
        }
        if seat.rank == 1 {
            std::thread::spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                kill_self();
            });
        }
        match World::join(&seat.job, seat.rank, seat.size, seat.settings()) {
            Err(Error::Failed(failure)) => assert_eq!((failure.code, failure.culprits.as_slice()), (Code::PeerLost, &[1][..])),
            _ => panic!("joined without rank 2"),
        }
        seat.say("named");
    });
    expect(verdict(&ended, &[1, 2]), "named", &[]);
}

#[test]
fn worlds_of_different_sizes_do_not_meet() {
    let ended = play("worlds_of_different_sizes_do_not_meet", 2, |seat| {
        let size = if seat.rank == 0 { 2 } else { 3 };
        let settings = Settings { join_timeout: Duration::from_millis(700), ..seat.settings() };
        let error = World::join(&seat.job, seat.rank, size, settings).err().unwrap();
        if seat.rank == 1 {
            assert_eq!(error.to_string(), "join: rank 1 expects a world of 3 and rank 0 one of 2. Give all ranks one WORLD_SIZE.");
        }
    });
    ended.iter().for_each(|end| assert!(end.status.success(), "{}", end.errors));
}

#[test]
#[cfg(unix)]
fn a_stopped_rank_is_alive_and_named_at_the_deadline() {
    let ended = play("a_stopped_rank_is_alive_and_named_at_the_deadline", 2, |seat| {
        let limit = Duration::from_millis(300);
        fail_in(seat, Settings { timeout: limit, ..seat.settings() }, |world, group| {
            if seat.rank == 1 {
                // A child goes on when this process cannot: it wakes it again.
                let wake = format!("sleep 1; kill -CONT {}", std::process::id());
                let mut child = std::process::Command::new("sh").args(["-c", &wake]).spawn().unwrap();
                // SAFETY: a signal to this very process.
                unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
                child.wait().unwrap();
                return Err(world.failure().unwrap());
            }
            complete(group, sum(1000))
        });
    });
    expect(verdict(&ended, &[]), "TIMEOUT [1] ", &[", alive) never joined"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_a_dead_job_left_behind_is_replaced() {
    support::play_all("a_file_that_a_dead_job_left_behind_is_replaced", 2, |seat| {
        if seat.rank == 0 {
            std::fs::write(format!("/dev/shm/megatron-{}-world", seat.job), vec![7; 4096]).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
        let world = seat.join();
        let group = world.open("tp", &seat.everyone()).unwrap();
        complete(&group, Request::Barrier).unwrap();
        world.leave();
    });
}
