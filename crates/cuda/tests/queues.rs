//! The fake's streams are queues, as those of a device are: an order that nobody wrote out shows as a wrong result, and what waits keeps its
//! stream and no other.
#![cfg(target_os = "linux")]

mod fake;

use fake::{DRIVER, Machine, Ranks};
use megatron_cuda::{Block, Communicator, Config, Part, Queue, Reduction, Stream};
use std::sync::Arc;
use storage::DType;

fn ones(queue: &Queue, count: usize) -> Part {
    let block = Block::new(queue.device(), Stream::Communication, count * 4).unwrap();
    let part = Part::whole(&Arc::new(block), DType::F32);
    queue.upload(&part, &1f32.to_le_bytes().repeat(count)).unwrap();
    part
}

/// Two ranks with a communicator and a queue each, which have met.
fn meet(ranks: &Ranks, name: &str) -> Vec<(Communicator, Queue)> {
    let id = ranks.toolkit.nccl().unwrap().unique_id().unwrap();
    let join = |rank: usize| Communicator::init(&ranks.devices[rank], name, id, (rank, 2), Config::default()).unwrap();
    let all = [join(0), join(1)];
    all.into_iter().enumerate().map(|(rank, own)| (own, Queue::new(&ranks.devices[rank]).unwrap())).collect()
}

fn add_up((communicator, queue): &(Communicator, Queue), part: &Part) {
    communicator.issue(queue, |batch| batch.all_reduce(part, part, Reduction::Sum)).unwrap();
}

#[test]
fn an_order_that_nobody_wrote_out_is_none() {
    let machine = Machine::new("lazy=1");
    let block = Arc::new(Block::new(&machine.device, Stream::Compute, 4).unwrap());
    block.fill(Stream::Compute, 1).unwrap();
    machine.device.synchronize(Stream::Compute).unwrap();
    let read = || {
        let mut bytes = [0; 4];
        block.read(Stream::DeviceToHost, 0, &mut bytes).unwrap();
        bytes[0]
    };
    block.fill(Stream::Compute, 2).unwrap();
    assert_eq!(read(), 1);
    let written = machine.device.record(Stream::Compute).unwrap();
    assert!(written.is_done().unwrap());
    assert_eq!(read(), 2);
    block.fill(Stream::Compute, 3).unwrap();
    machine.device.wait(Stream::DeviceToHost, &machine.device.record(Stream::Compute).unwrap()).unwrap();
    assert_eq!(read(), 3);
}

#[test]
fn a_stream_that_is_held_holds_those_that_wait_for_it() {
    let machine = Machine::new("hold=1");
    let block = Arc::new(Block::new(&machine.device, Stream::Compute, 4).unwrap());
    block.fill(Stream::Compute, 7).unwrap();
    let copied = block.download(Stream::Compute, 0, 4).unwrap();
    assert!(!copied.is_done().unwrap());
    machine.tell("release=1");
    assert!(copied.is_done().unwrap());
    assert_eq!(copied.read().unwrap(), [7; 4]);
}

#[test]
fn bytes_of_the_host_are_taken_at_once_where_they_are_not_pinned() {
    let machine = Machine::new("hold=1");
    let block = Block::new(&machine.device, Stream::Compute, 4).unwrap();
    let mut bytes = [1, 2, 3, 4];
    block.write(Stream::Compute, 0, &bytes).unwrap();
    bytes.fill(9);
    // Waiting lets a held stream go on.
    block.read(Stream::Compute, 0, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 3, 4]);
}

#[test]
fn what_follows_a_collective_in_its_stream_waits_for_all_ranks_and_other_streams_do_not() {
    let ranks = Ranks::new(2, "");
    let all = meet(&ranks, "tp");
    let (first, second) = (ones(&all[0].1, 2), ones(&all[1].1, 2));
    add_up(&all[0], &first);
    let landing = all[0].1.download(&first).unwrap();
    let mark = all[0].1.mark().unwrap();
    // The same rank's other streams go on.
    let other = Queue::new(&ranks.devices[0]).unwrap();
    other.copy(&ones(&other, 2), &ones(&other, 2)).unwrap();
    assert!(!mark.is_done().unwrap() && other.mark().unwrap().is_done().unwrap());
    add_up(&all[1], &second);
    assert!(mark.is_done().unwrap());
    let mut bytes = [0; 8];
    landing.read(&mut bytes);
    assert_eq!(bytes, [2f32.to_le_bytes(), 2f32.to_le_bytes()].concat()[..]);
}

/// Two groups asked in another order by each rank: in one stream they wait for each other for ever, in two they do not.
#[test]
fn collectives_of_two_groups_in_one_stream_need_one_order() {
    let ranks = Ranks::new(2, "");
    for is_shared in [true, false] {
        let (one, mut other) = (meet(&ranks, "one"), meet(&ranks, "other"));
        if is_shared {
            other.iter_mut().zip(&one).for_each(|((_, queue), (_, shared))| *queue = shared.clone());
        }
        let asked = [&one[0], &other[0], &other[1], &one[1]];
        // Streams that stand still use their memory later: it stays until they have gone on.
        let parts = asked.map(|(_, queue)| ones(queue, 1));
        asked.into_iter().zip(&parts).for_each(|(group, part)| add_up(group, part));
        let are_done = || [&one, &other].iter().all(|group| group.iter().all(|(_, queue)| queue.mark().unwrap().is_done().unwrap()));
        assert_eq!(are_done(), !is_shared);
        for (communicator, _) in one.iter().chain(&other) {
            communicator.abort("the test ends.").unwrap();
        }
        assert!(are_done(), "an abort frees the streams");
    }
}

#[test]
fn an_event_before_nccl_has_taken_a_collective_does_not_stand_for_it() {
    let ranks = Ranks::new(2, "defer=2");
    let all = meet(&ranks, "tp");
    let parts: Vec<Part> = all.iter().map(|(_, queue)| ones(queue, 1)).collect();
    all.iter().zip(&parts).for_each(|(own, part)| add_up(own, part));
    let early = all[0].1.mark().unwrap();
    assert!(early.is_done().unwrap() && !all[0].0.poll().unwrap());
    assert!(all.iter().all(|(communicator, _)| communicator.poll().is_ok() && communicator.poll().unwrap()));
    let landing = all[0].1.download(&parts[0]).unwrap();
    assert!(all[0].1.mark().unwrap().is_done().unwrap());
    let mut bytes = [0; 4];
    landing.read(&mut bytes);
    assert_eq!(f32::from_le_bytes(bytes), 2.0);
}

#[test]
fn a_queue_ends_after_what_was_left_in_it_and_keeps_its_memory_so_long() {
    let ranks = Ranks::new(2, "");
    let all = meet(&ranks, "tp");
    let (communicator, queue) = &all[0];
    let part = ones(queue, 1);
    add_up(&all[0], &part);
    queue.leave(vec![part]);
    let live = || ranks.devices[0].memory_stats().unwrap().live_blocks;
    assert_eq!(live(), 1);
    communicator.abort("the test ends.").unwrap();
    drop(all);
    assert_eq!(live(), 0);
    let lines = fake::log(&ranks.folder.0.join(DRIVER));
    assert_eq!(lines.iter().filter(|line| line.starts_with("stream") && line.ends_with("destroyed")).count(), 2);
}
