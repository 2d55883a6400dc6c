//! Several groups at once, asynchronous operations in any order, and exchanges.

mod support;

use megatron_comm::{Error, Group, Kind, Label, ReduceOp, Request, Settings, Work};
use std::time::{Duration, Instant};
use storage::{DType, Span};
use support::{Seat, complete, floats, number, play_all};

fn submit(group: &Group, request: Request) -> Work {
    group.submit(request, Label::EMPTY).unwrap_or_else(|error| panic!("{error}"))
}

fn sum(data: &Span) -> Request {
    Request::AllReduce { data: data.clone(), op: ReduceOp::Sum }
}

fn large(rank: u32, from: usize, count: usize) -> Span {
    let values: Vec<f32> = (from..from + count).map(|place| number(rank, place) as f32).collect();
    floats(&values)
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
fn neighbours_exchange_in_both_directions_at_once() {
    for size in [2, 3, 5] {
        play_all("neighbours_exchange_in_both_directions_at_once", size, |seat| {
            let world = seat.join_with(Settings { chunk: Some(4096), ..seat.settings() });
            let group = world.open("ring", &seat.everyone()).unwrap();
            let (next, previous) = ((seat.rank + 1) % size, (seat.rank + size - 1) % size);
            for count in [0, 1, 1023, 100_001] {
                let (up, down) = (large(seat.rank, 0, count), large(seat.rank, 7, count));
                let received = [floats(&vec![0.0; count]), floats(&vec![0.0; count])];
                let request = Request::Exchange {
                    sends: vec![(next as usize, up), (previous as usize, down)],
                    receives: vec![(previous as usize, received[0].clone()), (next as usize, received[1].clone())],
                };
                complete(&group, request).unwrap();
                assert!(received[0].bytes() == large(previous, 0, count).bytes(), "from below");
                assert!(received[1].bytes() == large(next, 7, count).bytes(), "from above");
            }
            world.leave();
        });
    }
}

#[test]
fn messages_between_a_pair_keep_their_order_and_overlap_with_collectives() {
    play_all("messages_between_a_pair_keep_their_order_and_overlap_with_collectives", 2, |seat| {
        let world = seat.join_with(Settings { chunk: Some(1024), ..seat.settings() });
        let group = world.open("pair", &seat.everyone()).unwrap();
        let peer = 1 - seat.rank as usize;
        let counts = [5, 5000, 1, 0, 20_000];
        let mut works = Vec::new();
        let mut received = Vec::new();
        for (index, &count) in counts.iter().enumerate() {
            let (send, receive) = (large(seat.rank, index, count), floats(&vec![0.0; count]));
            received.push(receive.clone());
            // One rank sends first, the other receives first.
            let mut requests = [
                Request::Exchange { sends: vec![(peer, send)], receives: vec![] },
                Request::Exchange { sends: vec![], receives: vec![(peer, receive)] },
            ];
            if seat.rank == 1 {
                requests.reverse();
            }
            works.extend(requests.map(|request| submit(&group, request)));
        }
        let data = floats(&[1.0; 3000]);
        complete(&group, sum(&data)).unwrap();
        works.iter().for_each(|work| work.wait(None).unwrap());
        for (index, data) in received.iter().enumerate() {
            assert!(data.bytes() == large(1 - seat.rank, index, counts[index]).bytes(), "message {index}");
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
    let message = refusal(&group, Request::AllGather { source: two.clone(), target: three.clone() });
    assert_eq!(message, "allGather on group all: the target has 3 elements where 4 are needed. Pass a tensor of that size.");
    let ints = Span::new(DType::I32, 4).unwrap();
    assert!(refusal(&group, Request::AllGather { source: two.clone(), target: ints }).contains("the source is f32 and the target i32"));
    assert!(refusal(&group, Request::Broadcast { data: two.clone(), root: 2 }).contains("root 2 is outside a group of 2"));
    let bytes = Span::new(DType::U8, 4).unwrap();
    assert!(refusal(&group, Request::AllReduce { data: bytes, op: ReduceOp::Sum }).contains("u8 cannot be reduced"));
    let overlapping = Request::Exchange { sends: vec![(0, two.clone())], receives: vec![(1, two.clone())] };
    assert!(refusal(&group, overlapping).contains("overlaps"));
    let counts = Request::AllToAll { source: two.clone(), target: three, send: vec![1, 1], receive: vec![2] };
    assert!(refusal(&group, counts).contains("the list of counts to receive has 1 elements where 2 are needed"));
    assert!(world.open("other", &[1 - seat.rank]).is_err_and(|error| error.to_string().contains("not among its ranks")));
    assert!(world.open("twice", &[1, 0]).is_err_and(|error| error.to_string().contains("not ascending")));
    // Nothing of this has harmed the world.
    complete(&group, sum(&two)).unwrap();
    world.leave();
}

#[test]
fn a_call_that_is_wrong_by_itself_is_refused_and_harms_nobody() {
    play_all("a_call_that_is_wrong_by_itself_is_refused_and_harms_nobody", 2, check_refusals);
}
