use super::*;
use crate::stored::rounding::{bits, random};

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104729) % 1999) as f32 / 400.0 - 2.5).collect()
}

const GATES: [Gate; 2] = [Gate::Silu, Gate::Gelu];

/// The formula in f64: y of one element.
fn formula(gate: Gate, v: f64, u: f64) -> f64 {
    let inner = match gate {
        Gate::Silu => v,
        Gate::Gelu => 2.0 * (2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v * v * v),
    };
    v / (1.0 + (-inner).exp()) * u
}

#[test]
fn values_and_gradients_are_those_of_the_formula() {
    for (gate, (rows, cols)) in GATES.into_iter().flat_map(|gate| [(1, 1), (5, 7), (70, 33)].map(|sizes| (gate, sizes))) {
        let (x, bias, grad) = (values(2 * rows * cols, 1), values(2 * cols, 2), values(rows * cols, 3));
        let (mut y, mut dx) = (vec![0.0; rows * cols], vec![0.0; 2 * rows * cols]);
        let mut d_bias = vec![1.0; 2 * cols];
        bias_gated(gate, &x, Some(&bias), [rows, cols], &mut y).unwrap();
        bias_gated_backward(gate, [&x, &grad], Some(&bias), [rows, cols], &mut dx, Some((&mut d_bias, true))).unwrap();
        let mut sums = vec![1.0; 2 * cols];
        for (i, j) in (0..rows * cols).map(|place| (place / cols, place % cols)) {
            let v = f64::from(x[2 * i * cols + j]) + f64::from(bias[j]);
            let u = f64::from(x[(2 * i + 1) * cols + j]) + f64::from(bias[cols + j]);
            let (g, step) = (f64::from(grad[i * cols + j]), 1e-6);
            let close = |got: f32, want: f64| (f64::from(got) - want).abs() < 1e-5 * (1.0 + want.abs());
            assert!(close(y[i * cols + j], formula(gate, v, u)), "{gate:?} y[{i}, {j}]");
            let slope = (formula(gate, v + step, u) - formula(gate, v - step, u)) / (2.0 * step);
            assert!(close(dx[2 * i * cols + j], g * slope), "{gate:?} dg[{i}, {j}]");
            assert!(close(dx[(2 * i + 1) * cols + j], g * formula(gate, v, 1.0)), "{gate:?} du[{i}, {j}]");
            sums[j] += f64::from(dx[2 * i * cols + j]);
            sums[cols + j] += f64::from(dx[(2 * i + 1) * cols + j]);
        }
        assert!(d_bias.iter().zip(sums).all(|(got, want)| (f64::from(*got) - want).abs() < 1e-4));
    }
}

#[test]
fn a_missing_bias_is_zero_and_unwanted_sums_are_left_out() {
    let (rows, cols) = (9, 20);
    let (x, grad, zeros) = (values(360, 1), values(180, 2), vec![0.0; 40]);
    for gate in GATES {
        let run = |bias: Option<&[f32]>| {
            let (mut y, mut dx) = (vec![0.0; rows * cols], vec![0.0; 2 * rows * cols]);
            bias_gated(gate, &x, bias, [rows, cols], &mut y).unwrap();
            bias_gated_backward(gate, [&x, &grad], bias, [rows, cols], &mut dx, None).unwrap();
            (y, dx)
        };
        assert!(run(None) == run(Some(&zeros)));
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let (rows, cols) = (300, 70);
    let (x, bias, grad) = (values(2 * rows * cols, 1), values(2 * cols, 2), values(rows * cols, 3));
    for gate in GATES {
        let run = |threads| {
            pool::set_threads(threads);
            let (mut y, mut dx, mut d_bias) = (vec![0.0; rows * cols], vec![0.0; 2 * rows * cols], vec![0.0; 2 * cols]);
            bias_gated(gate, &x, Some(&bias), [rows, cols], &mut y).unwrap();
            bias_gated_backward(gate, [&x, &grad], Some(&bias), [rows, cols], &mut dx, Some((&mut d_bias, false))).unwrap();
            (y, dx, d_bias)
        };
        let one = run(1);
        assert!([2, 3, 7].into_iter().all(|threads| run(threads) == one));
    }
}

#[test]
fn empty_sizes_are_fine_and_wrong_lengths_are_refused() {
    bias_gated::<f32>(Gate::Silu, &[], None, [3, 0], &mut []).unwrap();
    bias_gated_backward::<f32>(Gate::Gelu, [&[], &[]], None, [0, 4], &mut [], Some((&mut [1.0; 8], false))).unwrap();
    let error = bias_gated(Gate::Silu, &[0.0; 4], Some(&[0.0; 3]), [1, 2], &mut [0.0; 2]).unwrap_err();
    assert!(error.contains("bias has 3 values, which is not the shape [2, 2]"));
    assert!(Gate::of(2).unwrap_err().contains("gate 2 is unknown"));
}

#[test]
fn bf16_rows_give_the_f32_results_of_their_values_rounded_once() {
    for (gate, (rows, cols)) in [Gate::Silu, Gate::Gelu].into_iter().zip([(70, 33), (9, 384)]) {
        let ((x16, x), (grad16, grad), bias) = (random(2 * rows * cols, 1), random(rows * cols, 2), random(2 * cols, 3).1);
        let (mut y, mut y16) = (vec![0.0; rows * cols], vec![0u16; rows * cols]);
        bias_gated(gate, &x, Some(&bias), [rows, cols], &mut y).unwrap();
        bias_gated(gate, &x16, Some(&bias), [rows, cols], &mut y16).unwrap();
        assert_eq!(y16, bits(&y));
        let (mut dx, mut dx16) = (vec![0.0; 2 * rows * cols], vec![0u16; 2 * rows * cols]);
        let (mut sums, mut sums16) = (vec![1.0; 2 * cols], vec![1.0; 2 * cols]);
        bias_gated_backward(gate, [&x, &grad], Some(&bias), [rows, cols], &mut dx, Some((&mut sums, true))).unwrap();
        bias_gated_backward(gate, [&x16, &grad16], Some(&bias), [rows, cols], &mut dx16, Some((&mut sums16, true))).unwrap();
        assert!(dx16 == bits(&dx) && sums16 == sums, "{gate:?}");
    }
}
