//! Row by row, and sums over the rows.

use crate::device::{Argument, Argument::*, Device, NULL, device};
use crate::memory::{Float, Memory, values};
use kernels::bias_gated::Gate;
use kernels::cuda::geometry::{rows_per_block, rows_per_chunk, shared_for_sums};
use kernels::norm::{Gradients, Inputs, Kind, Outputs, Saved, Sums};
use kernels::{bias_add, bias_gated, bias_gelu, norm, sum_rows};

/// A variant with the types of its activations and of its vectors.
const PAIRS: [(&str, Float, Float); 5] = [
    ("f32", Float::F32, Float::F32),
    ("bf16", Float::Bf16, Float::Bf16),
    ("f16", Float::F16, Float::F16),
    ("bf16-f32", Float::Bf16, Float::F32),
    ("f16-f32", Float::F16, Float::F32),
];

/// Rows of whole slots, rows that begin anywhere, one column, and enough rows for several chunks.
const SHAPES: [[usize; 2]; 5] = [[3, 64], [5, 37], [70, 1], [100, 136], [2, 2600]];

/// Adds the partial sums of chunks, as the text does for one target.
fn total(partials: &Memory, first: usize, [cols, chunks, stride]: [usize; 3], sums: &Memory, accumulate: bool) {
    let Pointer(start) = partials.argument() else { unreachable!() };
    let from = Pointer(start.wrapping_byte_add(4 * first));
    let counts = [cols, chunks, stride].map(|count| U64(count as u64));
    let arguments = [counts[0], counts[1], counts[2], U32(accumulate.into()), from, sums.argument()];
    device("sum_rows", "f32").launch("sum_partials", &[cols as u64], &arguments);
}

fn run(device: &Device, kernel: &str, [rows, cols]: [usize; 2], arguments: &[Argument]) {
    device.launch(kernel, &[rows as u64, cols as u64], arguments);
}

#[test]
fn additions_of_a_bias_and_a_residual_have_the_bits_of_the_cpu() {
    for (variant, float, vector) in PAIRS {
        for shape @ [rows, cols] in SHAPES {
            let (x, residual) = (float.rounded(&values(rows * cols, 1, 2.0)), float.rounded(&values(rows * cols, 2, 2.0)));
            let bias = vector.rounded(&values(cols, 3, 2.0));
            let [x_at, residual_at, bias_at] = [float.put(&x, 0), float.put(&residual, 0), vector.put(&bias, 0)];
            for (has_bias, has_residual) in [(true, true), (true, false), (false, true), (false, false)] {
                let (mut want, y) = (vec![0.0; rows * cols], float.room(rows * cols, 0));
                let (with_bias, with_residual) = (has_bias.then_some(&bias[..]), has_residual.then_some(&residual[..]));
                bias_add::bias_add(&x[..], with_bias, with_residual, shape, &mut want[..]).unwrap();
                let [bias_at, residual_at] =
                    [(has_bias, &bias_at), (has_residual, &residual_at)].map(|(has, at)| if has { at.argument() } else { NULL });
                let arguments = [U64(cols as u64), x_at.argument(), bias_at, residual_at, y.argument()];
                run(device("bias_add", variant), "bias_add", shape, &arguments);
                float.expect(&format!("bias add {shape:?}"), &float.get(&y), &want, 0.0, 0.0);
            }
        }
    }
}

/// Philox 4x32-10, written once more.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let (a, b) = (0xd251_1f53 * u64::from(counter[0]), 0xcd9e_8d57 * u64::from(counter[2]));
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

#[test]
fn a_dropout_draws_by_sample_token_and_channel() {
    let (seq, batch, cols, first_token, first_sample, key) = (5, 3, 70, 11, 4, [7, 9]);
    let (threshold, factor) = (1_300_000_000, 1.25f32);
    for (variant, float, vector) in PAIRS {
        let count = seq * batch * cols;
        let (x, residual) = (float.rounded(&values(count, 1, 2.0)), float.rounded(&values(count, 2, 2.0)));
        let bias = vector.rounded(&values(cols, 3, 1.0));
        let want: Vec<f32> = (0..count)
            .map(|i| {
                let (channel, sample, token) = (i % cols, i / cols % batch, i / cols / batch);
                let counter = [channel as u32 / 4, first_token + token as u32, 0, first_sample + sample as u32];
                let kept = if philox(counter, key)[channel % 4] < threshold { 0.0 } else { factor };
                residual[i] + (x[i] + bias[channel]) * kept
            })
            .collect();
        let draw = Memory::of(&[key[0], key[1], first_sample, 99], 0);
        let [x, residual, bias, y] = [float.put(&x, 0), float.put(&residual, 0), vector.put(&bias, 0), float.room(count, 0)];
        let [x, residual, bias, out] = [&x, &residual, &bias, &y].map(Memory::argument);
        let counts = [U64(batch as u64), U64(cols as u64), U32(first_token), U32(threshold), F32(factor)];
        let arguments = [&counts[..], &[draw.argument(), x, bias, residual, out]].concat();
        run(device("dropout", variant), "dropout", [seq * batch, cols], &arguments);
        float.expect("dropout", &float.get(&y), &want, 0.0, 0.0);
    }
}

/// The sums that the CPU adds to what was there.
fn begun(cols: usize) -> Vec<f32> {
    values(cols, 99, 1.0)
}

#[test]
fn gelu_with_a_bias_has_the_bits_of_the_cpu_forward_and_backward() {
    for (variant, float, vector) in PAIRS {
        let device = device("bias_gelu", variant);
        for shape @ [rows, cols] in SHAPES {
            let (x, grad) = (float.rounded(&values(rows * cols, 1, 4.0)), float.rounded(&values(rows * cols, 2, 1.0)));
            let bias = vector.rounded(&values(cols, 3, 1.0));
            let [x_at, grad_at, bias_at] = [float.put(&x, 0), float.put(&grad, 0), vector.put(&bias, 0)];
            let (mut want, y) = (vec![0.0; rows * cols], float.room(rows * cols, 0));
            bias_gelu::bias_gelu(&x[..], &bias, rows, cols, &mut want[..]).unwrap();
            run(device, "bias_gelu", shape, &[U64(cols as u64), x_at.argument(), bias_at.argument(), y.argument()]);
            float.expect("bias gelu", &float.get(&y), &want, 0.0, 0.0);

            let mut want_sums = begun(cols);
            bias_gelu::bias_gelu_backward([&x[..], &grad[..]], &bias, shape, &mut want[..], Some(&mut want_sums), true).unwrap();
            let chunk = rows_per_chunk(rows as u64);
            let chunks = rows.div_ceil(chunk as usize);
            let (partials, sums) = (Float::F32.room(chunks * cols, 0), Memory::of(&begun(cols), 0));
            let counts = [U64(rows as u64), U64(cols as u64), U64(chunk)];
            let places = [&x_at, &bias_at, &grad_at, &y, &partials].map(Memory::argument);
            run(device, "bias_gelu_backward", shape, &[&counts[..], &places].concat());
            total(&partials, 0, [cols, chunks, cols], &sums, true);
            float.expect("bias gelu backward", &float.get(&y), &want, 0.0, 0.0);
            Float::F32.expect("bias gelu dBias", &sums.get::<f32>(), &want_sums, 0.0, 0.0);
            run(device, "bias_gelu_backward", shape, &[&counts[..], &places[..4], &[NULL]].concat());
        }
    }
}

#[test]
fn gated_products_have_the_bits_of_the_cpu_forward_and_backward() {
    for (variant, float, vector) in PAIRS {
        let device = device("bias_gated", variant);
        for (shape @ [rows, cols], (code, gate), has_bias) in SHAPES.into_iter().flat_map(|shape| {
            [((0, Gate::Silu), true), ((1, Gate::Gelu), true), ((0, Gate::Silu), false)].map(|(gate, has_bias)| (shape, gate, has_bias))
        }) {
            let (x, grad) = (float.rounded(&values(2 * rows * cols, 1, 4.0)), float.rounded(&values(rows * cols, 2, 1.0)));
            let bias = vector.rounded(&values(2 * cols, 3, 1.0));
            let [x_at, grad_at, bias_at] = [float.put(&x, 0), float.put(&grad, 0), vector.put(&bias, 0)];
            let (bias, bias_place) = if has_bias { (Some(&bias[..]), bias_at.argument()) } else { (None, NULL) };
            let (mut want, y) = (vec![0.0; rows * cols], float.room(rows * cols, 0));
            bias_gated::bias_gated(gate, &x[..], bias, shape, &mut want[..]).unwrap();
            run(device, "bias_gated", shape, &[U64(cols as u64), U32(code), x_at.argument(), bias_place, y.argument()]);
            float.expect("bias gated", &float.get(&y), &want, 0.0, 0.0);

            let (mut want, mut want_sums) = (vec![0.0; 2 * rows * cols], begun(2 * cols));
            bias_gated::bias_gated_backward(gate, [&x[..], &grad[..]], bias, shape, &mut want[..], Some((&mut want_sums, true))).unwrap();
            let chunk = rows_per_chunk(rows as u64);
            let chunks = rows.div_ceil(chunk as usize);
            let (dx, partials) = (float.room(2 * rows * cols, 0), Float::F32.room(2 * chunks * cols, 0));
            let counts = [U64(rows as u64), U64(cols as u64), U64(chunk), U32(code), x_at.argument(), bias_place];
            let places = [&grad_at, &dx, &partials].map(Memory::argument);
            run(device, "bias_gated_backward", shape, &[&counts[..], &places].concat());
            let sums = Memory::of(&begun(2 * cols), 0);
            total(&partials, 0, [2 * cols, chunks, 2 * cols], &sums, true);
            float.expect("bias gated backward", &float.get(&dx), &want, 0.0, 0.0);
            Float::F32.expect("bias gated dBias", &sums.get::<f32>(), &want_sums, 0.0, 0.0);
        }
    }
}

#[test]
fn sums_over_rows_have_the_bits_of_the_cpu() {
    for (variant, float, _) in PAIRS.into_iter().take(3) {
        for (shape @ [rows, cols], accumulate) in SHAPES.into_iter().zip([true, false, true, false, true]) {
            let x = float.rounded(&values(rows * cols, 1, 4.0));
            let (mut want, sums) = (begun(cols), Memory::of(&begun(cols), 0));
            sum_rows::sum_rows(&x[..], rows, cols, &mut want, accumulate).unwrap();
            let chunk = rows_per_chunk(rows as u64);
            let chunks = rows.div_ceil(chunk as usize);
            let (x_at, partials) = (float.put(&x, 0), Float::F32.room(chunks * cols, 0));
            let counts = [U64(rows as u64), U64(cols as u64), U64(chunk), x_at.argument(), partials.argument()];
            run(device("sum_rows", variant), "sum_rows", shape, &counts);
            total(&partials, 0, [cols, chunks, cols], &sums, accumulate);
            Float::F32.expect("sum rows", &sums.get::<f32>(), &want, 0.0, 0.0);
        }
    }
}

/// One norm: what it normalises, and what the CPU makes of it.
struct Case {
    kind: Kind,
    shape: [usize; 2],
    /// x, residual, grad, carried.
    wide: [Vec<f32>; 4],
    /// bias, w, b.
    vectors: [Vec<f32>; 3],
}

impl Case {
    fn new(kind: Kind, shape: [usize; 2], float: Float, vector: Float) -> Case {
        let len = shape[0] * shape[1];
        let wide = [1, 2, 3, 4].map(|seed| float.rounded(&values(len, seed, 2.0)));
        Case { kind, shape, wide, vectors: [5, 6, 7].map(|seed| vector.rounded(&values(shape[1], seed, 2.0))) }
    }

    fn forward(&self, float: Float, is_fused: bool) -> [Vec<f32>; 3] {
        let ([rows, cols], [x, residual, ..], [bias, w, b]) = (self.shape, &self.wide, &self.vectors);
        let [mut sum, mut y, mut stats] = [rows * cols, rows * cols, 2 * rows].map(|len| vec![0.0; len]);
        if is_fused {
            bias_add::bias_add(&x[..], Some(&bias[..]), Some(&residual[..]), self.shape, &mut sum[..]).unwrap();
            sum = float.rounded(&sum);
        } else {
            sum.clone_from(x);
        }
        let b = (self.kind == Kind::Layer).then_some(&b[..]);
        let inputs = Inputs { x: &sum[..], bias: None, residual: None, w, b };
        norm::norm(self.kind, inputs, self.shape, 1e-5, Outputs { sum: None, y: &mut y, stats: &mut stats }).unwrap();
        [sum, y, stats]
    }
}

#[test]
fn norms_are_those_of_the_cpu_but_for_the_order_of_their_sums() {
    for (variant, float, vector) in PAIRS {
        for (kind, code, is_fused, shape) in [(Kind::Layer, 0, true), (Kind::Rms, 1, true), (Kind::Layer, 0, false), (Kind::Rms, 1, false)]
            .into_iter()
            .flat_map(|(kind, code, is_fused)| SHAPES.map(|shape| (kind, code, is_fused, shape)))
        {
            let ([rows, cols], case) = (shape, Case::new(kind, shape, float, vector));
            let [want_sum, want_y, want_stats] = case.forward(float, is_fused);
            let [x, residual, ..] = case.wide.each_ref().map(|values| float.put(values, 0));
            let [bias, w, b] = case.vectors.each_ref().map(|values| vector.put(values, 0));
            let [sum, y] = [0, 0].map(|_| float.room(rows * cols, 0));
            let stats = Float::F32.room(2 * rows, 0);
            let optional = |memory: &Memory| if is_fused { memory.argument() } else { NULL };
            let inputs = [x.argument(), optional(&bias), optional(&residual), w.argument(), b.argument()];
            let outputs = [optional(&sum), y.argument(), stats.argument()];
            let counts = [U64(cols as u64), U32(code), F32(1e-5)];
            run(device("norm", variant), "norm_forward", shape, &[&counts[..], &inputs, &outputs].concat());
            if is_fused {
                float.expect("sum of a norm", &float.get(&sum), &want_sum, 0.0, 0.0);
            }
            Float::F32.expect("stats of a norm", &stats.get::<f32>(), &want_stats, 4.0, 2e-7);
            float.expect("norm", &float.get(&y), &want_y, 1.0, 2e-6);
        }
    }
}

#[test]
fn backwards_of_norms_are_those_of_the_cpu_but_for_the_order_of_their_sums() {
    // The last has more columns than shared memory holds sums of.
    let shapes = [[3, 64], [5, 37], [300, 40], [2, 2600], [3, 8300]];
    for (variant, float, vector) in PAIRS {
        for (kind, code, shape) in
            [(Kind::Layer, 0), (Kind::Rms, 1)].into_iter().flat_map(|(kind, code)| shapes.map(|shape| (kind, code, shape)))
        {
            let ([rows, cols], case) = (shape, Case::new(kind, shape, float, vector));
            let ([x, _, grad, carried], w) = (&case.wide, &case.vectors[1]);
            let stats = case.forward(float, false)[2].clone();
            let (mut want, mut wanted) = (vec![0.0; rows * cols], [begun(cols), begun(cols), begun(cols)]);
            let [d_w, d_b, d_bias] = wanted.each_mut().map(|sums| Some(Sums { sums, accumulate: true }));
            let saved = Saved { grad: &grad[..], x: &x[..], w: &w[..], stats: &stats[..], carried: Some(&carried[..]) };
            let d_b = if kind == Kind::Layer { d_b } else { None };
            norm::norm_backward(kind, saved, shape, &mut want[..], Gradients { d_w, d_b, d_bias }).unwrap();

            let [x, _, grad, carried] = case.wide.each_ref().map(|values| float.put(values, 0));
            let (w, stats, dx) = (vector.put(w, 0), Memory::of(&stats, 0), float.room(rows * cols, 0));
            let each = rows_per_block(rows as u64);
            let blocks = rows.div_ceil(each as usize);
            let partials = Float::F32.room(3 * blocks * cols, 0);
            let in_shared = u32::from(shared_for_sums(cols as u64) > 0);
            let counts = [U64(rows as u64), U64(cols as u64), U64(each), U32(code), U32(in_shared)];
            let places = [&grad, &x, &w, &stats, &carried, &dx, &partials].map(Memory::argument);
            run(device("norm", variant), "norm_backward", shape, &[&counts[..], &places].concat());
            float.expect("norm backward", &float.get(&dx), &want, 1.0, 4e-6);
            for (number, want) in wanted.iter().enumerate() {
                if number == 1 && kind == Kind::Rms {
                    continue;
                }
                let sums = Memory::of(&begun(cols), 0);
                total(&partials, number * cols, [cols, blocks, 3 * cols], &sums, true);
                Float::F32.expect(&format!("sum {number} of a norm backward"), &sums.get::<f32>(), want, 0.0, 6e-7 * rows as f32 + 4e-6);
            }
        }
    }
}
