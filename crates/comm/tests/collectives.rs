//! What the contract of all backends does not ask: arrival, not-a-number, worlds of one, ranks of shared memory as threads.

mod support;

use megatron_comm::{Kind, ReduceOp, Request, Settings, World};
use storage::DType;
use support::reference::{Hash, filled};
use support::{Seat, bits, complete, play_all};

#[test]
fn the_bits_do_not_depend_on_arrival_or_chunk() {
    let mut hashes = Vec::new();
    for (run, chunk) in [(0, None), (1, None), (2, Some(4096)), (3, Some(1 << 16))] {
        let ended = support::play_run("the_bits_do_not_depend_on_arrival_or_chunk", 4, run, |seat| {
            let world = seat.join_with(Settings { chunk, ..seat.settings() });
            let group = world.open("all", &seat.everyone()).unwrap();
            let mut hash = Hash::default();
            for round in 0..10 {
                std::thread::sleep(std::time::Duration::from_micros(bits(seat.rank + run, round) % 1000));
                let data = filled(DType::F32, seat.rank, round, 100_003);
                complete(&group, Request::AllReduce { data: data.clone(), op: ReduceOp::Sum }).unwrap();
                hash.add(data.bytes());
            }
            seat.say(&format!("{:x}", hash.0));
            world.leave();
        });
        hashes.extend(support::check_all(ended).iter().flat_map(|end| end.said()).map(str::to_owned));
    }
    assert_eq!(hashes.len(), 16);
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[test]
fn a_world_of_one_shares_no_memory() {
    let world = World::join("no file has this name / at all", 0, 1, Settings::new(1)).unwrap();
    let group = world.open("all", &[0]).unwrap();
    let data = support::floats(&[1.0, 2.0]);
    complete(&group, Request::AllReduce { data: data.clone(), op: ReduceOp::Avg }).unwrap();
    let target = support::floats(&[0.0, 0.0]);
    complete(&group, Request::Exchange { sends: vec![(0, data)], receives: vec![(0, target.clone())], kind: Kind::Exchange }).unwrap();
    assert_eq!(target.f32s().unwrap(), [1.0, 2.0]);
    world.leave();
}

#[test]
fn ranks_may_be_threads_of_one_process() {
    let job = format!("test-{}-threads", std::process::id());
    let rank = |rank: u32| {
        let seat = Seat { job: job.clone(), rank, size: 3 };
        let world = seat.join();
        let group = world.open("all", &seat.everyone()).unwrap();
        for _ in 0..50 {
            let data = support::floats(&vec![rank as f32; 5000]);
            complete(&group, Request::AllReduce { data: data.clone(), op: ReduceOp::Max }).unwrap();
            assert!(data.f32s().unwrap().iter().all(|&x| x == 2.0));
        }
        world.leave();
    };
    let rank = &rank;
    std::thread::scope(|scope| (0..3).for_each(|index| drop(scope.spawn(move || rank(index)))));
}

#[test]
fn the_largest_and_the_smallest_carry_not_a_number() {
    play_all("the_largest_and_the_smallest_carry_not_a_number", 3, |seat| {
        let world = seat.join();
        let group = world.open("all", &seat.everyone()).unwrap();
        for op in [ReduceOp::Max, ReduceOp::Min, ReduceOp::Sum] {
            let mut values = [seat.rank as f32; 4];
            values[seat.rank as usize] = f32::NAN;
            let data = support::floats(&values);
            complete(&group, Request::AllReduce { data: data.clone(), op }).unwrap();
            let nans: Vec<bool> = data.f32s().unwrap().iter().map(|x| x.is_nan()).collect();
            assert_eq!(nans, [true, true, true, false], "{}", op.name());
        }
        world.leave();
    });
}
