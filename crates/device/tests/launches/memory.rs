//! Tensors of a device: where they come from and go, copies, and what is refused.

use crate::machine::Machine;
use device::{accelerator_of, apart, common, ops};
use std::sync::Arc;
use storage::{Category, DType, Span};

#[test]
fn a_tensor_goes_up_by_way_of_pinned_memory_and_comes_back() {
    let machine = Machine::new();
    let values: Vec<u8> = (0..40).collect();
    let span = machine.on.upload(DType::F32, &values).unwrap();
    assert_eq!((span.len(), span.dtype(), span.is_remote()), (10, DType::F32, true));
    assert!(machine.on.stats().unwrap().synchronizations == 0, "nobody waits for an upload");
    let order: Vec<String> = machine.log_of(&["allocate", "copy", "stream"]);
    assert_eq!(order[0], "allocate #2 of 40 in stream 1");
    assert!(order.iter().any(|line| line == "copy 40 to the device in stream 3"), "{order:?}");
    let mut back = vec![0; 12];
    machine.on.read(&span.alias(2, 3).unwrap(), &mut back).unwrap();
    assert_eq!(back, (8..20).collect::<Vec<u8>>());
    assert_eq!(machine.on.stats().unwrap().reads, 1);
    assert!(machine.on.read(&span, &mut [0; 4]).unwrap_err().contains("4 bytes for a tensor of 40"));
}

#[test]
fn memory_is_counted_and_freed_in_the_order_of_the_compute_stream() {
    let machine = Machine::new();
    let live = || machine.on.stats().unwrap().memory.by_category.map(|usage| usage.live);
    let workspace = live()[Category::Workspace as usize];
    let span = machine.tensor(DType::BF16, 100);
    let alias = span.alias(50, 50).unwrap();
    span.categorize(Category::Parameters);
    assert_eq!(live(), [200, 0, 0, 0, workspace, 0]);
    drop(span);
    assert!(machine.log_of(&["free"]).is_empty(), "an alias keeps the memory");
    drop(alias);
    assert_eq!(machine.log_of(&["free"]), ["free #2 in stream 1"]);
    assert_eq!(live(), [0, 0, 0, 0, workspace, 0]);
}

#[test]
fn an_empty_tensor_takes_nothing_and_launches_nothing() {
    let machine = Machine::new();
    let empty = machine.on.upload(DType::F32, &[]).unwrap();
    let y = ops::unary::unary(&machine.on, 1, &empty).unwrap();
    ops::fill::fill(&machine.on, &y, 2.0).unwrap();
    assert_eq!((y.len(), machine.launches().len()), (0, 0));
    machine.on.read(&y, &mut []).unwrap();
}

#[test]
fn the_cpu_refuses_memory_of_a_device() {
    let machine = Machine::new();
    let span = machine.tensor(DType::F32, 3);
    let sentence = "a tensor lies on cuda:0, where this operation does not run. Copy it to the CPU first.";
    assert_eq!(span.f32s().unwrap_err(), sentence);
    assert_eq!(span.expect_host().unwrap_err(), sentence);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| span.bytes().len())).is_err());
}

#[test]
fn operands_lie_on_one_device() {
    let machine = Machine::new();
    let (here, host) = (machine.tensor(DType::F32, 3), Span::new(DType::F32, 3).unwrap());
    let there = machine.other().empty(DType::F32, 3).unwrap();
    assert!(Arc::ptr_eq(common([&here, &here]).unwrap().unwrap(), &machine.on));
    assert!(common([&host, &host]).unwrap().is_none() && accelerator_of(&host).is_none());
    let refused = |spans: [&Span; 2]| common(spans).err().unwrap();
    assert_eq!(refused([&here, &host]), "one tensor lies on cuda:0, another on the CPU. Copy one to where the other is.");
    assert_eq!(refused([&host, &here]), "one tensor lies on the CPU, another on cuda:0. Copy one to where the other is.");
    assert_eq!(refused([&here, &there]), "one tensor lies on cuda:0, another on cuda:1. Copy one to where the other is.");
}

#[test]
fn what_is_read_and_written_together_is_copied_apart() {
    let machine = Machine::new();
    let whole = machine.tensor(DType::F32, 20);
    let (target, source) = (whole.alias(0, 10).unwrap(), whole.alias(5, 10).unwrap());
    let copy = apart(&target, source).unwrap();
    assert!(!copy.overlaps(&whole));
    assert_eq!(machine.log_of(&["copy"]), ["copy 40 within the device in stream 1"]);
    let same = apart(&target, whole.alias(10, 10).unwrap()).unwrap();
    assert_eq!(same.as_ptr(), whole.alias(10, 10).unwrap().as_ptr());
}

#[test]
fn more_than_there_is_is_one_sentence() {
    let machine = Machine::new();
    let refused = machine.on.empty(DType::F32, 1 << 30).err().unwrap();
    assert!(refused.contains("out of memory: 4294967296 bytes were asked for"), "{refused}");
    assert!(machine.on.empty(DType::F64, usize::MAX / 4).err().unwrap().contains("out of memory"));
}

#[test]
fn what_a_kernel_refuses_is_told_where_the_host_reads_next() {
    let machine = Machine::new();
    let (weight, index) = (machine.tensor(DType::F32, 12), machine.on.upload(DType::I32, &[0; 8]).unwrap());
    let table = |partial| kernels::embedding::Table { start: 0, rows: 4, cols: 3, partial };
    let y = ops::embedding::embedding(&machine.on, &weight, &index, table(true)).unwrap();
    let mut out = vec![0; 24];
    machine.forget();
    machine.on.read(&y, &mut out).unwrap();
    assert_eq!(machine.log_of(&["copy"]), ["copy 24 to the host in stream 4"], "a partial table refuses nothing");
    let y = ops::embedding::embedding(&machine.on, &weight, &index, table(false)).unwrap();
    machine.forget();
    machine.on.read(&y, &mut out).unwrap();
    assert_eq!(machine.log_of(&["copy"]), ["copy 32 to the host in stream 4", "copy 24 to the host in stream 4"]);
    // Kernels do not run here: what one would have written is put there by hand.
    let y = ops::embedding::embedding(&machine.on, &weight, &index, table(false)).unwrap();
    machine.on.refuse_for_test(5);
    let sentence = "embedding: the token at position 5 is outside the table, as was found since the last read. Check the tokens.";
    assert_eq!(machine.on.read(&y, &mut out).unwrap_err(), sentence);
    machine.on.read(&y, &mut out).unwrap();
}
