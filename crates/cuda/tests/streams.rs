//! The order between streams: works and the blocks that they keep, waits that are counted, and copies by way of pinned memory.
#![cfg(target_os = "linux")]

mod fake;

use fake::{DRIVER, Machine};
use megatron_cuda::{Block, Code, Stream, Work};
use std::sync::Arc;

fn block(machine: &Machine, home: Stream, bytes: usize) -> Arc<Block> {
    Arc::new(Block::new(&machine.device, home, bytes).unwrap())
}

/// What was freed, and what had been waited for before.
fn order(machine: &Machine) -> Vec<String> {
    machine.log_of(&["event", "stream", "free", "synchronize"])
}

#[test]
fn a_work_keeps_its_blocks_until_the_stream_that_frees_them_has_been_told_to_wait() {
    let machine = Machine::new("");
    let (gradient, scratch) = (block(&machine, Stream::Compute, 64), block(&machine, Stream::Communication, 32));
    machine.tell("forget");
    let work = Work::begun(&machine.device, Stream::Communication, "all-reduce", vec![gradient, scratch]).unwrap();
    // What its own stream frees may go at once: the order of that stream protects it.
    assert_eq!((work.blocks(), order(&machine).as_slice()), (1, &["free #2 in stream 2".into(), "event 1 in stream 2".into()][..]));
    work.wait(Stream::DeviceToHost).unwrap();
    assert_eq!(work.blocks(), 1);
    work.wait(Stream::Compute).unwrap();
    assert_eq!(work.blocks(), 0);
    assert_eq!(order(&machine)[2..], ["stream 4 waits for event 1", "stream 1 waits for event 1", "free #1 in stream 1"]);
    assert_eq!((machine.device.end_step(), machine.device.synchronizations()), (Ok(()), 0));
}

#[test]
fn blocks_of_a_work_that_is_dropped_wait_for_its_stream() {
    let machine = Machine::new("hold=2");
    let work = Work::begun(&machine.device, Stream::Communication, "send", vec![block(&machine, Stream::Compute, 64)]).unwrap();
    drop(work);
    assert_eq!(machine.device.memory_stats().unwrap().pending_blocks, 1);
    assert!(machine.log_of(&["free"]).is_empty());
    machine.tell("release=2");
    assert_eq!(machine.device.memory_stats().unwrap().pending_blocks, 0);
    assert_eq!(machine.log_of(&["free"]), ["free #1 in stream 1"]);
}

#[test]
fn a_work_for_which_nobody_waits_is_an_error_at_the_end_of_the_step() {
    let machine = Machine::new("");
    let begin = |name| Work::begun(&machine.device, Stream::Communication, name, Vec::new()).unwrap();
    let (first, second, third) = (begin("all-gather"), begin("reduce-scatter"), begin("send"));
    second.wait(Stream::Compute).unwrap();
    drop(first);
    let error = machine.device.end_step().unwrap_err();
    let wanted = "device 0: 2 works were begun in this step and nobody has waited: all-gather, send. Wait for each.";
    assert_eq!((error.code, error.message.as_str()), (Code::Refused, wanted));
    // Told once; the next step begins anew.
    assert_eq!(machine.device.end_step(), Ok(()));
    drop(third);
    _ = begin("send");
    let wanted = "device 0: 1 work was begun in this step and nobody has waited: send. Wait for each.";
    assert_eq!(machine.device.end_step().unwrap_err().message, wanted);
}

#[test]
fn waits_of_a_thread_are_counted_and_those_of_streams_are_none() {
    let machine = Machine::new("");
    let counted = || machine.device.synchronizations();
    let data = block(&machine, Stream::Compute, 8);
    data.write(Stream::Compute, 0, &[1; 8]).unwrap();
    data.fill(Stream::Compute, 2).unwrap();
    let event = machine.device.record(Stream::Compute).unwrap();
    machine.device.wait(Stream::Communication, &event).unwrap();
    data.upload(0, &[3]).unwrap().wait(Stream::Compute).unwrap();
    assert_eq!(counted(), 0);
    event.synchronize().unwrap();
    machine.device.synchronize(Stream::Compute).unwrap();
    data.read(Stream::Compute, 0, &mut [0; 8]).unwrap();
    assert_eq!(counted(), 3);
    // What has arrived is not waited for.
    assert_eq!(data.download(Stream::Compute, 0, 2).unwrap().read().unwrap(), [3, 2]);
    assert_eq!(counted(), 3);
    machine.tell("hold=4");
    let late = data.download(Stream::Compute, 0, 1).unwrap();
    assert!(!late.is_done().unwrap());
    assert_eq!((late.read().unwrap(), counted()), (vec![3], 4));
}

#[test]
fn copies_run_in_streams_of_their_own_after_what_makes_their_bytes() {
    let machine = Machine::new("");
    let data = block(&machine, Stream::Compute, 8);
    machine.tell("forget");
    let up = data.upload(4, &[7; 4]).unwrap();
    up.wait(Stream::Compute).unwrap();
    let down = data.download(Stream::Compute, 4, 2).unwrap();
    assert_eq!(down.read().unwrap(), [7, 7]);
    let wanted = [
        "event 1 in stream 1",
        "stream 3 waits for event 1",
        "pin 4096 flags 0",
        "copy 4 to the device in stream 3",
        "event 2 in stream 3",
        "event 3 in stream 3",
        "stream 1 waits for event 3",
        "event 4 in stream 1",
        "stream 4 waits for event 4",
        "copy 2 to the host in stream 4",
        "event 5 in stream 4",
    ];
    let log: Vec<String> = machine.log();
    assert_eq!(log, wanted);
    let error = data.upload(6, &[0; 3]).err().unwrap();
    assert_eq!(error.message, "upload: 3 bytes from byte 6 on are outside a block of 8. Stay within it.");
    assert!(data.download(Stream::Compute, 9, 0).is_err());
    data.upload(8, &[]).unwrap().wait(Stream::Compute).unwrap();
    assert!(data.download(Stream::Compute, 0, 0).unwrap().read().unwrap().is_empty());
    assert_eq!(machine.device.end_step(), Ok(()));
}

#[test]
fn pinned_memory_is_used_again_once_its_copy_is_done_and_is_given_back_at_the_end() {
    let machine = Machine::new("");
    let data = block(&machine, Stream::Compute, 10_000);
    let upload = |bytes| data.upload(0, &vec![1; bytes]).unwrap().wait(Stream::Compute).unwrap();
    let stats = || machine.device.pinned_stats();
    (0..50).for_each(|_| upload(5000));
    assert_eq!((stats().allocations, stats().bytes), (1, 8192));
    machine.tell("hold=3");
    upload(5000);
    upload(5000);
    upload(100);
    assert_eq!((stats().allocations, stats().bytes, stats().free_bytes), (3, 8192 * 2 + 4096, 0));
    machine.tell("release=3");
    drop(data.download(Stream::Compute, 0, 8000).unwrap());
    assert_eq!(data.download(Stream::Compute, 0, 1).unwrap().read().unwrap(), [1]);
    assert_eq!(stats().allocations, 3);
    machine.tell("fail=cuMemHostAlloc:2:0");
    let error = data.upload(0, &[0; 10_000]).err().unwrap();
    let wanted = "device 0: 16384 bytes of the host cannot be pinned (CUDA_ERROR_OUT_OF_MEMORY) beside 20480 that are. \
                  Copy smaller pieces, or raise the limit of locked memory (ulimit -l).";
    assert_eq!((error.code, error.message.as_str()), (Code::OutOfMemory, wanted));
    drop(data);
    let Machine { device, toolkit, folder } = machine;
    drop(device);
    let lines = fake::log(&folder.0.join(DRIVER));
    let count = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!((count("pin "), count("unpin ")), (3, 3));
    drop(toolkit);
}
