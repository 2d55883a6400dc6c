//! Streams, events, launches and errors of one device, as the fake driver saw them.
#![cfg(target_os = "linux")]

mod fake;

use fake::{DRIVER, Folder, Machine, control, log};
use megatron_cuda::{Argument, Block, Code, Device, Environment, Launch, Stream, Toolkit};

const LAUNCH: Launch = Launch { grid: [2, 3, 1], block: [128, 1, 1], shared: 0 };

#[test]
fn all_streams_are_made_at_the_start_and_communication_goes_first() {
    let folder = Folder::new();
    folder.install_all();
    control(&folder.0.join(DRIVER), "devices=2");
    let toolkit = Toolkit::find(&Environment::only(&[("MEGATRON_CUDA_LIBS", folder.text())])).unwrap();
    let device = Device::open(&toolkit, 1).unwrap();
    assert_eq!((device.report().index, device.architecture().as_str()), (1, "sm_90a"));
    let opened = ["context of device 1", "stream 1 priority 0", "stream 2 priority -5", "stream 3 priority 0", "stream 4 priority 0"];
    assert_eq!(log(&folder.0.join(DRIVER))[..5], opened);
    drop(device);
    let closed = ["stream 1 destroyed", "stream 2 destroyed", "stream 3 destroyed", "stream 4 destroyed", "context released"];
    assert_eq!(log(&folder.0.join(DRIVER))[6..], closed);
}

#[test]
fn a_stream_waits_for_what_another_has_recorded_and_nobody_else_does() {
    let machine = Machine::new("");
    let kernel = machine.module("__global__ void add_all()").kernel("add_all").unwrap();
    // SAFETY: the fake runs nothing.
    let launch = |stream| unsafe { kernel.launch(stream, LAUNCH, &[Argument::Pointer(0), Argument::F32(1.0)]) }.unwrap();
    launch(Stream::Compute);
    let produced = machine.device.record(Stream::Compute).unwrap();
    machine.device.wait(Stream::Communication, &produced).unwrap();
    launch(Stream::Communication);
    let reduced = machine.device.record(Stream::Communication).unwrap();
    machine.device.wait(Stream::Compute, &reduced).unwrap();
    launch(Stream::Compute);
    let wanted = [
        "load module",
        "launch add_all grid 2x3x1 block 128x1x1 shared 0 in stream 1",
        "event 1 in stream 1",
        "stream 2 waits for event 1",
        "launch add_all grid 2x3x1 block 128x1x1 shared 0 in stream 2",
        "event 2 in stream 2",
        "stream 1 waits for event 2",
        "launch add_all grid 2x3x1 block 128x1x1 shared 0 in stream 1",
    ];
    assert_eq!(machine.log(), wanted);
}

#[test]
fn an_event_is_done_when_its_stream_has_come_so_far() {
    let machine = Machine::new("");
    machine.tell("hold=3");
    let event = machine.device.record(Stream::HostToDevice).unwrap();
    assert!(!event.is_done().unwrap());
    assert!(machine.device.record(Stream::Compute).unwrap().is_done().unwrap());
    machine.tell("release=3");
    assert!(event.is_done().unwrap());
    event.synchronize().unwrap();
}

#[test]
fn a_kernel_asks_for_much_shared_memory_once_and_an_impossible_launch_is_refused() {
    let machine = Machine::new("");
    let kernel = machine.module("void attention()").kernel("attention").unwrap();
    let launch = |launch| {
        // SAFETY: the fake runs nothing.
        unsafe { kernel.launch(Stream::Compute, launch, &[]) }
    };
    for shared in [48 << 10, 100 << 10, 80 << 10] {
        launch(Launch { shared, ..LAUNCH }).unwrap();
    }
    assert_eq!(machine.log_of(&["attribute"]), ["attribute 8 of attention is 102400"]);
    launch(Launch { grid: [0, 1, 1], ..LAUNCH }).unwrap();
    assert_eq!(machine.log_of(&["launch"]).len(), 3);
    let error = launch(Launch { block: [64, 32, 1], ..LAUNCH }).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::Refused, "kernel attention: a block of 64 x 32 x 1 threads cannot run. Use 1 to 1024.")
    );
    let error = machine.module("void attention()").kernel("gemm").err().unwrap();
    assert!(error.message.starts_with("device 0: cuModuleGetFunction fails with CUDA_ERROR_NOT_FOUND."), "{error}");
}

#[test]
fn a_device_that_is_lost_keeps_the_first_cause_and_every_later_call_returns_it() {
    let machine = Machine::new("sticky_at_launch=2");
    let module = machine.module("void first() void second()");
    let [first, second] = ["first", "second"].map(|name| module.kernel(name).unwrap());
    let block = Block::new(&machine.device, Stream::Compute, 64).unwrap();
    // SAFETY: the fake runs nothing.
    unsafe {
        first.launch(Stream::Compute, LAUNCH, &[]).unwrap();
        second.launch(Stream::Compute, LAUNCH, &[]).unwrap();
    }
    assert_eq!(machine.device.fault(), None);
    let cause = machine.device.synchronize(Stream::Compute).unwrap_err();
    assert_eq!(
        (cause.code, cause.message.as_str()),
        (
            Code::Poisoned,
            "device 0: cuStreamSynchronize tells of CUDA_ERROR_ILLEGAL_ADDRESS; the kernel launched last is second. \
             Nothing more runs on the device: end this process, and run it again under compute-sanitizer."
        )
    );
    let before = machine.log().len();
    let later = [
        machine.device.record(Stream::Compute).err(),
        machine.device.synchronize(Stream::Communication).err(),
        Block::new(&machine.device, Stream::Compute, 8).err(),
        block.write(Stream::Compute, 0, &[1]).err(),
        block.read(Stream::Compute, 0, &mut [0]).err(),
        machine.device.trim_cache().err(),
        // SAFETY: the fake runs nothing.
        unsafe { first.launch(Stream::Compute, LAUNCH, &[]) }.err(),
        machine.device.fault(),
    ];
    assert!(later.iter().all(|error| error.as_ref() == Some(&cause)), "{later:?}");
    drop(block);
    assert_eq!(machine.device.memory_stats().unwrap().leaked_bytes, 64);
    assert_eq!(machine.log().len(), before);
}

#[test]
fn an_error_that_does_no_harm_is_told_once() {
    let machine = Machine::new("");
    machine.tell("fail=cuEventCreate:1:0");
    let error = machine.device.record(Stream::Compute).err().unwrap();
    let wanted = "device 0: cuEventCreate fails with CUDA_ERROR_INVALID_VALUE. See what nvidia-smi and the system's log tell.";
    assert_eq!((error.code, error.message.as_str()), (Code::Driver, wanted));
    assert_eq!(machine.device.fault(), None);
    machine.tell("fail=cuEventCreate:12345:0");
    assert!(machine.device.record(Stream::Compute).err().unwrap().message.contains("fails with CUDA error 12345."));
    machine.device.synchronize(Stream::Compute).unwrap();
}

#[test]
fn a_device_that_cannot_be_opened_leaves_nothing_behind() {
    let folder = Folder::new();
    folder.install_all();
    let driver = folder.0.join(DRIVER);
    let toolkit = Toolkit::find(&Environment::only(&[("MEGATRON_CUDA_LIBS", folder.text())])).unwrap();
    for failing in ["cuStreamCreateWithPriority:2:2", "cuMemPoolSetAttribute:2:0", "cuDevicePrimaryCtxRetain:2:0"] {
        control(&driver, &format!("reset fail={failing}"));
        assert!(Device::open(&toolkit, 0).is_err());
        let lines = log(&driver);
        let count = |word: &str| lines.iter().filter(|line| line.contains(word)).count();
        assert_eq!((count("context of"), count(" priority ")), (count("context released"), count("destroyed")), "{failing}: {lines:?}");
    }
}
