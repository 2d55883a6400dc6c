//! The flight recorder: what it keeps, what its file says, and that it is written whatever the ranks are doing.

mod support;

use megatron_comm::{Blocks, FakeBackend, Kind, Label, Reason, ReduceOp, Request, Settings, World};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::{DType, Span};
use support::{Ended, Seat, complete, floats, play};

fn fake(size: u32) -> World {
    World::fake("run-1", 3, size, Settings::new(1)).unwrap_or_else(|error| panic!("{error}"))
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn recorded(world: &World) -> Value {
    parse(&world.record(Reason::Request))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn sum(count: usize) -> Request {
    Request::AllReduce { data: floats(&vec![1.0; count]), op: ReduceOp::Sum }
}

const HEAD: [&str; 14] = [
    "format",
    "version",
    "job",
    "rank",
    "worldSize",
    "host",
    "pid",
    "backend",
    "writtenMs",
    "reason",
    "failure",
    "dropped",
    "groups",
    "operations",
];

#[test]
fn a_record_says_who_wrote_it_when_and_why() {
    let record = recorded(&fake(8));
    let mut expected = HEAD;
    expected.sort_unstable();
    assert_eq!(keys(&record), expected);
    assert_eq!(record["format"], "megatron-ts flight recorder");
    assert_eq!(
        (&record["version"], &record["rank"], &record["worldSize"], &record["dropped"]),
        (&json!(1), &json!(3), &json!(8), &json!(0))
    );
    assert_eq!((&record["job"], &record["backend"], &record["reason"]), (&json!("run-1"), &json!("fake"), &json!("request")));
    assert_eq!((&record["failure"], &record["pid"]), (&Value::Null, &json!(std::process::id())));
    assert!(!record["host"].as_str().unwrap().is_empty());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64() * 1e3;
    assert!((now - record["writtenMs"].as_f64().unwrap()).abs() < 60_000.0);
    assert_eq!((&record["groups"], &record["operations"]), (&json!([]), &json!([])));
}

#[test]
fn an_operation_is_recorded_with_all_that_distinguishes_it() {
    let world = fake(8);
    let tp = world.open("tp", &[3, 1]).unwrap();
    let dp = world.open("dp \"é\\", &[2, 3, 4]).unwrap();
    support::complete_labelled(&tp, sum(1024), "layers.1.mlp.down \"x\"\n").unwrap();
    let data = Span::new(DType::BF16, 6).unwrap();
    complete(&dp, Request::Broadcast { data, root: 2 }).unwrap();
    complete(&dp, Request::Barrier).unwrap();
    let (source, target) = (floats(&[1.0]), floats(&[0.0; 3]));
    complete(&dp, Request::AllGather { source, target, blocks: Blocks::of_counts(&[2, 1, 0]).unwrap() }).unwrap();
    let record = recorded(&world);
    let groups = json!([
        { "id": 0, "name": "tp", "ranks": [3, 1], "instance": 0 },
        { "id": 1, "name": "dp \"é\\", "ranks": [2, 3, 4], "instance": 0 },
    ]);
    assert_eq!(record["groups"], groups);
    let mut operations = record["operations"].as_array().unwrap().clone();
    for operation in &mut operations {
        let times =
            ["postedMs", "startedMs", "endedMs"].map(|key| operation.as_object_mut().unwrap().remove(key).unwrap().as_f64().unwrap());
        assert!(times[0] > 1.6e12 && times.is_sorted(), "{times:?}");
    }
    let row = |group, sequence, kind: &str, dtype: Value, count, posted| {
        json!({
            "group": group, "sequence": sequence, "kind": kind, "dtype": dtype, "count": count, "op": null, "root": null, "label": "",
            "state": "completed", "posted": posted, "waited": posted + 1
        })
    };
    let mut expected = [
        row(0, 1, "allReduce", json!("f32"), 1024, 1),
        row(1, 1, "broadcast", json!("bf16"), 6, 3),
        row(1, 2, "barrier", Value::Null, 0, 5),
        row(1, 3, "allGather", json!("f32"), 0, 7),
    ];
    expected[0]["op"] = json!("sum");
    expected[0]["label"] = json!("layers.1.mlp.down \"x\"\n");
    expected[1]["root"] = json!(2);
    assert_eq!(operations, expected);
}

#[test]
fn messages_are_recorded_one_by_one() {
    let world = fake(8);
    let group = world.open("pp", &[1, 2, 3]).unwrap();
    let sends = vec![(0, floats(&[0.0; 5])), (1, Span::new(DType::I64, 2).unwrap())];
    complete(&group, Request::Exchange { sends, receives: vec![(1, floats(&[0.0; 7]))], kind: Kind::Exchange }).unwrap();
    complete(&group, Request::Exchange { sends: vec![], receives: vec![(0, floats(&[0.0; 9]))], kind: Kind::Receive }).unwrap();
    complete(&group, Request::Barrier).unwrap();
    let record = recorded(&world);
    let operation = |index: usize| &record["operations"][index];
    let sends = json!([{ "peer": 0, "dtype": "f32", "count": 5 }, { "peer": 1, "dtype": "i64", "count": 2 }]);
    assert_eq!((&operation(0)["kind"], &operation(0)["sequence"], &operation(0)["count"]), (&json!("exchange"), &json!(1), &json!(0)));
    assert_eq!((&operation(0)["sends"], &operation(0)["receives"]), (&sends, &json!([{ "peer": 1, "dtype": "f32", "count": 7 }])));
    assert_eq!((&operation(1)["kind"], &operation(1)["sequence"], &operation(1)["count"]), (&json!("recv"), &json!(2), &json!(0)));
    assert_eq!((&operation(1)["sends"], &operation(1)["receives"]), (&json!([]), &json!([{ "peer": 0, "dtype": "f32", "count": 9 }])));
    // Collectives count for themselves, and have no messages.
    assert_eq!((&operation(2)["sequence"], operation(2).get("sends")), (&json!(1), None));
}

#[test]
fn places_tell_the_order_in_which_the_program_posts_and_waits() {
    let world = fake(8);
    let group = world.open("tp", &[3, 4]).unwrap();
    let submit = || group.submit(Request::Barrier, Label::EMPTY).unwrap();
    let [first, second, third, _never] = [submit(), submit(), submit(), submit()];
    second.wait(None).unwrap();
    // Has seen that it ended.
    assert!(first.is_done());
    third.wait(None).unwrap();
    first.wait(None).unwrap();
    let record = recorded(&world);
    let places: Vec<_> =
        record["operations"].as_array().unwrap().iter().map(|row| (row["posted"].as_u64(), row["waited"].as_u64())).collect();
    assert_eq!(places, [(Some(1), Some(6)), (Some(2), Some(5)), (Some(3), Some(7)), (Some(4), None)]);
}

/// A fake world whose recorder keeps `limit` operations.
fn ring(limit: usize) -> World {
    World::over("run-1", Arc::new(FakeBackend::default()), 0, 4, Settings { recorded: Some(limit), ..Settings::new(1) })
}

#[test]
fn a_full_ring_drops_the_oldest_operations_and_says_how_many() {
    let world = ring(8);
    let group = world.open("tp", &[0, 1]).unwrap();
    let sequences = || -> (u64, Vec<u64>) {
        let record = recorded(&world);
        let operations = record["operations"].as_array().unwrap().clone();
        (record["dropped"].as_u64().unwrap(), operations.iter().map(|row| row["sequence"].as_u64().unwrap()).collect())
    };
    (0..8).for_each(|_| complete(&group, Request::Barrier).unwrap());
    assert_eq!(sequences(), (0, (1..=8).collect()));
    (0..13).for_each(|_| complete(&group, Request::Barrier).unwrap());
    assert_eq!(sequences(), (13, (14..=21).collect()));
}

#[test]
fn work_that_is_waited_for_after_it_was_dropped_leaves_the_others_alone() {
    let world = ring(2);
    let group = world.open("tp", &[0, 1]).unwrap();
    let works: Vec<_> = (0..5).map(|_| group.submit(Request::Barrier, Label::EMPTY).unwrap()).collect();
    works[0].wait(None).unwrap();
    assert!(recorded(&world)["operations"].as_array().unwrap().iter().all(|row| row["waited"].is_null()));
}

#[test]
fn without_a_limit_everything_is_kept() {
    let world = fake(8);
    let group = world.open("tp", &[2, 3]).unwrap();
    (0..5000).for_each(|_| complete(&group, Request::Barrier).unwrap());
    let record = recorded(&world);
    assert_eq!((record["operations"].as_array().unwrap().len(), &record["dropped"]), (5000, &json!(0)));
}

#[test]
fn a_closed_group_stays_in_the_record_as_long_as_its_operations_do() {
    let world = ring(4);
    let names =
        |record: &Value| record["groups"].as_array().unwrap().iter().map(|group| group["instance"].as_u64().unwrap()).collect::<Vec<_>>();
    for round in 0..20 {
        let group = world.open("again", &[0, 1]).unwrap();
        complete(&group, Request::Barrier).unwrap();
        group.close();
        let record = recorded(&world);
        assert_eq!(names(&record), ((round + 1u64).saturating_sub(4)..=round).collect::<Vec<_>>());
    }
}

/// Within each group, and among its messages, sequences follow each other; places grow.
fn assert_consistent(record: &Value) {
    let mut last = std::collections::HashMap::new();
    let mut place = 0;
    for row in record["operations"].as_array().unwrap() {
        let (group, sequence, posted) =
            (row["group"].as_u64().unwrap(), row["sequence"].as_u64().unwrap(), row["posted"].as_u64().unwrap());
        assert!(posted > place, "{posted} after {place}");
        place = posted;
        if let Some(before) = last.insert((group, row["kind"] == "send"), sequence) {
            assert_eq!(sequence, before + 1, "{group}");
        }
    }
}

#[test]
fn a_record_taken_while_several_threads_post_is_consistent() {
    let world = ring(64);
    let groups = ["a", "b", "c"].map(|name| world.open(name, &[0, 1]).unwrap());
    std::thread::scope(|scope| {
        let threads = groups.each_ref().map(|group| {
            scope.spawn(move || {
                for round in 0..20_000 {
                    let send = Request::Exchange { sends: vec![(1, floats(&[0.0]))], receives: vec![], kind: Kind::Send };
                    complete(group, if round % 3 == 0 { send } else { Request::Barrier }).unwrap();
                }
            })
        });
        while threads.iter().any(|thread| !thread.is_finished()) {
            assert_consistent(&recorded(&world));
        }
    });
    assert_eq!(recorded(&world)["dropped"], 60_000 - 64);
}

/// Where the ranks of a test write; `test` and `size` as given to `play`.
fn directory_of(test: &str, size: u32) -> PathBuf {
    std::env::temp_dir().join(format!("megatron-test-{}-{test}-{size}-0", std::process::id()))
}

fn settings(seat: &Seat) -> Settings {
    let directory = std::env::temp_dir().join(format!("megatron-{}", seat.job));
    Settings { recorder_dir: Some(directory), timeout: Duration::from_millis(300), ..seat.settings() }
}

/// The records that the ranks wrote, by rank; removes them.
fn collect(test: &str, size: u32) -> Vec<Option<Value>> {
    let directory = directory_of(test, size);
    let read = |rank| std::fs::read_to_string(directory.join(format!("rank-{rank}.json"))).ok().map(|text| parse(&text));
    let records: Vec<_> = (0..size).map(read).collect();
    let count = std::fs::read_dir(&directory).map_or(0, Iterator::count);
    assert_eq!(count, records.iter().flatten().count(), "something else lies beside the records");
    let _ = std::fs::remove_dir_all(directory);
    records
}

/// Joins, meets the others, then rank 1 stays away without a look at the world; the others fail. Returns the world.
fn abandon(seat: &Seat, settings: Settings) -> World {
    let world = seat.join_with(settings);
    let group = world.open("tp", &seat.everyone()).unwrap();
    complete(&group, Request::Barrier).unwrap();
    if seat.rank != 1 {
        assert!(support::complete_labelled(&group, sum(10), "layers.0").is_err());
    }
    world
}

#[test]
fn every_rank_writes_its_record_when_the_world_fails_also_one_that_is_stuck() {
    const TEST: &str = "every_rank_writes_its_record_when_the_world_fails_also_one_that_is_stuck";
    let ended = play(TEST, 3, |seat| {
        let settings = settings(seat);
        let directory = settings.recorder_dir.clone().unwrap();
        let world = abandon(seat, settings);
        if seat.rank == 1 {
            // Never asks for anything: what is written, another thread writes.
            let start = Instant::now();
            while !directory.join("rank-1.json").exists() {
                assert!(start.elapsed() < Duration::from_secs(30), "no record");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        world.leave();
    });
    if support::check_all(ended).is_empty() {
        return;
    }
    let records: Vec<Value> = collect(TEST, 3).into_iter().map(|record| record.expect("a record of each rank")).collect();
    for (rank, record) in records.iter().enumerate() {
        assert_eq!((&record["rank"], &record["backend"], &record["reason"]), (&json!(rank), &json!("shm"), &json!("failure")));
        assert_eq!((&record["failure"]["code"], &record["failure"]["culprits"]), (&json!("TIMEOUT"), &json!([1])));
        assert_eq!(record["failure"], records[0]["failure"]);
        assert_eq!(record["job"], records[0]["job"]);
        assert_eq!((&record["operations"][0]["kind"], &record["operations"][0]["state"]), (&json!("barrier"), &json!("completed")));
        let second = &record["operations"][1];
        if rank == 1 {
            assert_eq!(second, &Value::Null);
        } else {
            assert_eq!((&second["state"], &second["label"], &second["endedMs"]), (&json!("started"), &json!("layers.0"), &Value::Null));
        }
    }
}

#[test]
fn the_report_says_where_the_records_are() {
    const TEST: &str = "the_report_says_where_the_records_are";
    let ended = play(TEST, 2, |seat| {
        let world = abandon(seat, settings(seat));
        while world.failure().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        world.leave();
    });
    let ended = support::check_all(ended);
    if ended.is_empty() {
        return;
    }
    let directory = directory_of(TEST, 2).display().to_string();
    let line = format!("Flight records are in {directory}. To compare them: megatron-ts diagnose {directory}");
    let count = ended.iter().map(|end| end.errors.lines().filter(|other| **other == line).count()).collect::<Vec<_>>();
    assert_eq!(count, [1, 0]);
    collect(TEST, 2);
}

#[test]
fn a_slow_operation_leaves_a_record_where_that_is_asked_for() {
    const TEST: &str = "a_slow_operation_leaves_a_record_where_that_is_asked_for";
    let ended = play(TEST, 2, |seat| {
        let limit = Duration::from_secs(60);
        let slow = Duration::from_millis(50);
        let settings = Settings { recorder_on_slow: seat.rank == 0, slow, timeout: limit, ..settings(seat) };
        let directory = settings.recorder_dir.clone().unwrap();
        let world = seat.join_with(settings);
        let group = world.open("tp", &seat.everyone()).unwrap();
        while seat.rank == 1 && !directory.join("rank-0.json").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        complete(&group, Request::Barrier).unwrap();
        world.leave();
    });
    if support::check_all(ended).is_empty() {
        return;
    }
    let records = collect(TEST, 2);
    let first = records[0].as_ref().unwrap();
    assert_eq!((&first["reason"], &first["failure"], &first["operations"][0]["state"]), (&json!("slow"), &Value::Null, &json!("started")));
    assert_eq!(records[1], None);
}

#[test]
fn a_directory_that_cannot_be_written_is_said_to_be_so() {
    let ended = play("a_directory_that_cannot_be_written_is_said_to_be_so", 2, |seat| {
        let settings = Settings { recorder_dir: Some("/dev/null/records".into()), ..settings(seat) };
        let world = abandon(seat, settings);
        while world.failure().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        world.leave();
    });
    for (rank, end) in support::check_all(ended).iter().enumerate() {
        let start = format!("megatron-ts: rank {rank} cannot write its flight record into /dev/null/records: ");
        let lines: Vec<&str> = end.errors.lines().filter(|line| line.starts_with(&start)).collect();
        assert!(
            lines.len() == 1 && lines[0].ends_with("Set MEGATRON_RECORDER_DIR to a directory that can be written, or to off."),
            "{lines:?}"
        );
    }
}

fn grace_sentence(end: &Ended) -> Option<&str> {
    end.errors.lines().find(|line| line.contains("still runs"))
}

#[test]
fn a_process_that_never_yields_is_ended_after_the_grace() {
    let ended = play("a_process_that_never_yields_is_ended_after_the_grace", 2, |seat| {
        let grace = (seat.rank == 1).then_some(Duration::from_millis(500));
        let world = abandon(seat, Settings { exit_grace: grace, recorder_dir: None, ..settings(seat) });
        if seat.rank == 1 {
            loop {
                std::hint::spin_loop();
            }
        }
        world.leave();
    });
    if ended.is_empty() {
        return;
    }
    assert!(ended[0].status.success(), "{}", ended[0].errors);
    assert_eq!((ended[1].status.code(), grace_sentence(&ended[0])), (Some(1), None), "{}", ended[1].errors);
    let sentence = grace_sentence(&ended[1]).unwrap_or_else(|| panic!("no sentence in:\n{}", ended[1].errors));
    let start = "megatron-ts: rank 1 still runs 0.5 s after its world failed and exits with status 1. \
                 First cause: TIMEOUT rank 0 waited 300 ms in ";
    assert!(sentence.starts_with(start), "{sentence}");
    assert!(sentence.ends_with(" Pass exitOnFailure: false to go on after a failure."), "{sentence}");
}

#[test]
fn the_grace_goes_on_after_the_world_was_left_and_not_without_a_failure() {
    let ended = play("the_grace_goes_on_after_the_world_was_left_and_not_without_a_failure", 2, |seat| {
        let healthy =
            World::join(&format!("{}-b", seat.job), seat.rank, 2, Settings { exit_grace: Some(Duration::ZERO), ..settings(seat) });
        healthy.unwrap_or_else(|error| panic!("{error}")).leave();
        let grace = (seat.rank == 0).then_some(Duration::from_millis(200));
        let world = abandon(seat, Settings { exit_grace: grace, recorder_dir: None, ..settings(seat) });
        while world.failure().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        world.leave();
        drop(world);
        if seat.rank == 0 {
            loop {
                std::thread::park();
            }
        }
    });
    if ended.is_empty() {
        return;
    }
    assert_eq!((ended[0].status.code(), ended[1].status.code()), (Some(1), Some(0)), "{}{}", ended[0].errors, ended[1].errors);
    assert!(grace_sentence(&ended[0]).is_some() && grace_sentence(&ended[1]).is_none());
}
