//! Every operation, type and size against a serial reference, bit by bit, with one to five ranks.

mod support;

use kernels::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use megatron_comm::{Group, ReduceOp, Request, Settings, World};
use storage::{DType, Span};
use support::{Seat, bits, complete, number, play_all};

const OPS: [ReduceOp; 5] = [ReduceOp::Sum, ReduceOp::Avg, ReduceOp::Max, ReduceOp::Min, ReduceOp::Product];
const REDUCIBLE: [DType; 6] = [DType::F32, DType::BF16, DType::F16, DType::F64, DType::I32, DType::I64];
/// Nothing, one, odd numbers, and more than fits into the small chunks used here.
const COUNTS: [usize; 6] = [0, 1, 3, 257, 1024, 3001];
const SMALL_CHUNK: usize = 1024;

/// The bytes of element `place` of `rank`.
fn element(dtype: DType, rank: u32, place: usize) -> Vec<u8> {
    let x = number(rank, place);
    match dtype {
        DType::F32 => (x as f32).to_ne_bytes().to_vec(),
        DType::F64 => x.to_ne_bytes().to_vec(),
        DType::BF16 => f32_to_bf16(x as f32).to_ne_bytes().to_vec(),
        DType::F16 => f32_to_f16(x as f32).to_ne_bytes().to_vec(),
        DType::I32 => (bits(rank, place) as i32).to_ne_bytes().to_vec(),
        DType::I64 => (bits(rank, place) as i64).to_ne_bytes().to_vec(),
        DType::U8 => vec![bits(rank, place) as u8],
    }
}

fn filled(dtype: DType, rank: u32, from: usize, count: usize) -> Span {
    let bytes: Vec<u8> = (from..from + count).flat_map(|place| element(dtype, rank, place)).collect();
    let span = Span::new(dtype, count).unwrap();
    // SAFETY: the span is new.
    unsafe { span.bytes_mut() }.copy_from_slice(&bytes);
    span
}

fn blank(dtype: DType, count: usize) -> Span {
    let span = Span::new(dtype, count).unwrap();
    // SAFETY: the span is new.
    unsafe { span.bytes_mut() }.fill(0xee);
    span
}

macro_rules! reduced {
    ($type:ty, $bytes:expr, $op:expr, $ranks:expr, $add:expr, $mul:expr) => {{
        let bytes = &$bytes;
        let values = bytes.iter().map(|bytes: &Vec<u8>| <$type>::from_ne_bytes(bytes.as_slice().try_into().unwrap()));
        let sum = values
            .reduce(|a, b| match $op {
                ReduceOp::Sum | ReduceOp::Avg => $add(a, b),
                ReduceOp::Product => $mul(a, b),
                ReduceOp::Max => {
                    if a >= b {
                        a
                    } else {
                        b
                    }
                }
                ReduceOp::Min => {
                    if a <= b {
                        a
                    } else {
                        b
                    }
                }
            })
            .unwrap();
        if $op == ReduceOp::Avg { sum / $ranks as $type } else { sum }
    }};
}

/// The reduction of element `place` in rank order, one element at a time.
fn reference(dtype: DType, op: ReduceOp, ranks: u32, place: usize) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = (0..ranks).map(|rank| element(dtype, rank, place)).collect();
    let widened = |widen: fn(u16) -> f32| -> Vec<Vec<u8>> {
        bytes.iter().map(|two| widen(u16::from_ne_bytes([two[0], two[1]])).to_ne_bytes().to_vec()).collect()
    };
    match dtype {
        DType::F32 => reduced!(f32, bytes, op, ranks, |a, b| a + b, |a, b| a * b).to_ne_bytes().to_vec(),
        DType::F64 => reduced!(f64, bytes, op, ranks, |a, b| a + b, |a, b| a * b).to_ne_bytes().to_vec(),
        DType::I32 => reduced!(i32, bytes, op, ranks, i32::wrapping_add, i32::wrapping_mul).to_ne_bytes().to_vec(),
        DType::I64 => reduced!(i64, bytes, op, ranks, i64::wrapping_add, i64::wrapping_mul).to_ne_bytes().to_vec(),
        DType::BF16 => f32_to_bf16(reduced!(f32, widened(bf16_to_f32), op, ranks, |a, b| a + b, |a, b| a * b)).to_ne_bytes().to_vec(),
        DType::F16 => f32_to_f16(reduced!(f32, widened(f16_to_f32), op, ranks, |a, b| a + b, |a, b| a * b)).to_ne_bytes().to_vec(),
        DType::U8 => unreachable!(),
    }
}

fn expect(span: &Span, expected: impl Iterator<Item = Vec<u8>>, what: &str) {
    let expected: Vec<u8> = expected.flatten().collect();
    assert!(span.bytes() == expected, "{what}: {} elements of {} differ from the reference", span.len(), span.dtype().name());
}

fn check_reductions(seat: &Seat, group: &Group) {
    for dtype in REDUCIBLE {
        for op in OPS {
            for count in COUNTS {
                let what = format!("{} of {count} {} on {} ranks", op.name(), dtype.name(), seat.size);
                let expected = |place| reference(dtype, op, seat.size, place);
                let data = filled(dtype, seat.rank, 0, count);
                complete(group, Request::AllReduce { data: data.clone(), op }).unwrap();
                expect(&data, (0..count).map(expected), &format!("allReduce {what}"));

                let source = filled(dtype, seat.rank, 0, count * seat.size as usize);
                let target = blank(dtype, count);
                complete(group, Request::ReduceScatter { source, target: target.clone(), op }).unwrap();
                let start = count * seat.rank as usize;
                expect(&target, (start..start + count).map(expected), &format!("reduceScatter {what}"));
            }
        }
    }
}

fn check_moves(seat: &Seat, group: &Group) {
    let size = seat.size as usize;
    for dtype in DType::ALL {
        for count in COUNTS {
            let target = blank(dtype, count * size);
            complete(group, Request::AllGather { source: filled(dtype, seat.rank, 0, count), target: target.clone() }).unwrap();
            expect(&target, (0..count * size).map(|i| element(dtype, (i / count) as u32, i % count)), "allGather");

            for root in 0..size {
                let data = if root == seat.rank as usize { filled(dtype, seat.rank, 0, count) } else { blank(dtype, count) };
                complete(group, Request::Broadcast { data: data.clone(), root }).unwrap();
                expect(&data, (0..count).map(|place| element(dtype, root as u32, place)), "broadcast");
            }

            let even = vec![count; size];
            let target = blank(dtype, count * size);
            let source = filled(dtype, seat.rank, 0, count * size);
            let request = Request::AllToAll { source, target: target.clone(), send: even.clone(), receive: even };
            complete(group, request).unwrap();
            let mine = seat.rank as usize * count;
            expect(&target, (0..count * size).map(|i| element(dtype, (i / count) as u32, mine + i % count)), "allToAll");
        }
        complete(group, Request::Barrier).unwrap();
    }
}

/// How many elements `from` sends to `to`: very different numbers, some of them none.
fn uneven(from: usize, to: usize) -> usize {
    [0, 1, 700, 13, 4001][(from * 3 + to * 2) % 5]
}

fn check_uneven(seat: &Seat, group: &Group) {
    let (size, me) = (seat.size as usize, seat.rank as usize);
    let send: Vec<usize> = (0..size).map(|to| uneven(me, to)).collect();
    let receive: Vec<usize> = (0..size).map(|from| uneven(from, me)).collect();
    let source = filled(DType::F32, seat.rank, 0, send.iter().sum());
    let target = blank(DType::F32, receive.iter().sum());
    complete(group, Request::AllToAll { source, target: target.clone(), send, receive }).unwrap();
    let expected = (0..size).flat_map(|from| {
        let start: usize = (0..me).map(|to| uneven(from, to)).sum();
        (start..start + uneven(from, me)).map(move |place| element(DType::F32, from as u32, place))
    });
    expect(&target, expected, "uneven allToAll");
}

fn check_in_place(seat: &Seat, group: &Group) {
    let (size, me, count) = (seat.size as usize, seat.rank as usize, 2500);
    let whole = filled(DType::F32, seat.rank, 0, count * size);
    let own = whole.alias(me * count, count).unwrap();
    complete(group, Request::ReduceScatter { source: whole.clone(), target: own.clone(), op: ReduceOp::Sum }).unwrap();
    complete(group, Request::AllGather { source: own, target: whole.clone() }).unwrap();
    expect(&whole, (0..count * size).map(|place| reference(DType::F32, ReduceOp::Sum, seat.size, place)), "in place");
}

fn check_all(seat: &Seat, settings: Settings) {
    let world = seat.join_with(settings);
    let group = world.open("all", &seat.everyone()).unwrap();
    check_reductions(seat, &group);
    check_moves(seat, &group);
    check_uneven(seat, &group);
    check_in_place(seat, &group);
    world.leave();
}

#[test]
fn every_operation_equals_the_serial_reference_with_small_chunks() {
    for size in 1..=5 {
        play_all("every_operation_equals_the_serial_reference_with_small_chunks", size, |seat| {
            check_all(seat, Settings { chunk: Some(SMALL_CHUNK), ..seat.settings() });
        });
    }
}

#[test]
fn every_operation_equals_the_serial_reference_with_the_usual_chunks() {
    for size in [2, 3] {
        play_all("every_operation_equals_the_serial_reference_with_the_usual_chunks", size, |seat| check_all(seat, seat.settings()));
    }
}

#[test]
fn more_than_the_staging_area_goes_through() {
    for size in [2, 4] {
        play_all("more_than_the_staging_area_goes_through", size, |seat| {
            let world = seat.join();
            let group = world.open("all", &seat.everyone()).unwrap();
            let count = 3_000_017;
            let data = filled(DType::F32, seat.rank, 0, count);
            complete(&group, Request::AllReduce { data: data.clone(), op: ReduceOp::Sum }).unwrap();
            expect(&data, (0..count).map(|place| reference(DType::F32, ReduceOp::Sum, seat.size, place)), "a large allReduce");
            world.leave();
        });
    }
}

#[test]
fn the_bits_do_not_depend_on_arrival_or_chunk() {
    let mut hashes = Vec::new();
    for (run, chunk) in [(0, None), (1, None), (2, Some(4096)), (3, Some(1 << 16))] {
        let ended = support::play_run("the_bits_do_not_depend_on_arrival_or_chunk", 4, run, |seat| {
            let world = seat.join_with(Settings { chunk, ..seat.settings() });
            let group = world.open("all", &seat.everyone()).unwrap();
            let mut hash = 0xcbf2_9ce4_8422_2325u64;
            for round in 0..10 {
                std::thread::sleep(std::time::Duration::from_micros(bits(seat.rank + run, round) % 1000));
                let data = filled(DType::F32, seat.rank, round, 100_003);
                complete(&group, Request::AllReduce { data: data.clone(), op: ReduceOp::Sum }).unwrap();
                hash = data.bytes().iter().fold(hash, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
            }
            seat.say(&format!("{hash:x}"));
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
    complete(&group, Request::Exchange { sends: vec![(0, data)], receives: vec![(0, target.clone())] }).unwrap();
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
