//! Worlds whose ranks wait by polling, as on systems that cannot wait across processes: one of each kind.

mod support;

use megatron_comm::{Blocks, Failure, Group, Kind, Label, ReduceOp, Request, Settings, World};
use std::time::Duration;
use storage::Span;
use support::{Ended, Seat, check_all, complete, complete_labelled, floats, kill_self, play_in};

/// Runs `body` as ranks that poll.
fn play(test: &str, size: u32, body: impl Fn(&Seat)) -> Vec<Ended> {
    play_in(&[("MEGATRON_SHM_WAIT", "poll")], test, size, 0, body)
}

/// Ranks that neither spin nor yield: every wait is a sleep.
fn settings(seat: &Seat) -> Settings {
    Settings { spins: 0, yields: 0, chunk: Some(1024), ..seat.settings() }
}

fn start(seat: &Seat, settings: Settings) -> (World, Group) {
    assert_eq!(std::env::var("MEGATRON_SHM_WAIT").as_deref(), Ok("poll"));
    let world = seat.join_with(settings);
    let group = world.open("tp", &seat.everyone()).unwrap();
    (world, group)
}

/// Small whole numbers, so that sums are exact.
fn value(rank: usize, place: usize) -> f32 {
    (rank * 100 + place % 97) as f32
}

fn values(rank: usize, places: std::ops::Range<usize>) -> Vec<f32> {
    places.map(|place| value(rank, place)).collect()
}

fn blank(count: usize) -> Span {
    floats(&vec![-1.0; count])
}

fn expect(what: &str, data: &Span, wanted: &[f32]) {
    assert!(data.f32s().unwrap() == wanted, "{what} of {} elements", wanted.len());
}

fn check_reductions(group: &Group, me: usize, size: usize, count: usize) {
    let sum = |place: usize| (0..size).map(|rank| value(rank, place)).sum::<f32>();
    let sums: Vec<f32> = (0..count * size).map(sum).collect();
    let data = floats(&values(me, 0..count));
    complete(group, Request::AllReduce { data: data.clone(), op: ReduceOp::Sum }).unwrap();
    expect("allReduce", &data, &sums[..count]);

    let data = floats(&values(me, 0..count));
    complete(group, Request::Reduce { data: data.clone(), op: ReduceOp::Sum, root: size - 1 }).unwrap();
    let own = values(me, 0..count);
    expect("reduce", &data, if me == size - 1 { &sums[..count] } else { &own });

    let (source, target) = (floats(&values(me, 0..count * size)), blank(count));
    let blocks = Blocks::even(count, size);
    complete(group, Request::ReduceScatter { source, target: target.clone(), op: ReduceOp::Sum, blocks }).unwrap();
    expect("reduceScatter", &target, &sums[me * count..(me + 1) * count]);
}

fn check_moves(group: &Group, me: usize, size: usize, count: usize) {
    let blocks = Blocks::even(count, size);
    let everyone: Vec<f32> = (0..size).flat_map(|rank| values(rank, 0..count)).collect();
    let (source, target) = (floats(&values(me, 0..count)), blank(count * size));
    complete(group, Request::AllGather { source: source.clone(), target: target.clone(), blocks: blocks.clone() }).unwrap();
    expect("allGather", &target, &everyone);
    for root in 0..size {
        let data = floats(&values(me, 0..count));
        complete(group, Request::Broadcast { data: data.clone(), root }).unwrap();
        expect("broadcast", &data, &values(root, 0..count));

        let target = (me == root).then(|| blank(count * size));
        complete(group, Request::Gather { source: source.clone(), target: target.clone(), root, blocks: blocks.clone() }).unwrap();
        target.iter().for_each(|target| expect("gather", target, &everyone));

        let (whole, target) = ((me == root).then(|| floats(&everyone)), blank(count));
        complete(group, Request::Scatter { source: whole, target: target.clone(), root, blocks: blocks.clone() }).unwrap();
        expect("scatter", &target, &values(me, 0..count));
    }
    complete(group, Request::Barrier).unwrap();
}

fn check_all_to_all(group: &Group, me: usize, size: usize, count: usize) {
    let counts = |from: usize, to: usize| count * ((from + 2 * to) % 3);
    let send: Vec<usize> = (0..size).map(|to| counts(me, to)).collect();
    let receive: Vec<usize> = (0..size).map(|from| counts(from, me)).collect();
    let (source, target) = (floats(&values(me, 0..send.iter().sum())), blank(receive.iter().sum()));
    let [send, receive] = [send, receive].map(|counts| Blocks::of_counts(&counts).unwrap());
    complete(group, Request::AllToAll { source, target: target.clone(), send, receive }).unwrap();
    let from = |from: usize| {
        let start = (0..me).map(|to| counts(from, to)).sum();
        values(from, start..start + counts(from, me))
    };
    expect("allToAll", &target, &(0..size).flat_map(from).collect::<Vec<f32>>());
}

#[test]
fn every_collective_gives_its_result() {
    for size in [2, 4] {
        check_all(play("every_collective_gives_its_result", size, |seat| {
            let (world, group) = start(seat, settings(seat));
            for count in [0, 1, 257, 3001] {
                check_reductions(&group, seat.rank as usize, size as usize, count);
                check_moves(&group, seat.rank as usize, size as usize, count);
                check_all_to_all(&group, seat.rank as usize, size as usize, count);
            }
            world.leave();
        }));
    }
}

#[test]
fn neighbours_of_a_ring_exchange() {
    check_all(play("neighbours_of_a_ring_exchange", 3, |seat| {
        let (world, group) = start(seat, settings(seat));
        let (me, size) = (seat.rank as usize, seat.size as usize);
        let (next, previous) = ((me + 1) % size, (me + size - 1) % size);
        for count in [0, 1, 5000] {
            let received = [blank(count), blank(count)];
            let request = Request::Exchange {
                sends: vec![(next, floats(&values(me, 0..count))), (previous, floats(&values(me, 7..7 + count)))],
                receives: vec![(previous, received[0].clone()), (next, received[1].clone())],
                kind: Kind::Exchange,
            };
            complete(&group, request).unwrap();
            expect("exchange with the previous", &received[0], &values(previous, 0..count));
            expect("exchange with the next", &received[1], &values(next, 7..7 + count));
        }
        world.leave();
    }));
}

#[test]
fn operations_nobody_waits_for_yet_overlap() {
    check_all(play("operations_nobody_waits_for_yet_overlap", 2, |seat| {
        let (world, first) = start(seat, settings(seat));
        let second = world.open("dp", &seat.everyone()).unwrap();
        let rounds = (0..20).map(|round| {
            let data = [floats(&[round as f32; 500]), floats(&[round as f32; 500])];
            // The ranks submit to the two groups in opposite orders.
            let mut groups = [(&first, &data[0]), (&second, &data[1])];
            groups.rotate_left(seat.rank as usize);
            let works = groups.map(|(group, data)| {
                let request = Request::AllReduce { data: data.clone(), op: ReduceOp::Sum };
                group.submit(request, Label::EMPTY).unwrap_or_else(|error| panic!("{error}"))
            });
            (round, data, works)
        });
        for (round, data, works) in rounds.collect::<Vec<_>>().into_iter().rev() {
            works.iter().for_each(|work| work.wait(None).unwrap());
            data.iter().for_each(|data| expect("allReduce", data, &[2.0 * round as f32; 500]));
        }
        world.leave();
    }));
}

fn sum(group: &Group, label: &str) -> Result<(), Failure> {
    complete_labelled(group, Request::AllReduce { data: floats(&[1.0; 10]), op: ReduceOp::Sum }, label)
}

/// What each rank but `dead` has said: one sentence, and the same one.
fn expect_verdict(ended: &[Ended], dead: Option<usize>, parts: &[&str]) {
    for (rank, end) in ended.iter().enumerate().filter(|(rank, _)| Some(*rank) != dead) {
        assert!(end.status.success(), "rank {rank}: {}\n{}", end.status, end.errors);
        let said = end.said();
        assert_eq!(said.len(), 1, "rank {rank}:\n{}", end.errors);
        parts.iter().for_each(|part| assert!(said[0].contains(part), "no {part:?} in: {}", said[0]));
    }
}

#[test]
fn a_killed_peer_is_named() {
    let ended = play("a_killed_peer_is_named", 3, |seat| {
        let (world, group) = start(seat, settings(seat));
        sum(&group, "before").unwrap();
        if seat.rank == 1 {
            kill_self();
        }
        seat.say(&sum(&group, "layers.1.mlp.down").unwrap_err().message);
        world.leave();
    });
    expect_verdict(&ended, Some(1), &["rank 1 (pid ", ") exited while rank ", "(layers.1.mlp.down) on group tp"]);
}

#[test]
fn a_rank_that_stays_away_is_named_at_the_deadline() {
    let ended = play("a_rank_that_stays_away_is_named_at_the_deadline", 2, |seat| {
        let (world, group) = start(seat, Settings { timeout: Duration::from_millis(300), ..settings(seat) });
        sum(&group, "before").unwrap();
        while seat.rank == 1 && world.failure().is_none() {
            std::thread::sleep(Duration::from_millis(10));
        }
        seat.say(&sum(&group, "").unwrap_err().message);
        world.leave();
    });
    expect_verdict(&ended, None, &["waited 300 ms in allReduce#2 f32[10] on group tp: rank 1 (pid ", ", alive) never joined"]);
}

#[test]
#[cfg(unix)]
fn another_way_of_waiting_is_refused() {
    let ended = play_in(&[("MEGATRON_SHM_WAIT", "hope")], "another_way_of_waiting_is_refused", 2, 0, |seat| {
        let refused = World::join(&seat.job, seat.rank, seat.size, seat.settings()).err().unwrap();
        seat.say(&refused.to_string());
    });
    let sentence = "join: MEGATRON_SHM_WAIT is \"hope\", which names no way of waiting. Set it to poll, or not at all.";
    expect_verdict(&ended, None, &[sentence]);
}
