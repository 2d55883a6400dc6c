//! Element by element, and moves.

use crate::machine::{Machine, arguments, head};
use device::ops;
use kernels::gather::Extents;
use kernels::layout::Layout;
use kernels::random::Distribution;
use kernels::reduce::Plan;
use storage::{DType, Span};

/// Fails unless the only launch is this one.
fn expect(machine: &Machine, launch: &str, with: &str) {
    let launches = machine.launches();
    assert_eq!(launches.len(), 1, "{launches:?}");
    assert_eq!((head(&launches[0]), arguments(&launches[0])), (launch, with));
}

fn one(dtype: DType, value: f64) -> Span {
    let one = Span::new(dtype, 1).unwrap();
    kernels::fill::fill(&one, value).unwrap();
    one
}

#[test]
fn a_fill_is_told_the_bits_and_zeros_are_set_by_the_driver() {
    let machine = Machine::new();
    let y = machine.tensor(DType::BF16, 5000);
    ops::fill::fill(&machine.on, &y, 1.0).unwrap();
    expect(&machine, "launch fill grid 3x1x1 block 256x1x1 shared 0 in stream 1", "length=5000 bits=16256 y=#2+0");
    ops::fill::fill(&machine.on, &y.alias(1, 10).unwrap(), 0.0).unwrap();
    assert_eq!(machine.log_of(&["fill 20", "launch"])[1..], ["fill 20 with 0 in stream 1"]);
    machine.forget();
    machine.expect_no_leak(|| ops::fill::filled(&machine.on, DType::I64, 3, -1.0).unwrap());
    assert!(arguments(&machine.launches()[0]).starts_with("length=3 bits=18446744073709551615"));
}

#[test]
fn unary_operations_and_their_gradients() {
    let machine = Machine::new();
    let x = machine.tensor(DType::F32, 1025);
    let y = ops::unary::unary(&machine.on, 8, &x.alias(1, 1024).unwrap()).unwrap();
    expect(&machine, "launch unary grid 1x1x1 block 256x1x1 shared 0 in stream 1", "length=1024 code=8 x=#2+4 y=#3+0");
    machine.forget();
    ops::unary::unary_backward(&machine.on, 8, &x.alias(0, 1024).unwrap(), &y).unwrap();
    let with = "length=1024 code=8 saved=#2+0 grad=#3+0 out=#4+0";
    expect(&machine, "launch unary_backward grid 1x1x1 block 256x1x1 shared 0 in stream 1", with);
    assert!(ops::unary::unary(&machine.on, 13, &x).unwrap_err().contains("op code 13 is unknown"));
    assert!(ops::unary::unary_backward(&machine.on, 1, &x, &y).unwrap_err().contains("not the shape [1025]"));
    let wide = machine.tensor(DType::F64, 4);
    let sentence = "on a CUDA device this operation has kernels for f32, bf16, f16, not for f64. Cast first, or use the CPU.";
    assert_eq!(ops::unary::unary(&machine.on, 1, &wide).unwrap_err(), sentence);
}

#[test]
fn binary_operations_are_told_how_to_walk() {
    let machine = Machine::new();
    let (a, b) = (machine.tensor(DType::I64, 12), machine.tensor(DType::I64, 4));
    let layout = Layout::<2>::new(&[3, 4], [&[4, 1], &[0, 1]], [0, 0]).unwrap();
    ops::binary::binary(&machine.on, 2, &a, &b, &layout).unwrap();
    let walk = "[3x4]by[4x1,0x1,0x0]from[0,0,0]";
    let with = format!("length=12 code=2 walk={walk} a=#2+0 b=#3+0 c=#4+0");
    expect(&machine, "launch binary grid 1x1x1 block 256x1x1 shared 0 in stream 1", &with);
    assert!(ops::binary::binary(&machine.on, 3, &a, &b, &layout).unwrap_err().contains("neither div nor pow"));
    assert!(ops::binary::binary(&machine.on, 2, &b, &a, &layout).unwrap_err().contains("leave operand 0 of 4"));
    machine.forget();
    ops::compare::compare(&machine.on, 4, &a, &b, &layout).unwrap();
    expect(
        &machine,
        "launch compare grid 1x1x1 block 256x1x1 shared 0 in stream 1",
        &format!("length=12 code=4 walk={walk} a=#2+0 b=#3+0 c=#5+0"),
    );
}

#[test]
fn a_number_is_handed_over_unless_it_stands_on_the_left_of_what_cannot_be_exchanged() {
    let machine = Machine::new();
    let x = machine.tensor(DType::BF16, 10);
    ops::binary::binary_scalar(&machine.on, 0, &x, &one(DType::F32, 0.1), true).unwrap();
    expect(&machine, "launch binary_scalar grid 1x1x1 block 256x1x1 shared 0 in stream 1", "length=10 code=0 scalar=0.1 a=#2+0 c=#3+0");
    machine.forget();
    // Computed in f32 and rounded once.
    machine.expect_no_leak(|| ops::binary::binary_scalar(&machine.on, 3, &x, &one(DType::F32, 0.1), true).unwrap());
    let names: Vec<String> = machine.launches().iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(names, ["cast", "binary", "cast"]);
    assert!(arguments(&machine.launches()[1]).contains("walk=[10]by[0,1,0]from[0,0,0]"));
    let whole = machine.tensor(DType::I32, 4);
    machine.forget();
    ops::binary::binary_scalar(&machine.on, 1, &whole, &one(DType::I32, -7.0), false).unwrap();
    assert!(arguments(&machine.launches()[0]).contains("scalar=-7 "));
    machine.forget();
    machine.expect_no_leak(|| ops::compare::compare_scalar(&machine.on, 2, &x, &one(DType::F32, 0.1)).unwrap());
    assert!(arguments(&machine.launches()[1]).contains("walk=[10]by[1,0,0]from[0,0,0]"));
}

#[test]
fn a_selection_reads_three_tensors() {
    let machine = Machine::new();
    let (cond, a, b) = (machine.tensor(DType::U8, 6), machine.tensor(DType::F16, 6), machine.tensor(DType::F16, 1));
    let layout = Layout::<3>::new(&[6], [&[1], &[1], &[0]], [0, 0, 0]).unwrap();
    ops::select::select(&machine.on, [&cond, &a, &b], &layout).unwrap();
    let with = "length=6 walk=[6]by[1,1,0]from[0,0,0] cond=#2+0 a=#3+0 b=#4+0 y=#5+0";
    expect(&machine, "launch select grid 1x1x1 block 256x1x1 shared 0 in stream 1", with);
    assert!(ops::select::select(&machine.on, [&a, &a, &b], &layout).unwrap_err().contains("cond is of f16 where u8 is needed"));
}

#[test]
fn a_copy_casts_where_the_types_differ() {
    let machine = Machine::new();
    let (x, y) = (machine.tensor(DType::F32, 9), machine.tensor(DType::F32, 9));
    ops::cast::copy_into(&machine.on, &y, &x).unwrap();
    assert_eq!((machine.launches().len(), machine.log_of(&["copy"])), (0, vec!["copy 36 within the device in stream 1".to_owned()]));
    ops::cast::cast(&machine.on, &x, DType::I64).unwrap();
    expect(&machine, "launch cast grid 1x1x1 block 256x1x1 shared 0 in stream 1", "length=9 target=5 x=#2+0 y=#4+0");
    assert!(ops::cast::copy_into(&machine.on, &y, &x.alias(0, 3).unwrap()).unwrap_err().contains("not the shape [3]"));
}

#[test]
fn scaled_sums_read_their_factor_from_memory() {
    let machine = Machine::new();
    let (dst, src) = (machine.tensor(DType::F32, 9), machine.tensor(DType::BF16, 9));
    machine.forget();
    machine.expect_no_leak(|| ops::axpy::axpy(&machine.on, &dst, -1.0, &src).unwrap());
    let bits = (-1.0f32).to_bits();
    assert!(machine.log_of(&["fill 1 words"]).contains(&format!("fill 1 words with {bits} in stream 1")));
    expect(&machine, "launch axpy grid 1x1x1 block 256x1x1 shared 0 in stream 1", "length=9 alpha=#4+0 src=#3+0 dst=#2+0");
    machine.forget();
    ops::axpy::scale(&machine.on, &dst, 0.5).unwrap();
    assert_eq!(arguments(&machine.launches()[0]), "length=9 alpha=#5+0 src=#2+0 dst=#2+0");
    assert!(ops::axpy::axpy(&machine.on, &src, 1.0, &dst).unwrap_err().contains("kernels for f32, bf16, f16, bf16-f32, f16-f32"));
}

#[test]
fn random_numbers_are_told_their_place_in_the_whole() {
    let machine = Machine::new();
    let y = machine.tensor(DType::F32, 12);
    let places = Layout::<2>::new(&[3, 4], [&[4, 1], &[9, 1]], [0, 70]).unwrap();
    ops::random::fill_random(&machine.on, &y, Distribution::Normal { mean: 0.5, std: 2.0 }, &places, [7, 8]).unwrap();
    let with = "length=12 walk=[3x4]by[4x1,9x1,0x0]from[0,70,0] kind=1 a=0.5 b=2 key0=7 key1=8 y=#2+0";
    expect(&machine, "launch fill_random grid 1x1x1 block 256x1x1 shared 0 in stream 1", with);
    let beyond = Layout::<2>::new(&[3, 5], [&[5, 1], &[9, 1]], [0, 0]).unwrap();
    let distribution = Distribution::Uniform { from: 0.0, to: 1.0 };
    assert!(ops::random::fill_random(&machine.on, &y, distribution, &beyond, [7, 8]).unwrap_err().contains("leave operand 0"));
}

#[test]
fn views_are_gathered_and_scattered_by_two_walks() {
    let machine = Machine::new();
    let (x, view) = (machine.tensor(DType::I32, 40), Layout::<1>::new(&[2, 3, 4], [&[10, 0, 1]], [5]).unwrap());
    ops::strided::gather_view(&machine.on, &x, &view).unwrap();
    let with = "length=24 walk=[2x3x4]by[10x0x1,0x0x0,0x0x0]from[5,0,0] x=#2+0 y=#3+0";
    expect(&machine, "launch gather_view grid 1x1x1 block 256x1x1 shared 0 in stream 1", with);
    let src = machine.tensor(DType::I32, 24);
    machine.forget();
    ops::strided::scatter_set(&machine.on, &x, &src, &view).unwrap();
    let walks = "kept=[2x4]by[10x1,12x1,0x0]from[5,0,0] repeats=[3]by[0,4,0]from[0,0,0]";
    let with = format!("kept_length=8 repeats_length=3 {walks} src=#4+0 dst=#2+0");
    expect(&machine, "launch scatter_set grid 1x1x1 block 256x1x1 shared 0 in stream 1", &with);
    machine.forget();
    ops::strided::scatter_add(&machine.on, &x, &src, &view).unwrap();
    expect(&machine, "launch scatter_add grid 1x1x1 block 256x1x1 shared 0 in stream 1", &with);
    assert!(ops::strided::scatter_add(&machine.on, &x, &x, &view).unwrap_err().contains("the source has 40 values"));
}

#[test]
fn indices_are_brought_inside_before_they_are_used() {
    let machine = Machine::new();
    let extents = Extents { outer: 2, dim_x: 5, dim_index: 3, inner: 7 };
    let (x, index) = (machine.tensor(DType::F64, 70), machine.tensor(DType::I32, 42));
    machine.forget();
    machine.expect_no_leak(|| ops::gather::gather(&machine.on, &x, &index, extents).unwrap());
    let lines: Vec<String> = machine.launches().iter().map(|line| arguments(line).to_owned()).collect();
    assert_eq!(
        lines,
        [
            "length=42 dim_x=5 index=#3+0 bad=#1+8",
            "length=42 code=5 scalar=0 a=#3+0 c=#5+0",
            "length=42 code=6 scalar=4 a=#5+0 c=#5+0",
            "length=42 dim_x=5 dim_index=3 inner=7 x=#2+0 index=#5+0 y=#4+0"
        ]
    );
    let src = machine.tensor(DType::F64, 42);
    machine.forget();
    machine.expect_no_leak(|| ops::gather::gather_add(&machine.on, &x, [&index, &src], extents).unwrap());
    let last = machine.launches().pop().unwrap();
    assert_eq!(head(&last), "launch gather_add grid 1x1x1 block 256x1x1 shared 0 in stream 1");
    assert_eq!(arguments(&last), "length=14 dim_x=5 dim_index=3 inner=7 index=#7+0 src=#6+0 dst=#2+0");
    let nothing = Extents { dim_x: 0, ..extents };
    assert!(ops::gather::gather(&machine.on, &machine.tensor(DType::F32, 0), &index, nothing).unwrap_err().contains("a dim of 0"));
    assert!(ops::gather::gather(&machine.on, &x, &x, extents).unwrap_err().contains("the index is of f64 where i32 is needed"));
}

#[test]
fn reductions_go_along_what_lies_dense_and_finish_in_order() {
    let machine = Machine::new();
    let x = machine.tensor(DType::F32, 40_000 * 3);
    let plan = |dims: [u32; 2], mask: [u32; 2]| Plan::parse(&[2, dims[0], dims[1], mask[0], mask[1]]).unwrap();
    machine.forget();
    machine.expect_no_leak(|| ops::reduce::reduce(&machine.on, 1, &x, &plan([3, 40_000], [0, 1])).unwrap());
    let lines = machine.launches();
    assert_eq!(head(&lines[0]), "launch reduce_rows grid 6x1x1 block 256x1x1 shared 0 in stream 1");
    let walks = "kept=[3]by[40000,0,0]from[0,0,0] reduced=[40000]by[1,0,0]from[0,0,0]";
    assert_eq!(arguments(&lines[0]), format!("chunks=2 chunk_length=32768 reduced_length=40000 code=1 {walks} x=#2+0 partials=#3+0"));
    assert_eq!(arguments(&lines[1]), "results=3 chunks=2 code=1 divisor=40000 partials=#3+0 y=#4+0");
    machine.forget();
    machine.expect_no_leak(|| ops::reduce::reduce(&machine.on, 2, &x, &plan([3, 40_000], [1, 0])).unwrap());
    let lines = machine.launches();
    assert_eq!(head(&lines[0]), "launch reduce_columns grid 157x1x1 block 256x1x1 shared 0 in stream 1");
    assert!(arguments(&lines[0]).starts_with("results=40000 chunks=1 chunk_length=512 reduced_length=3 code=2 "));
    assert!(arguments(&lines[1]).contains("code=2 divisor=1 "));
    assert!(ops::reduce::reduce(&machine.on, 4, &x, &plan([3, 40_000], [1, 0])).unwrap_err().contains("op code 4"));
    let empty = machine.tensor(DType::F32, 0);
    assert!(ops::reduce::reduce(&machine.on, 3, &empty, &plan([2, 0], [0, 1])).unwrap_err().contains("of no elements"));
}

#[test]
fn a_unit_is_compiled_once() {
    let machine = Machine::new();
    let x = machine.tensor(DType::F32, 4);
    (0..3).for_each(|_| _ = ops::unary::unary(&machine.on, 1, &x).unwrap());
    ops::unary::unary(&machine.on, 1, &machine.tensor(DType::BF16, 4)).unwrap();
    assert_eq!((machine.log_of(&["load module"]).len(), machine.on.stats().unwrap().launches), (2, 4));
}
