use super::*;
use crate::stored::rounding::{bits, random};

fn gelu(v: f64) -> f64 {
    0.5 * v * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v * v * v)).tanh())
}

fn values(len: usize, scale: f32) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 % 1999) as f32 / 1000.0 - 1.0) * scale).collect()
}

#[test]
fn forward_and_backward_match_the_formula() {
    for (rows, cols) in [(1, 1), (3, 5), (70, 33), (130, 64)] {
        let (x, bias, grad) = (values(rows * cols, 6.0), values(cols, 0.5), values(rows * cols, 2.0));
        let (mut y, mut dx, mut d_bias) = (vec![0.0; rows * cols], vec![0.0; rows * cols], vec![1.0; cols]);
        bias_gelu(&x, &bias, rows, cols, &mut y).unwrap();
        bias_gelu_backward([&x, &grad], &bias, [rows, cols], &mut dx, Some(&mut d_bias), true).unwrap();
        let mut sums = vec![1.0; cols];
        for i in 0..rows * cols {
            let v = f64::from(x[i]) + f64::from(bias[i % cols]);
            let slope = (gelu(v + 1e-5) - gelu(v - 1e-5)) / 2e-5;
            assert!((f64::from(y[i]) - gelu(v)).abs() < 2e-6, "gelu({v}) is not {}", y[i]);
            assert!((f64::from(dx[i]) - f64::from(grad[i]) * slope).abs() < 4e-6, "gelu'({v}) is not {}", dx[i] / grad[i]);
            sums[i % cols] += f64::from(dx[i]);
        }
        assert!(d_bias.iter().zip(sums).all(|(got, want)| (f64::from(*got) - want).abs() < 1e-4));
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let (rows, cols) = (500, 77);
    let (x, bias, grad) = (values(rows * cols, 4.0), values(cols, 0.5), values(rows * cols, 2.0));
    let run = |threads| {
        pool::set_threads(threads);
        let (mut y, mut dx, mut d_bias) = (vec![0.0; rows * cols], vec![0.0; rows * cols], vec![0.0; cols]);
        bias_gelu(&x, &bias, rows, cols, &mut y).unwrap();
        bias_gelu_backward([&x, &grad], &bias, [rows, cols], &mut dx, Some(&mut d_bias), false).unwrap();
        (y, dx, d_bias)
    };
    let one = run(1);
    assert!([2, 3, 7].into_iter().all(|threads| run(threads) == one));
}

#[test]
fn large_values_saturate_and_nan_is_carried() {
    let x = [40.0, -40.0, 1e10, -1e10, f32::NAN];
    let mut y = [0.0; 5];
    bias_gelu(&x, &[0.0; 5], 1, 5, &mut y).unwrap();
    assert_eq!(y[..4], [40.0, 0.0, 1e10, 0.0]);
    assert!(y[4].is_nan());
    let mut dx = [0.0; 5];
    bias_gelu_backward([&x[..], &[1.0; 5]], &[0.0; 5], [1, 5], &mut dx, None, false).unwrap();
    assert_eq!(dx[..4], [1.0, 0.0, 1.0, 0.0]);
    assert!(dx[4].is_nan());
}

#[test]
fn empty_matrices_are_fine_and_wrong_lengths_are_refused() {
    bias_gelu::<f32>(&[], &[], 3, 0, &mut []).unwrap();
    let mut d_bias = [2.0];
    bias_gelu_backward::<f32>([&[], &[]], &[0.0], [0, 1], &mut [], Some(&mut d_bias), false).unwrap();
    assert_eq!(d_bias, [0.0]);
    assert!(bias_gelu(&[0.0; 4], &[0.0; 3], 2, 2, &mut [0.0; 4]).unwrap_err().contains("bias has 3 values"));
}

#[test]
fn bf16_rows_give_the_f32_results_of_their_values_rounded_once() {
    for (rows, cols) in [(1, 1), (70, 33), (9, 768)] {
        let ((x16, x), (grad16, grad), bias) = (random(rows * cols, 1), random(rows * cols, 2), random(cols, 3).1);
        let (mut y, mut y16) = (vec![0.0; rows * cols], vec![0u16; rows * cols]);
        bias_gelu(&x, &bias, rows, cols, &mut y).unwrap();
        bias_gelu(&x16, &bias, rows, cols, &mut y16).unwrap();
        assert_eq!(y16, bits(&y));
        let (mut sums, mut sums16) = (vec![1.0; cols], vec![1.0; cols]);
        bias_gelu_backward([&x, &grad], &bias, [rows, cols], &mut y, Some(&mut sums), true).unwrap();
        bias_gelu_backward([&x16, &grad16], &bias, [rows, cols], &mut y16, Some(&mut sums16), true).unwrap();
        assert!(y16 == bits(&y) && sums16 == sums, "[{rows}, {cols}]");
    }
}
