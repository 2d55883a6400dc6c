//! One rank alone of a large world: every operation ends at once, shapes and memory are as they would be.

mod support;

use megatron_comm::{Blocks, Error, Group, Kind, Label, Reason, ReduceOp, Request, Settings, World};
use storage::{DType, Span};
use support::{complete, floats};

const SIZE: u32 = 1024;
const RANK: u32 = 700;

fn world(rank: u32) -> World {
    World::fake("large", rank, SIZE, Settings::new(1)).unwrap_or_else(|error| panic!("{error}"))
}

/// All 1024 ranks.
fn everyone(world: &World) -> Group {
    world.open("all", &(0..SIZE).collect::<Vec<_>>()).unwrap()
}

/// Submits; the operation has ended by then.
fn done(group: &Group, request: Request) {
    let work = group.submit(request, Label::EMPTY).unwrap_or_else(|error| panic!("{error}"));
    assert!(work.is_done());
    assert_eq!(work.wait(None), Ok(()));
}

fn values(data: &Span) -> &[f32] {
    data.f32s().unwrap()
}

#[test]
fn reductions_and_broadcasts_leave_the_data() {
    let world = world(RANK);
    let group = everyone(&world);
    assert_eq!((group.size(), group.rank()), (1024, 700));
    let data = floats(&[1.0, -2.0]);
    for op in [ReduceOp::Sum, ReduceOp::Avg, ReduceOp::Max, ReduceOp::Min, ReduceOp::Product] {
        done(&group, Request::AllReduce { data: data.clone(), op });
        done(&group, Request::Reduce { data: data.clone(), op, root: 1023 });
    }
    done(&group, Request::Broadcast { data: data.clone(), root: 0 });
    done(&group, Request::Barrier);
    assert_eq!(values(&data), [1.0, -2.0]);
}

#[test]
fn gathers_repeat_this_ranks_block() {
    let world = world(RANK);
    let group = everyone(&world);
    let even = Blocks::even(2, 1024);
    let (source, target) = (floats(&[3.0, 4.0]), floats(&vec![9.0; 2048]));
    done(&group, Request::AllGather { source: source.clone(), target: target.clone(), blocks: even.clone() });
    assert_eq!(values(&target), [3.0, 4.0].repeat(1024));
    let target = floats(&vec![9.0; 2048]);
    done(&group, Request::Gather { source: source.clone(), target: Some(target.clone()), root: 700, blocks: even.clone() });
    assert_eq!(values(&target), [3.0, 4.0].repeat(1024));
    done(&group, Request::Gather { source, target: None, root: 3, blocks: even.clone() });
    // In place.
    let own = target.alias(1400, 2).unwrap();
    // SAFETY: nothing is under way.
    unsafe { own.f32s_mut() }.unwrap().copy_from_slice(&[5.0, 6.0]);
    done(&group, Request::AllGather { source: own, target: target.clone(), blocks: even });
    assert_eq!(values(&target), [5.0, 6.0].repeat(1024));
}

#[test]
fn blocks_of_other_sizes_are_filled_with_zeros() {
    let world = world(RANK);
    let group = world.open("few", &[1, RANK, 2, 3]).unwrap();
    let blocks = Blocks::of_counts(&[2, 2, 0, 3]).unwrap();
    let target = floats(&[9.0; 7]);
    done(&group, Request::AllGather { source: floats(&[3.0, 4.0]), target: target.clone(), blocks });
    assert_eq!(values(&target), [3.0, 4.0, 3.0, 4.0, 0.0, 0.0, 0.0]);
}

#[test]
fn scatters_take_this_ranks_block_where_it_is_known() {
    let world = world(RANK);
    let group = everyone(&world);
    let even = Blocks::even(2, 1024);
    let source = floats(&(0..2048).map(|place| place as f32).collect::<Vec<_>>());
    let target = floats(&[9.0; 2]);
    done(&group, Request::ReduceScatter { source: source.clone(), target: target.clone(), op: ReduceOp::Sum, blocks: even.clone() });
    assert_eq!(values(&target), [1400.0, 1401.0]);
    let target = floats(&[9.0; 2]);
    done(&group, Request::Scatter { source: Some(source), target: target.clone(), root: 700, blocks: even.clone() });
    assert_eq!(values(&target), [1400.0, 1401.0]);
    done(&group, Request::Scatter { source: None, target: target.clone(), root: 0, blocks: even });
    assert_eq!(values(&target), [0.0, 0.0]);
}

#[test]
fn what_others_would_send_is_zeros_and_own_parts_are_copied() {
    let world = world(RANK);
    let group = everyone(&world);
    let (source, target) = (floats(&vec![7.0; 1024]), floats(&vec![9.0; 1024]));
    let even = Blocks::even(1, 1024);
    done(&group, Request::AllToAll { source, target: target.clone(), send: even.clone(), receive: even });
    let mut expected = vec![0.0; 1024];
    expected[700] = 7.0;
    assert_eq!(values(&target), expected);
    let [first, second, other] = [floats(&[9.0]), floats(&[9.0]), floats(&[9.0; 3])];
    let sends = vec![(700, floats(&[1.0])), (3, floats(&[2.0])), (700, floats(&[4.0]))];
    let receives = vec![(700, first.clone()), (5, other.clone()), (700, second.clone())];
    done(&group, Request::Exchange { sends, receives, kind: Kind::Exchange });
    assert_eq!((values(&first), values(&second), values(&other)), (&[1.0][..], &[4.0][..], &[0.0; 3][..]));
    done(&group, Request::Exchange { sends: vec![(1, other.clone())], receives: vec![], kind: Kind::Send });
    let target = Span::from_slice(DType::I64, &[5i64]).unwrap();
    done(&group, Request::Exchange { sends: vec![], receives: vec![(1, target.clone())], kind: Kind::Receive });
    assert_eq!(target.slice::<i64>().unwrap(), [0]);
}

#[test]
fn a_call_that_is_wrong_by_itself_is_refused_as_everywhere() {
    let world = world(RANK);
    let group = everyone(&world);
    let request = Request::Broadcast { data: floats(&[1.0]), root: 1024 };
    let error = group.submit(request, Label::EMPTY).err().unwrap();
    assert_eq!(error.to_string(), "broadcast on group all: root 1024 is outside a group of 1024. Pass a group rank from 0 to 1023.");
    assert!(matches!(world.open("other", &[1, 2]), Err(Error::Refused(_))));
}

#[test]
fn many_ranks_live_in_one_process() {
    let worlds: Vec<World> = (0..SIZE).map(world).collect();
    for (rank, world) in worlds.iter().enumerate() {
        let group = everyone(world);
        complete(&group, Request::AllReduce { data: floats(&[1.0]), op: ReduceOp::Sum }).unwrap();
        let record: serde_json::Value = serde_json::from_str(&world.record(Reason::Request)).unwrap();
        assert_eq!((&record["rank"], &record["worldSize"]), (&serde_json::json!(rank), &serde_json::json!(SIZE)));
        assert_eq!(record["operations"][0]["kind"], "allReduce");
    }
    worlds.iter().for_each(World::leave);
    assert!(worlds.iter().all(|world| world.failure().is_none()));
}

#[test]
fn worlds_are_as_large_as_they_may_be_and_no_larger() {
    let largest = World::fake("huge", (1 << 20) - 1, 1 << 20, Settings::new(1)).unwrap_or_else(|error| panic!("{error}"));
    let group = largest.open("all", &(0..1 << 20).collect::<Vec<_>>()).unwrap();
    complete(&group, Request::Barrier).unwrap();
    let refusal = |rank, size| World::fake("huge", rank, size, Settings::new(1)).err().unwrap().to_string();
    let advice = "Pass a world size up to 1048576 and a rank below it.";
    assert_eq!(refusal(0, (1 << 20) + 1), format!("fake: rank 0 of 1048577 does not exist. {advice}"));
    assert_eq!(refusal(4, 4), format!("fake: rank 4 of 4 does not exist. {advice}"));
}
