//! Row by row, and sums over rows.

use crate::machine::{Machine, arguments, head};
use device::ops::sum_rows::{Sums, sum_rows};
use device::ops::{bias_add, bias_gated, bias_gelu, dropout, embedding, norm, rotary};
use kernels::bias_gated::Gate;
use kernels::embedding::Table;
use kernels::norm::Kind;
use kernels::random::Dropout;
use kernels::rotary::Rotary;
use storage::DType;

/// Names of what was launched.
fn names(machine: &Machine) -> Vec<String> {
    machine.launches().iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn a_bias_and_a_residual_may_be_missing_and_are_then_null() {
    let machine = Machine::new();
    let [x, residual] = [0, 0].map(|_| machine.tensor(DType::BF16, 6 * 300));
    let bias = machine.tensor(DType::BF16, 300);
    machine.forget();
    machine.expect_no_leak(|| bias_add::bias_add(&machine.on, &x, Some(bias.clone()), &Some(residual.clone()), [6, 300]).unwrap());
    let line = &machine.launches()[0];
    assert_eq!(head(line), "launch bias_add grid 6x1x1 block 64x1x1 shared 0 in stream 1");
    assert_eq!(arguments(line), "cols=300 x=#2+0 bias=#4+0 residual=#3+0 y=#5+0");
    machine.forget();
    machine.expect_no_leak(|| bias_add::bias_add(&machine.on, &x, None, &None, [6, 300]).unwrap());
    assert_eq!(arguments(&machine.launches()[0]), "cols=300 x=#2+0 bias=null residual=null y=#6+0");
    let refused = bias_add::bias_add(&machine.on, &x, Some(bias), &None, [3, 600]).unwrap_err();
    assert!(refused.contains("the bias has 300 values"), "{refused}");
}

#[test]
fn vectors_are_widened_where_there_is_no_kernel_for_their_type() {
    let machine = Machine::new();
    let compile = |x: DType, bias: DType| {
        let (x, bias) = (machine.tensor(x, 8), machine.tensor(bias, 4));
        machine.forget();
        machine.expect_no_leak(|| bias_gelu::bias_gelu(&machine.on, &x, bias.clone(), [2, 4]).unwrap());
        names(&machine)
    };
    assert_eq!(compile(DType::F32, DType::F32), ["bias_gelu"]);
    assert_eq!(compile(DType::BF16, DType::F32), ["bias_gelu"]);
    assert_eq!(compile(DType::F32, DType::BF16), ["cast", "bias_gelu"]);
    assert_eq!(compile(DType::F16, DType::BF16), ["cast", "bias_gelu"]);
}

#[test]
fn the_gradient_of_a_bias_is_summed_over_chunks_of_rows_in_their_order() {
    let machine = Machine::new();
    let [x, grad] = [0, 0].map(|_| machine.tensor(DType::F32, 100 * 520));
    let (bias, sums) = (machine.tensor(DType::F32, 520), machine.tensor(DType::F32, 520));
    machine.forget();
    let target = Sums { target: &sums, accumulate: true };
    machine.expect_no_leak(|| bias_gelu::bias_gelu_backward(&machine.on, [&x, &grad], bias.clone(), [100, 520], Some(target)).unwrap());
    let lines = machine.launches();
    // Four chunks of 32 rows, each of three tiles of 64 slots of 4 columns.
    assert_eq!(head(&lines[0]), "launch bias_gelu_backward grid 12x1x1 block 64x1x1 shared 0 in stream 1");
    assert_eq!(arguments(&lines[0]), "rows=100 cols=520 rows_per_chunk=32 x=#2+0 bias=#4+0 grad=#3+0 dx=#6+0 partials=#7+0");
    assert_eq!(head(&lines[1]), "launch sum_partials grid 3x1x1 block 256x1x1 shared 0 in stream 1");
    assert_eq!(arguments(&lines[1]), "cols=520 chunks=4 stride=520 accumulate=1 partials=#7+0 sums=#5+0");
    machine.forget();
    machine.expect_no_leak(|| bias_gelu::bias_gelu_backward(&machine.on, [&x, &grad], bias.clone(), [100, 520], None).unwrap());
    assert!(names(&machine) == ["bias_gelu_backward"] && arguments(&machine.launches()[0]).ends_with("partials=null"));
    machine.forget();
    machine.expect_no_leak(|| sum_rows(&machine.on, &x, [100, 520], Sums { target: &sums, accumulate: false }).unwrap());
    let lines = machine.launches();
    assert!(arguments(&lines[0]).starts_with("rows=100 cols=520 rows_per_chunk=32 x=#2+0"));
    assert!(arguments(&lines[1]).contains("accumulate=0"));
    let short = sums.alias(0, 500).unwrap();
    let refused = sum_rows(&machine.on, &x, [100, 520], Sums { target: &short, accumulate: false }).unwrap_err();
    assert!(refused.contains("the sums has 500 values"), "{refused}");
}

#[test]
fn gated_rows_are_twice_as_wide_as_their_results() {
    let machine = Machine::new();
    let (x, grad) = (machine.tensor(DType::F32, 40 * 12), machine.tensor(DType::F32, 40 * 6));
    let (bias, sums) = (machine.tensor(DType::F32, 12), machine.tensor(DType::F32, 12));
    machine.forget();
    machine.expect_no_leak(|| bias_gated::bias_gated(&machine.on, Gate::Gelu, &x, None, [40, 6]).unwrap());
    let line = &machine.launches()[0];
    assert_eq!(head(line), "launch bias_gated grid 40x1x1 block 32x1x1 shared 0 in stream 1");
    assert!(arguments(line).starts_with("cols=6 gate=1 x=#2+0 bias=null y="));
    machine.forget();
    let target = Some(Sums { target: &sums, accumulate: false });
    machine.expect_no_leak(|| {
        bias_gated::bias_gated_backward(&machine.on, Gate::Silu, ([&x, &grad], Some(bias.clone())), [40, 6], target).unwrap()
    });
    let lines = machine.launches();
    assert!(arguments(&lines[0]).starts_with("rows=40 cols=6 rows_per_chunk=32 gate=0 x=#2+0 bias=#4+0 grad=#3+0"));
    assert!(arguments(&lines[1]).starts_with("cols=12 chunks=2 stride=12 accumulate=0"));
    assert!(machine.log_of(&["allocate"]).iter().any(|line| line.contains("of 96 in stream")), "partials of 2 chunks of 12");
}

#[test]
fn a_norm_keeps_its_sum_only_where_something_is_added() {
    let machine = Machine::new();
    let [x, residual] = [0, 0].map(|_| machine.tensor(DType::BF16, 3 * 5000));
    let [w, b] = [0, 0].map(|_| machine.tensor(DType::F32, 5000));
    let inputs = |residual, b| norm::Inputs { x: x.clone(), bias: None, residual, w: w.clone(), b };
    machine.forget();
    machine.expect_no_leak(|| {
        let made = norm::norm(&machine.on, Kind::Layer, inputs(None, Some(b.clone())), [3, 5000], 1e-5).unwrap();
        assert!(made.sum.is_none());
    });
    let line = &machine.launches()[0];
    assert_eq!(head(line), "launch norm_forward grid 3x1x1 block 256x1x1 shared 0 in stream 1");
    assert_eq!(arguments(line), "cols=5000 kind=0 eps=0.00001 x=#2+0 bias=null residual=null w=#4+0 b=#5+0 sum=null y=#6+0 stats=#7+0");
    machine.forget();
    machine.expect_no_leak(|| {
        let made = norm::norm(&machine.on, Kind::Rms, inputs(Some(residual.clone()), None), [3, 5000], 1e-5).unwrap();
        assert!(made.sum.is_some());
    });
    assert!(arguments(&machine.launches()[0]).contains("kind=1") && !arguments(&machine.launches()[0]).contains("sum=null"));
    let refused = norm::norm(&machine.on, Kind::Rms, inputs(None, Some(b.clone())), [3, 5000], 1e-5).err().unwrap();
    assert!(refused.contains("b belongs to a layer norm"));
}

#[test]
fn a_norms_backward_asks_for_the_shared_memory_that_its_sums_need() {
    let machine = Machine::new();
    let backward = |cols: usize| {
        let [grad, x] = [0, 0].map(|_| machine.tensor(DType::F32, 300 * cols));
        let (w, stats, sums) = (machine.tensor(DType::F32, cols), machine.tensor(DType::F32, 600), machine.tensor(DType::F32, cols));
        let of = Some(Sums { target: &sums, accumulate: false });
        machine.forget();
        machine.expect_no_leak(|| {
            let saved = norm::Saved { grad: &grad, x: &x, w: w.clone(), stats: &stats, carried: None };
            norm::norm_backward(&machine.on, Kind::Layer, saved, [300, cols], [of, None, None]).unwrap()
        });
        (machine.launches(), machine.log_of(&["attribute"]))
    };
    let (lines, attributes) = backward(512);
    assert_eq!(head(&lines[0]), "launch norm_backward grid 150x1x1 block 32x1x1 shared 6144 in stream 1");
    assert!(arguments(&lines[0]).starts_with("rows=300 cols=512 rows_per_block=2 kind=0 sums_in_shared=1"));
    assert!(arguments(&lines[1]).starts_with("cols=512 chunks=150 stride=1536 accumulate=0"));
    assert_eq!((lines.len(), attributes.len()), (2, 0));
    // More than 48 KiB are asked for by the function's attribute (8).
    let (lines, attributes) = backward(5000);
    assert!(head(&lines[0]).contains("shared 60000 "), "{lines:?}");
    assert_eq!(attributes, ["attribute 8 of norm_backward is 60000"]);
    // More than there is: the sums grow in memory of the device.
    let (lines, _) = backward(9000);
    assert!(head(&lines[0]).contains("shared 0 ") && arguments(&lines[0]).contains("sums_in_shared=0"));
}

#[test]
fn each_wanted_sum_of_a_norms_backward_is_at_its_own_place() {
    let machine = Machine::new();
    let [grad, x, carried] = [0, 0, 0].map(|_| machine.tensor(DType::F32, 4 * 8));
    let (w, stats, all) = (machine.tensor(DType::F32, 8), machine.tensor(DType::F32, 8), machine.tensor(DType::F32, 24));
    let parts = [0, 1, 2].map(|number| all.alias(8 * number, 8).unwrap());
    let sums = [0, 1, 2].map(|number| Some(Sums { target: &parts[number], accumulate: number == 1 }));
    machine.forget();
    let saved = norm::Saved { grad: &grad, x: &x, w, stats: &stats, carried: Some(carried) };
    norm::norm_backward(&machine.on, Kind::Layer, saved, [4, 8], sums).unwrap();
    let told: Vec<String> = machine.launches()[1..].iter().map(|line| arguments(line).to_owned()).collect();
    let line = |first: usize, accumulate: u32, target: usize| {
        format!("cols=8 chunks=4 stride=24 accumulate={accumulate} partials=#9+{} sums=#7+{}", 4 * first, 4 * target)
    };
    assert_eq!(told, [line(0, 0, 0), line(8, 1, 8), line(16, 0, 16)]);
}

#[test]
fn embeddings_look_up_and_add_up() {
    let machine = Machine::new();
    let (weight, index, grad) = (machine.tensor(DType::F16, 50), machine.tensor(DType::I32, 7), machine.tensor(DType::F16, 70));
    let table = |partial| Table { start: 20, rows: 5, cols: 10, partial };
    machine.forget();
    embedding::embedding(&machine.on, &weight, &index, table(true)).unwrap();
    embedding::embedding(&machine.on, &weight, &index, table(false)).unwrap();
    let lines = machine.launches();
    assert_eq!(head(&lines[0]), "launch embedding grid 7x1x1 block 32x1x1 shared 0 in stream 1");
    assert_eq!(arguments(&lines[0]), "cols=10 start=20 rows=5 weight=#2+0 index=#3+0 y=#5+0 bad=null");
    assert!(arguments(&lines[1]).ends_with("bad=#1+0"));
    let (wide, narrow) = (machine.tensor(DType::F32, 50), machine.tensor(DType::F16, 50));
    for (dst, accumulate, kernel, clears) in
        [(&wide, true, "embedding_backward", 0), (&wide, false, "embedding_backward", 1), (&narrow, false, "embedding_gradient", 1)]
    {
        machine.forget();
        machine.expect_no_leak(|| embedding::embedding_backward(&machine.on, [&index, &grad], dst, table(true), accumulate).unwrap());
        assert_eq!((names(&machine), machine.log_of(&["fill"]).len()), (vec![kernel.to_owned()], clears));
    }
    let refused = embedding::embedding_backward(&machine.on, [&index, &grad], &narrow, table(true), true).unwrap_err();
    assert!(refused.contains("dst is of f16 where f32 is needed"), "{refused}");
}

#[test]
fn a_dropout_is_told_what_to_draw_in_memory() {
    let machine = Machine::new();
    let x = machine.tensor(DType::F32, 2 * 3 * 8);
    let how = Dropout::new(0.25, [5, 6], [7, 0]).unwrap();
    let extents = kernels::dropout::Extents { seq: 2, batch: 3, cols: 8, first_token: 9 };
    machine.forget();
    machine.expect_no_leak(|| dropout::dropout(&machine.on, (&x, None, &None), extents, &how).unwrap());
    let words: Vec<String> = machine.log_of(&["fill 1 words"]);
    assert_eq!(words, ["5", "6", "7", "0"].map(|word| format!("fill 1 words with {word} in stream 1")));
    let line = &machine.launches()[0];
    assert_eq!(head(line), "launch dropout grid 6x1x1 block 32x1x1 shared 0 in stream 1");
    let factor = (1.0 / 0.75) as f32;
    let told = format!("batch=3 cols=8 first_token=9 threshold=1073741824 factor={factor} draw=#3+0 x=#2+0 bias=null residual=null y=#4+0");
    assert_eq!(arguments(line), told);
}

#[test]
fn rotary_positions_are_brought_inside_the_table() {
    let machine = Machine::new();
    let shape = Rotary { seq: 2, batch: 3, heads: 4, key_heads: 1, head_dim: 7, rotated: 6, interleaved: true, back: true };
    let (x, table, positions) = (machine.tensor(DType::F32, 252), machine.tensor(DType::F32, 60), Some(machine.tensor(DType::I32, 6)));
    machine.forget();
    machine.expect_no_leak(|| rotary::rotary(&machine.on, &x, &table, &None, &shape).unwrap());
    let told = "pairs=144 batch=3 heads=6 turned_heads=5 head_dim=7 rotated=6 interleaved=1 direction=-1 table=#3+0 positions=null x=#2+0";
    assert!(arguments(&machine.launches()[0]).starts_with(told));
    machine.forget();
    machine.expect_no_leak(|| rotary::rotary(&machine.on, &x, &table, &positions, &shape).unwrap());
    assert_eq!(names(&machine), ["gather_check", "binary_scalar", "binary_scalar", "rotary"]);
    assert!(arguments(&machine.launches()[0]).contains("length=6 dim_x=10 index=#4+0 bad=#1+16"));
    let long = Rotary { seq: 11, batch: 1, heads: 1, key_heads: 0, head_dim: 6, ..shape };
    let refused = rotary::rotary(&machine.on, &machine.tensor(DType::F32, 66), &table, &None, &long).unwrap_err();
    assert!(refused.contains("11 positions are more than the 10 of the table"), "{refused}");
}
