//! Several groups at once, asynchronous operations in any order, and exchanges.

mod support;

use megatron_comm::{Blocks, Error, Group, Kind, Label, ReduceOp, Request, Settings, Work};
use std::time::{Duration, Instant};
use storage::{DType, Span};
use support::{Seat, complete, floats, play_all};

fn submit(group: &Group, request: Request) -> Work {
    group.submit(request, Label::EMPTY).unwrap_or_else(|error| panic!("{error}"))
}

fn sum(data: &Span) -> Request {
    Request::AllReduce { data: data.clone(), op: ReduceOp::Sum }
}

#[test]
fn groups_submitted_in_opposite_orders_do_not_deadlock() {
    play_all("groups_submitted_in_opposite_orders_do_not_deadlock", 2, |seat| {
        let world = seat.join();
        let groups = ["first", "second", "third"].map(|name| world.open(name, &seat.everyone()).unwrap());
        for round in 0..50 {
            let data = [0, 1, 2].map(|index| floats(&vec![(index + round + seat.rank) as f32; 40_000]));
            let mut order = [0, 1, 2];
            order.rotate_left(((round + seat.rank) % 3) as usize);
            let works = order.map(|index| submit(&groups[index], sum(&data[index])));
            works.iter().rev().for_each(|work| work.wait(None).unwrap());
            for (index, data) in data.iter().enumerate() {
                assert!(data.f32s().unwrap().iter().all(|&x| x == (2 * (index as u32 + round) + 1) as f32));
            }
        }
        world.leave();
    });
}

#[test]
fn a_grid_of_row_and_column_groups_sums_like_the_whole() {
    play_all("a_grid_of_row_and_column_groups_sums_like_the_whole", 4, |seat| {
        let world = seat.join_with(Settings { chunk: Some(512), ..seat.settings() });
        let (row, column) = (seat.rank / 2, seat.rank % 2);
        let rows = world.open("row", &[row * 2, row * 2 + 1]).unwrap();
        let columns = world.open("column", &[column, column + 2]).unwrap();
        let alone = world.open("alone", &[seat.rank]).unwrap();
        assert_eq!((rows.rank(), columns.rank(), alone.rank()), (column as usize, row as usize, 0));
        for round in 0..100 {
            let data = floats(&vec![(seat.rank + round) as f32; 1000]);
            for group in [&rows, &columns, &alone] {
                complete(group, sum(&data)).unwrap();
            }
            assert!(data.f32s().unwrap().iter().all(|&x| x == (6 + 4 * round) as f32));
        }
        world.leave();
    });
}

#[test]
fn operations_end_although_nobody_waits_for_them() {
    play_all("operations_end_although_nobody_waits_for_them", 3, |seat| {
        let world = seat.join();
        let group = world.open("all", &seat.everyone()).unwrap();
        let data = floats(&vec![1.0; 2_000_000]);
        let work = submit(&group, sum(&data));
        let start = Instant::now();
        // Reads the result without helping: only the progress thread can bring it about.
        while data.f32s().unwrap().last() != Some(&3.0) || data.f32s().unwrap()[0] != 3.0 {
            std::thread::sleep(Duration::from_millis(1));
            assert!(start.elapsed() < Duration::from_secs(50), "nothing went on");
        }
        work.wait(None).unwrap();
        world.leave();
    });
}

#[test]
fn eight_ranks_with_many_small_operations_stay_usable() {
    play_all("eight_ranks_with_many_small_operations_stay_usable", 8, |seat| {
        let world = seat.join();
        let group = world.open("all", &seat.everyone()).unwrap();
        for round in 0..200 {
            let data = floats(&[(seat.rank + round) as f32; 8]);
            complete(&group, sum(&data)).unwrap();
            assert_eq!(data.f32s().unwrap(), [(28 + 8 * round) as f32; 8]);
        }
        world.leave();
    });
}

#[test]
fn a_group_opened_again_is_a_new_one() {
    play_all("a_group_opened_again_is_a_new_one", 2, |seat| {
        let world = seat.join();
        for round in 0..20 {
            let group = world.open("again", &seat.everyone()).unwrap();
            let data = floats(&[round as f32; 10]);
            complete(&group, sum(&data)).unwrap();
            assert_eq!(data.f32s().unwrap(), [2.0 * round as f32; 10]);
            group.close();
            assert!(matches!(group.submit(Request::Barrier, Label::EMPTY), Err(Error::Refused(_))));
        }
        world.leave();
    });
}

#[test]
fn submissions_are_counted_by_kind_and_bytes() {
    play_all("submissions_are_counted_by_kind_and_bytes", 2, |seat| {
        let world = seat.join();
        let group = world.open("all", &seat.everyone()).unwrap();
        complete(&group, sum(&floats(&[1.0; 10]))).unwrap();
        complete(&group, sum(&floats(&[1.0; 5]))).unwrap();
        complete(&group, Request::Barrier).unwrap();
        let counts = group.counts();
        assert_eq!((counts.of(Kind::AllReduce), counts.of(Kind::Barrier), counts.of(Kind::Exchange), counts.bytes), (2, 1, 0, 60));
        group.reset_counts();
        assert_eq!(group.counts(), Default::default());
        world.leave();
    });
}

fn refusal(group: &Group, request: Request) -> String {
    match group.submit(request, Label::EMPTY) {
        Err(Error::Refused(message)) => message,
        _ => panic!("was not refused"),
    }
}

fn check_refusals(seat: &Seat) {
    let world = seat.join();
    let group = world.open("all", &seat.everyone()).unwrap();
    let (two, three) = (floats(&[0.0; 2]), floats(&[0.0; 3]));
    let blocks = Blocks::even(2, 2);
    let gather = |target: &Span| Request::AllGather { source: two.clone(), target: target.clone(), blocks: blocks.clone() };
    let message = refusal(&group, gather(&three));
    assert_eq!(message, "allGather on group all: the target has 3 elements where 4 are needed. Pass a tensor of that size.");
    assert!(refusal(&group, gather(&Span::new(DType::I32, 4).unwrap())).contains("the source is f32 and the target i32"));
    let short = Request::AllGather { source: two.clone(), target: three.clone(), blocks: Blocks::even(2, 3) };
    assert!(refusal(&group, short).contains("3 counts for a group of 2"));
    assert!(refusal(&group, Request::Broadcast { data: two.clone(), root: 2 }).contains("root 2 is outside a group of 2"));
    let kind = Kind::Exchange;
    let overlapping = Request::Exchange { sends: vec![(0, two.clone())], receives: vec![(1, two.clone())], kind };
    assert!(refusal(&group, overlapping).contains("overlaps"));
    let stray = Request::Exchange { sends: vec![(2, two.clone())], receives: vec![], kind: Kind::Send };
    assert!(refusal(&group, stray).starts_with("send on group all: peer 2 is outside a group of 2"));
    let own = if seat.rank == 0 { [2, 1] } else { [1, 2] };
    let [send, receive] = [[1, 1], own].map(|counts| Blocks::of_counts(&counts).unwrap());
    let counts = Request::AllToAll { source: two.clone(), target: three.clone(), send, receive };
    assert!(refusal(&group, counts).contains("1 elements go to this rank and 2 come from it"));
    let target = (seat.rank == 1).then(|| three.clone());
    let root = Request::Gather { source: two.clone(), target, root: 0, blocks };
    let sentence = ["the root has no target", "group rank 1 passes a target and is not the root"][seat.rank as usize];
    assert!(refusal(&group, root).contains(sentence));
    assert!(world.open("other", &[1 - seat.rank]).is_err_and(|error| error.to_string().contains("not among its ranks")));
    assert!(world.open("twice", &[1, 0, 1]).is_err_and(|error| error.to_string().contains("rank 1 is listed twice, at 0 and 2 of")));
    // Nothing of this has harmed the world.
    complete(&group, sum(&two)).unwrap();
    world.leave();
}

#[test]
fn a_call_that_is_wrong_by_itself_is_refused_and_harms_nobody() {
    play_all("a_call_that_is_wrong_by_itself_is_refused_and_harms_nobody", 2, check_refusals);
}
