use super::*;
use crate::stored::rounding::{bits, random};

#[test]
fn what_is_there_is_added_bias_first() {
    // 2^24 + 1 is not representable: the order of the sums shows.
    let (x, bias, residual) = ([1.0, 2.0, 3.0, 4.0], [1.0, 10.0], [16_777_216.0, 0.0, 0.5, 1.0]);
    let run = |bias, residual| {
        let mut y = [0.0; 4];
        bias_add(&x, bias, residual, [2, 2], &mut y).unwrap();
        y
    };
    assert_eq!(run(Some(&bias[..]), Some(&residual[..])), [16_777_218.0, 12.0, 4.5, 15.0]);
    assert_eq!(run(Some(&bias[..]), None), [2.0, 12.0, 4.0, 14.0]);
    assert_eq!(run(None, Some(&residual[..])), [16_777_216.0, 2.0, 3.5, 5.0]);
    assert_eq!(run(None, None), x);
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads_and_wrong_lengths_are_refused() {
    let (rows, cols) = (500, 131);
    let x: Vec<f32> = (0..rows * cols).map(|i| (i * 7919 % 1999) as f32 / 1000.0).collect();
    let run = |threads| {
        pool::set_threads(threads);
        let mut y = vec![0.0; rows * cols];
        bias_add(&x, Some(&x[..cols]), Some(&x), [rows, cols], &mut y).unwrap();
        y
    };
    let one = run(1);
    assert!([2, 3, 7].into_iter().all(|threads| run(threads) == one));
    let error = bias_add(&x, Some(&x[..3]), None, [rows, cols], &mut vec![0.0; rows * cols]).unwrap_err();
    assert!(error.contains("bias has 3 values"));
    bias_add::<f32>(&[], None, None, [3, 0], &mut []).unwrap();
}

#[test]
fn bf16_rows_are_added_in_f32_and_rounded_once() {
    let ((x16, x), (residual16, residual), bias) = (random(7 * 43, 1), random(7 * 43, 2), random(43, 3).1);
    for parts in 0..4 {
        let bias = (parts & 1 != 0).then_some(&bias[..]);
        let with = parts & 2 != 0;
        let (mut y, mut y16) = (vec![0.0; 7 * 43], vec![0u16; 7 * 43]);
        bias_add(&x, bias, with.then_some(&residual[..]), [7, 43], &mut y).unwrap();
        bias_add(&x16, bias, with.then_some(&residual16[..]), [7, 43], &mut y16).unwrap();
        assert_eq!(y16, bits(&y));
    }
}
