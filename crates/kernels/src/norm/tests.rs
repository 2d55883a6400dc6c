use super::*;
use crate::stored::rounding::{bits, random};

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104729) % 1999) as f32 / 1000.0 - 1.0).collect()
}

const KINDS: [Kind; 2] = [Kind::Layer, Kind::Rms];

/// The formula in f64: y of one row.
fn formula(kind: Kind, x: &[f64], w: &[f32], b: &[f32], eps: f64) -> Vec<f64> {
    let mean = if kind == Kind::Layer { x.iter().sum::<f64>() / x.len() as f64 } else { 0.0 };
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
    let shift = |b: &f32| if kind == Kind::Layer { f64::from(*b) } else { 0.0 };
    x.iter().zip(w.iter().zip(b)).map(|(x, (w, b))| (x - mean) / (variance + eps).sqrt() * f64::from(*w) + shift(b)).collect()
}

/// A norm of `x` alone: y and stats.
fn alone(kind: Kind, [x, w, b]: [&[f32]; 3], [rows, cols]: [usize; 2], eps: f32) -> [Vec<f32>; 2] {
    let (mut y, mut stats) = (vec![0.0; rows * cols], vec![0.0; rows * 2]);
    let inputs = Inputs { x, bias: None, residual: None, w, b: (kind == Kind::Layer).then_some(b) };
    norm(kind, inputs, [rows, cols], eps, Outputs { sum: None, y: &mut y, stats: &mut stats }).unwrap();
    [y, stats]
}

/// With bias and residual added first: sum, y and stats.
fn fused(kind: Kind, [x, bias, residual, w, b]: [&[f32]; 5], [rows, cols]: [usize; 2]) -> [Vec<f32>; 3] {
    let (mut sum, mut y, mut stats) = (vec![0.0; rows * cols], vec![0.0; rows * cols], vec![0.0; rows * 2]);
    let inputs = Inputs { x, bias: Some(bias), residual: Some(residual), w, b: (kind == Kind::Layer).then_some(b) };
    norm(kind, inputs, [rows, cols], 1e-5, Outputs { sum: Some(&mut sum), y: &mut y, stats: &mut stats }).unwrap();
    [sum, y, stats]
}

/// dx, dW, dB and dBias, the last three from 0.
fn backward(kind: Kind, saved: Saved<f32>, [rows, cols]: [usize; 2]) -> [Vec<f32>; 4] {
    let mut dx = vec![0.0; rows * cols];
    let [mut d_w, mut d_b, mut d_bias] = [(); 3].map(|()| vec![0.0; cols]);
    let into = |sums| Some(Sums { sums, accumulate: false });
    let gradients = Gradients { d_w: into(&mut d_w), d_b: into(&mut d_b), d_bias: into(&mut d_bias) };
    norm_backward(kind, saved, [rows, cols], &mut dx, gradients).unwrap();
    [dx, d_w, d_b, d_bias]
}

#[test]
fn rows_are_normalised() {
    for (rows, cols) in [(1, 1), (3, 7), (40, 33), (9, 768), (2, 3000)] {
        let (x, w, b) = (values(rows * cols, 1), values(cols, 2), values(cols, 3));
        for kind in KINDS {
            let [y, _] = alone(kind, [&x, &w, &b], [rows, cols], 1e-5);
            for i in 0..rows {
                let row: Vec<f64> = x[i * cols..(i + 1) * cols].iter().map(|x| f64::from(*x)).collect();
                for (got, want) in y[i * cols..].iter().zip(formula(kind, &row, &w, &b, 1e-5)) {
                    assert!((f64::from(*got) - want).abs() < 3e-6, "{kind:?} [{rows}, {cols}] row {i}: {got}, not {want}");
                }
            }
        }
    }
}

#[test]
fn a_sum_is_normalised_as_if_it_had_been_added_before() {
    let (rows, cols) = (37, 50);
    let (x, bias, residual) = (values(rows * cols, 1), values(cols, 2), values(rows * cols, 3));
    let (w, b) = (values(cols, 4), values(cols, 5));
    let added: Vec<f32> = (0..rows * cols).map(|i| residual[i] + (x[i] + bias[i % cols])).collect();
    for kind in KINDS {
        let [sum, y, stats] = fused(kind, [&x, &bias, &residual, &w, &b], [rows, cols]);
        assert!(sum == added && [y, stats] == alone(kind, [&added, &w, &b], [rows, cols], 1e-5), "{kind:?}");
    }
}

#[test]
fn gradients_are_those_of_the_formula() {
    let (rows, cols) = (37, 19);
    let (x, w, b, grad) = (values(rows * cols, 1), values(cols, 2), values(cols, 3), values(rows * cols, 4));
    let carried = values(rows * cols, 5);
    for kind in KINDS {
        let [_, stats] = alone(kind, [&x, &w, &b], [rows, cols], 1e-5);
        let saved = Saved { grad: &grad, x: &x, w: &w, stats: &stats, carried: Some(&carried) };
        let [dx, d_w, d_b, d_bias] = backward(kind, saved, [rows, cols]);
        let loss = |i: usize, j: usize, step: f64| -> f64 {
            let mut row: Vec<f64> = x[i * cols..(i + 1) * cols].iter().map(|x| f64::from(*x)).collect();
            row[j] += step;
            formula(kind, &row, &w, &b, 1e-5).iter().zip(&grad[i * cols..]).map(|(y, g)| y * f64::from(*g)).sum()
        };
        for (i, j) in [(0, 0), (5, 18), (36, 7)] {
            let want = (loss(i, j, 1e-5) - loss(i, j, -1e-5)) / 2e-5 + f64::from(carried[i * cols + j]);
            let got = dx[i * cols + j];
            assert!((f64::from(got) - want).abs() < 1e-5, "{kind:?} dx[{i}, {j}] = {got}, not {want}");
        }
        for j in 0..cols {
            let column = |f: &dyn Fn(usize) -> f64| (0..rows).map(f).sum::<f64>();
            let g = |i: usize| f64::from(grad[i * cols + j]);
            let want = column(&|i| g(i) * (f64::from(x[i * cols + j]) - f64::from(stats[2 * i])) * f64::from(stats[2 * i + 1]));
            assert!((f64::from(d_w[j]) - want).abs() < 1e-5);
            assert!(kind == Kind::Rms || (f64::from(d_b[j]) - column(&g)).abs() < 1e-5);
            assert!((f64::from(d_bias[j]) - column(&|i| f64::from(dx[i * cols + j]))).abs() < 1e-5);
        }
    }
}

#[test]
fn what_is_carried_is_added_to_the_gradient_and_sums_are_added_where_asked() {
    let (rows, cols) = (40, 21);
    let (x, w, b, grad, carried) = (values(840, 1), values(cols, 2), values(cols, 3), values(840, 4), values(840, 5));
    for kind in KINDS {
        let [_, stats] = alone(kind, [&x, &w, &b], [rows, cols], 1e-5);
        let saved = Saved { grad: &grad, x: &x, w: &w, stats: &stats, carried: None };
        let [plain, d_w, ..] = backward(kind, saved, [rows, cols]);
        let [dx, ..] = backward(kind, Saved { carried: Some(&carried), ..saved }, [rows, cols]);
        assert!(dx.iter().zip(&plain).zip(&carried).all(|((dx, plain), carried)| *dx == plain + carried));
        let (mut again, mut only_w) = (vec![0.0; rows * cols], vec![1.0; cols]);
        let gradients = Gradients { d_w: Some(Sums { sums: &mut only_w, accumulate: true }), ..Default::default() };
        norm_backward(kind, saved, [rows, cols], &mut again, gradients).unwrap();
        assert!(again == plain && only_w.iter().zip(d_w).all(|(got, want)| *got == 1.0 + want));
    }
}

#[test]
fn a_large_mean_does_not_spoil_the_variance() {
    let x: Vec<f32> = (0..64).map(|i| 4096.0 + (i % 2) as f32).collect();
    let [y, stats] = alone(Kind::Layer, [&x, &[1.0; 64], &[0.0; 64]], [1, 64], 0.0);
    assert_eq!(stats, [4096.5, 2.0]);
    assert!(y.iter().enumerate().all(|(i, y)| *y == (i % 2) as f32 * 2.0 - 1.0));
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let (rows, cols) = (300, 130);
    let (x, bias, residual) = (values(rows * cols, 1), values(cols, 2), values(rows * cols, 3));
    let (w, b, grad) = (values(cols, 4), values(cols, 5), values(rows * cols, 6));
    for kind in KINDS {
        let run = |threads| {
            pool::set_threads(threads);
            let [sum, y, stats] = fused(kind, [&x, &bias, &residual, &w, &b], [rows, cols]);
            let saved = Saved { grad: &grad, x: &sum, w: &w, stats: &stats, carried: Some(&residual) };
            (backward(kind, saved, [rows, cols]), sum, y, stats)
        };
        let one = run(1);
        assert!([2, 3, 7].into_iter().all(|threads| run(threads) == one), "{kind:?}");
    }
}

#[test]
fn nan_stays_in_its_row_and_empty_shapes_are_fine() {
    let x = [1.0, f32::NAN, 1.0, 2.0];
    for kind in KINDS {
        let [y, _] = alone(kind, [&x, &[1.0; 2], &[0.0; 2]], [2, 2], 1e-5);
        assert!(y[1].is_nan() && y[2].is_finite() && y[3].is_finite());
        alone(kind, [&[], &[], &[]], [3, 0], 1e-5);
        alone(kind, [&[], &[1.0], &[1.0]], [0, 1], 1e-5);
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let inputs = Inputs { x: &[1.0; 4], bias: None, residual: None, w: &[1.0; 2], b: Some(&[0.0; 2]) };
    let refused = |kind, inputs, sum: Option<&mut [f32]>| {
        norm(kind, inputs, [2, 2], 0.0, Outputs { sum, y: &mut [0.0; 4], stats: &mut [0.0; 4] }).unwrap_err()
    };
    assert!(refused(Kind::Layer, Inputs { w: &[1.0; 3], ..inputs }, None).contains("w has 3 values"));
    assert!(refused(Kind::Layer, Inputs { residual: Some(&[0.0; 3]), ..inputs }, Some(&mut [0.0; 4])).contains("residual has 3"));
    assert!(refused(Kind::Rms, inputs, None).contains("belongs to a layer norm"));
    assert!(refused(Kind::Layer, inputs, Some(&mut [0.0; 4])).contains("Pass it in that case"));
    assert!(Kind::of(2).unwrap_err().contains("kind 2 is unknown"));
}

#[test]
fn bf16_rows_give_the_f32_norm_of_their_values_rounded_once() {
    for ((rows, cols), kind) in [(1, 1), (37, 50), (9, 768), (70, 33)].into_iter().zip([Kind::Layer, Kind::Rms].into_iter().cycle()) {
        let (size, shape) = (rows * cols, [rows, cols]);
        let ((x16, x), (residual16, residual)) = (random(size, 1), random(size, 2));
        let (bias, w, b) = (values(cols, 3), values(cols, 4), values(cols, 5));
        let shift = (kind == Kind::Layer).then_some(&b[..]);
        let (mut sum16, mut y16, mut stats16) = (vec![0u16; size], vec![0u16; size], vec![0.0; 2 * rows]);
        let inputs = Inputs { x: &x16[..], bias: Some(&bias), residual: Some(&residual16), w: &w, b: shift };
        norm(kind, inputs, shape, 1e-5, Outputs { sum: Some(&mut sum16), y: &mut y16, stats: &mut stats16 }).unwrap();
        // The sum is rounded, then that sum is normalised.
        let added = bits(&fused(kind, [&x, &bias, &residual, &w, &b], shape)[0]);
        let stored = crate::stored::rounding::widened(&added);
        let [y, stats] = alone(kind, [&stored, &w, &b], shape, 1e-5);
        assert!(sum16 == added && y16 == bits(&y) && stats16 == stats, "{kind:?} [{rows}, {cols}]");

        let ((grad16, grad), (carried16, carried)) = (random(size, 6), random(size, 7));
        let want = backward(kind, Saved { grad: &grad, x: &stored, w: &w, stats: &stats, carried: Some(&carried) }, shape);
        let mut dx16 = vec![0u16; size];
        let mut sums = [(); 3].map(|()| vec![0.0; cols]);
        let [d_w, d_b, d_bias] = sums.each_mut().map(|sums| Some(Sums { sums, accumulate: false }));
        let saved = Saved { grad: &grad16[..], x: &sum16, w: &w, stats: &stats16, carried: Some(&carried16) };
        norm_backward(kind, saved, shape, &mut dx16, Gradients { d_w, d_b, d_bias }).unwrap();
        assert!(dx16 == bits(&want[0]) && sums[..] == want[1..], "{kind:?} [{rows}, {cols}]");
    }
}
