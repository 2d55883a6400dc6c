//! Capture of a sequence as a graph: what is asked meanwhile is done by each launch, and memory that is freed meanwhile is the graph's.
#![cfg(target_os = "linux")]

mod fake;

use fake::Machine;
use megatron_cuda::{Argument, Block, Code, Error, Kernel, Launch, Stream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

const ON: Stream = Stream::Compute;

fn block(machine: &Machine, bytes: usize) -> Block {
    Block::new(&machine.device, ON, bytes).unwrap()
}

fn kernel(machine: &Machine) -> Kernel {
    machine.module("void step()").kernel("step").unwrap()
}

fn launch(kernel: &Kernel, stream: Stream) -> Result<(), Error> {
    // SAFETY: the fake runs nothing.
    unsafe { kernel.launch(stream, Launch { grid: [1; 3], block: [32, 1, 1], shared: 0 }, &[Argument::U32(1)]) }
}

fn values(block: &Block) -> Vec<u8> {
    let mut bytes = vec![0; block.len()];
    block.read(ON, 0, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_captured_is_done_by_each_launch_and_not_before() {
    let machine = Machine::new("");
    let kernel = kernel(&machine);
    let (input, weight) = (block(&machine, 4), block(&machine, 4));
    input.fill(ON, 5).unwrap();
    weight.fill(ON, 1).unwrap();
    machine.tell("forget");
    let (graph, ()) = machine
        .device
        .capture(ON, || {
            launch(&kernel, ON)?;
            weight.copy_from(ON, &input)
        })
        .unwrap();
    assert_eq!(values(&weight), [1; 4]);
    graph.launch(ON).unwrap();
    assert_eq!(values(&weight), [5; 4]);
    // A launch reads what stands in the blocks by then.
    input.fill(ON, 6).unwrap();
    graph.launch(ON).unwrap();
    assert_eq!((values(&weight), graph.bytes()), (vec![6; 4], 0));
    drop(graph);
    let wanted = [
        "begin capture mode 1 in stream 1",
        "capture launch step grid 1x1x1 block 32x1x1 shared 0 in stream 1",
        "capture copy 4 within the device in stream 1",
        "end capture of 2 in stream 1",
        "instantiate with flags 1",
        "launch graph of 2 in stream 1, which leaves 0",
        "launch graph of 2 in stream 1, which leaves 0",
        "destroy graph, 0 left",
    ];
    assert_eq!(machine.log_of(&["begin", "capture", "end", "instantiate", "launch", "destroy"]), wanted);
}

#[test]
fn streams_that_wait_for_the_captured_one_are_part_of_it() {
    let machine = Machine::new("");
    let kernel = kernel(&machine);
    let device = &machine.device;
    let (graph, ()) = device
        .capture(ON, || {
            launch(&kernel, ON)?;
            device.wait(Stream::Communication, &device.record(ON)?)?;
            launch(&kernel, Stream::Communication)?;
            device.wait(ON, &device.record(Stream::Communication)?)
        })
        .unwrap();
    graph.launch(ON).unwrap();
    assert!(machine.log().contains(&"launch graph of 2 in stream 1, which leaves 0".into()), "{:?}", machine.log());
    let unjoined = device.capture(ON, || {
        device.wait(Stream::Communication, &device.record(ON)?)?;
        launch(&kernel, Stream::Communication)
    });
    let wanted = "device 0: cuStreamEndCapture fails with CUDA_ERROR_STREAM_CAPTURE_UNJOINED. A graph holds what begins with its first \
                  stream and is joined to it at the end: let other streams wait for it, and it for them.";
    assert_eq!(unjoined.err().unwrap().message, wanted);
    let outside = device.record(Stream::Communication).unwrap();
    let isolated = device.capture(ON, || device.wait(ON, &outside));
    assert!(isolated.err().unwrap().message.starts_with("device 0: cuStreamWaitEvent fails with CUDA_ERROR_STREAM_CAPTURE_ISOLATION."));
    launch(&kernel, ON).unwrap();
}

#[test]
fn memory_that_is_freed_within_a_capture_goes_to_the_graph_and_what_lives_on_is_freed_with_it() {
    let machine = Machine::new("");
    let kernel = kernel(&machine);
    let device = &machine.device;
    machine.tell("forget");
    let (graph, output) = device
        .capture(ON, || {
            let activation = block(&machine, 100);
            device.wait(Stream::Communication, &device.record(ON)?)?;
            launch(&kernel, Stream::Communication)?;
            // The other stream uses it: the graph frees it after that.
            activation.record_stream(Stream::Communication);
            drop(activation);
            let output = block(&machine, 8);
            output.fill(ON, 3)?;
            Ok(output)
        })
        .unwrap();
    assert_eq!(graph.bytes(), 8);
    let stats = device.memory_stats().unwrap();
    assert_eq!((stats.all.live, stats.live_blocks), (8, 1));
    for _ in 0..3 {
        graph.launch(ON).unwrap();
        assert_eq!(values(&output), [3; 8]);
    }
    let captured = [
        "capture allocate 100 of the graph in stream 1",
        "capture event 1 in stream 1",
        "capture stream 2 waits for event 1",
        "capture launch step grid 1x1x1 block 32x1x1 shared 0 in stream 2",
        "capture event 2 in stream 2",
        "capture stream 1 waits for event 2",
        "capture free 100 of the graph in stream 1",
        "capture allocate 8 of the graph in stream 1",
        "capture fill 8 with 3 in stream 1",
    ];
    assert_eq!(machine.log_of(&["capture"]), captured);
    // The graph goes, and its memory stays as long as somebody holds it.
    drop(graph);
    assert_eq!(values(&output), [3; 8]);
    drop(output);
    assert_eq!(machine.log_of(&["free", "destroy"]), ["free what a graph left in stream 1", "destroy graph, 0 left"]);
    assert_eq!(device.memory_stats().unwrap().live_blocks, 0);
}

#[test]
fn memory_of_the_pool_that_is_given_up_within_a_capture_is_kept_as_long_as_the_graph() {
    let machine = Machine::new("");
    let (input, target) = (Arc::new(block(&machine, 4)), block(&machine, 4));
    input.fill(ON, 8).unwrap();
    let moved = Arc::clone(&input);
    drop(input);
    let (graph, ()) = machine
        .device
        .capture(ON, || {
            target.copy_from(ON, &moved)?;
            drop(moved);
            Ok(())
        })
        .unwrap();
    graph.launch(Stream::Communication).unwrap();
    assert_eq!(values(&target), [8; 4]);
    assert!(machine.log_of(&["free"]).is_empty());
    machine.tell("hold=2");
    drop(graph);
    // A launch may still be under way: it is freed when that stream has passed.
    assert!(machine.log_of(&["free"]).is_empty());
    machine.tell("release=2");
    assert_eq!(machine.device.memory_stats().unwrap().pending_blocks, 0);
    assert_eq!(machine.log_of(&["free"]), ["free #1 in stream 1"]);
}

#[test]
fn waiting_within_a_capture_is_refused_and_the_capture_goes_on() {
    let machine = Machine::new("");
    let device = &machine.device;
    let data = Arc::new(block(&machine, 4));
    let mut refusals = Vec::new();
    let (graph, ()) = device
        .capture(ON, || {
            let event = device.record(ON)?;
            refusals = vec![
                device.synchronize(ON).unwrap_err(),
                event.synchronize().unwrap_err(),
                event.is_done().unwrap_err(),
                data.upload(0, &[1]).err().unwrap(),
                data.download(ON, 0, 1).err().unwrap(),
                device.capture(ON, || Ok(())).err().unwrap(),
            ];
            data.fill(ON, 2)
        })
        .unwrap();
    graph.launch(ON).unwrap();
    assert_eq!(values(&data), [2; 4]);
    let tail = "while a graph is captured, in which nothing has run yet. Do it before or afterwards.";
    let wanted = [
        format!("device 0: nobody can wait {tail}"),
        format!("device 0: nobody can wait {tail}"),
        format!("device 0: nobody can ask whether something is done {tail}"),
        format!("device 0: a copy from the host {tail}"),
        format!("device 0: a copy to the host {tail}"),
        "device 0: a graph is being captured already. Capture one after the other.".into(),
    ];
    assert_eq!(refusals.iter().map(|error| error.message.clone()).collect::<Vec<_>>(), wanted);
    assert!(refusals.iter().all(|error| error.code == Code::Refused));
}

#[test]
fn a_capture_that_fails_leaves_the_streams_as_they_were() {
    let machine = Machine::new("");
    let device = &machine.device;
    let data = block(&machine, 4);
    let refused = device.capture(ON, || {
        data.fill(ON, 9)?;
        block(&machine, 4).copy_from(ON, &block(&machine, 8))
    });
    assert_eq!(refused.err().unwrap().message, "copy on the device: the blocks have 4 and 8 bytes. Use equal ones.");
    let thrown = catch_unwind(AssertUnwindSafe(|| device.capture(ON, || -> Result<(), Error> { panic!("by the test") })));
    assert!(thrown.is_err());
    for function in ["cuStreamBeginCapture_v2", "cuGraphInstantiateWithFlags"] {
        machine.tell(&format!("fail={function}:2:0"));
        let failed = device.capture(ON, || data.fill(ON, 9)).err().unwrap();
        assert!(failed.message.contains("fails with CUDA_ERROR_OUT_OF_MEMORY."), "{failed}");
    }
    machine.tell("fail=none:0:0");
    data.fill(ON, 4).unwrap();
    assert_eq!(values(&data), [4; 4]);
    let (graph, ()) = device.capture(ON, || data.fill(ON, 7)).unwrap();
    graph.launch(ON).unwrap();
    assert_eq!((values(&data), device.memory_stats().unwrap().live_blocks), (vec![7; 4], 1));
}
