//! The memory of a device: counters, the order of what is freed, and what is said when there is none.
#![cfg(target_os = "linux")]

mod fake;

use fake::Machine;
use megatron_cuda::{Block, Code, Stream};
use storage::{Category, Usage, is_out_of_memory};

fn block(machine: &Machine, bytes: usize) -> Block {
    Block::new(&machine.device, Stream::Compute, bytes).unwrap()
}

#[test]
fn the_pool_is_told_to_keep_what_is_freed() {
    let machine = Machine::new("");
    drop(block(&machine, 1000));
    assert_eq!(machine.device.cached_bytes().unwrap(), 1000);
    machine.device.trim_cache().unwrap();
    assert_eq!(machine.device.cached_bytes().unwrap(), 0);
    assert!(machine.log_of(&["synchronize", "trim"]).ends_with(&["synchronize stream 4".into(), "trim pool to 0".into()]));
}

#[test]
fn bytes_are_counted_by_category_now_and_at_most() {
    let machine = Machine::new("");
    let stats = || machine.device.memory_stats().unwrap();
    let outside = Category::Parameters.make_current();
    let weights = block(&machine, 400);
    Category::Workspace.make_current();
    let scratch = block(&machine, 70);
    outside.make_current();
    let (values, gradient) = (block(&machine, 50), block(&machine, 30));
    gradient.categorize(Category::Gradients);
    let live = stats().by_category.map(|usage| usage.live);
    assert_eq!(live, [400, 30, 0, 50, 70, 0]);
    assert_eq!((stats().all, stats().live_blocks), (Usage { live: 480, peak: 480 }, 4));
    drop((weights, scratch, values));
    assert_eq!((stats().all, stats().live_blocks, stats().allocations), (Usage { live: 30, peak: 480 }, 1, 4));
    machine.device.reset_peak().unwrap();
    assert_eq!(stats().by_category[Category::Gradients as usize], Usage { live: 30, peak: 30 });
    assert_eq!(stats().all, Usage { live: 30, peak: 30 });
}

#[test]
fn a_block_goes_back_in_the_order_of_its_own_stream() {
    let machine = Machine::new("");
    let first = Block::new(&machine.device, Stream::Communication, 64).unwrap();
    first.record_stream(Stream::Communication);
    assert_eq!(first.home(), Stream::Communication);
    drop(first);
    assert_eq!(machine.log(), ["allocate #1 of 64 in stream 2", "free #1 in stream 2"]);
}

#[test]
fn a_block_that_another_stream_uses_is_freed_after_an_event_of_that_stream() {
    let machine = Machine::new("");
    let stats = || machine.device.memory_stats().unwrap();
    let gradient = block(&machine, 512);
    gradient.record_stream(Stream::Communication);
    gradient.record_stream(Stream::DeviceToHost);
    machine.tell("hold=2");
    drop(gradient);
    assert_eq!((stats().all.live, stats().pending_blocks, stats().pending_bytes), (0, 1, 512));
    drop(block(&machine, 16));
    assert_eq!(machine.log_of(&["event", "free"]), ["event 1 in stream 2", "event 2 in stream 4", "free #2 in stream 1"]);
    machine.tell("release=2");
    assert_eq!(stats().pending_blocks, 0);
    assert_eq!(machine.log_of(&["free"]), ["free #2 in stream 1", "free #1 in stream 1"]);
}

#[test]
fn steps_leave_nothing_behind() {
    let machine = Machine::new("");
    let mut after = Vec::new();
    for step in 0..300 {
        let held: Vec<Block> = (1..20).map(|part| block(&machine, part * 64)).collect();
        held.iter().step_by(3).for_each(|block| block.record_stream(Stream::Communication));
        machine.tell(if step % 2 == 0 { "hold=2" } else { "release=2" });
        drop(held);
        machine.device.synchronize(Stream::Communication).unwrap();
        after.push(machine.device.memory_stats().unwrap().all.live + machine.device.memory_stats().unwrap().pending_bytes);
    }
    assert!(after.iter().all(|&bytes| bytes == 0));
    let count = |word| machine.log_of(&[word]).len();
    assert_eq!((count("allocate"), count("free")), (300 * 19, 300 * 19));
}

#[test]
fn a_leak_shows_as_a_live_block() {
    let machine = Machine::new("");
    let before = machine.device.memory_stats().unwrap().live_blocks;
    std::mem::forget(block(&machine, 100));
    let after = machine.device.memory_stats().unwrap();
    assert_eq!((before, after.live_blocks, after.all.live), (0, 1, 100));
    assert!(machine.log_of(&["free"]).is_empty());
}

#[test]
fn closing_a_device_frees_what_was_pending() {
    let machine = Machine::new("");
    let last = block(&machine, 64);
    last.record_stream(Stream::Communication);
    machine.tell("hold=2");
    drop(last);
    let Machine { device, toolkit, folder } = machine;
    drop(device);
    let lines = fake::log(&folder.0.join(fake::DRIVER));
    let free = lines.iter().position(|line| line == "free #1 in stream 1").unwrap();
    let released = lines.iter().position(|line| line == "context released").unwrap();
    assert!(lines.contains(&"synchronize event 1".into()) && free < released, "{lines:?}");
    drop(toolkit);
}

#[test]
fn out_of_memory_tells_what_was_asked_free_total_and_cached() {
    let machine = Machine::new("memory=1000");
    let held = block(&machine, 600);
    let error = Block::new(&machine.device, Stream::Compute, 500).err().unwrap();
    assert_eq!(
        (error.code, error.message.as_str()),
        (
            Code::OutOfMemory,
            "device 0: out of memory: 500 bytes were asked for while 400 of 1000 are free, 0 are cached and 600 are live. \
             Use smaller microbatches, more ranks, recomputation or a sharded optimizer."
        )
    );
    assert!(is_out_of_memory(&error.message));
    assert_eq!(machine.device.memory_stats().unwrap().live_blocks, 1);
    drop(held);
    assert_eq!(block(&machine, 900).len(), 900);
}

#[test]
fn before_memory_is_refused_all_that_waits_or_is_cached_is_given_back() {
    let machine = Machine::new("memory=1000");
    let (first, second) = (block(&machine, 300), block(&machine, 300));
    second.record_stream(Stream::Communication);
    machine.tell("hold=2");
    drop((first, second));
    let large = block(&machine, 800);
    assert_eq!(large.len(), 800);
    let wanted = ["free #1 in stream 1", "synchronize event 1", "free #2 in stream 1", "trim pool to 0", "allocate #3 of 800 in stream 1"];
    let lines = machine.log_of(&["free", "synchronize event", "trim", "allocate #3"]);
    assert_eq!(lines, wanted);
}

#[test]
fn bytes_arrive_as_they_were_sent_and_nothing_goes_past_the_end() {
    let machine = Machine::new("");
    let (one, other) = (block(&machine, 8), block(&machine, 8));
    one.fill(Stream::Compute, 9).unwrap();
    one.write(Stream::HostToDevice, 2, &[1, 2, 3]).unwrap();
    other.copy_from(Stream::Compute, &one).unwrap();
    let mut values = [0; 6];
    other.read(Stream::DeviceToHost, 1, &mut values).unwrap();
    assert_eq!(values, [9, 1, 2, 3, 9, 9]);
    assert_eq!(machine.log().last().unwrap(), "synchronize stream 4");
    let error = one.write(Stream::Compute, 6, &[0; 3]).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::Refused, "copy to the device: 3 bytes from byte 6 on are outside a block of 8. Stay within it.")
    );
    assert!(one.read(Stream::Compute, usize::MAX, &mut [0; 2]).is_err() && one.copy_from(Stream::Compute, &block(&machine, 4)).is_err());
    let empty = block(&machine, 0);
    assert!(empty.is_empty() && empty.fill(Stream::Compute, 1).is_ok() && empty.write(Stream::Compute, 0, &[]).is_ok());
}
