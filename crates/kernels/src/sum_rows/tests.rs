use super::*;
use crate::pool;

#[test]
fn columns_are_summed_whatever_the_threads() {
    for (rows, cols) in [(1, 1), (3, 5), (32, 17), (33, 16), (1000, 300), (5000, 33), (4, 0)] {
        let x: Vec<f32> = (0..rows * cols).map(|i| ((i * 7919) % 1013) as f32 * 0.01 - 5.0).collect();
        let mut first = vec![1.0; cols];
        for threads in [1, 2, 3, 7] {
            pool::set_threads(threads);
            let mut dst = vec![1.0; cols];
            sum_rows(&x, rows, cols, &mut dst, true).unwrap();
            for (j, got) in dst.iter().enumerate() {
                let column = || (0..rows).map(|i| f64::from(x[i * cols + j]));
                let scale: f64 = column().map(f64::abs).sum();
                assert!((f64::from(*got) - column().sum::<f64>() - 1.0).abs() <= 1e-6 * scale + 1e-6, "[{rows}, {cols}] column {j}");
            }
            if threads == 1 {
                first.clone_from(&dst);
            }
            assert!(dst == first, "[{rows}, {cols}] with {threads} threads");
        }
    }
}

#[test]
fn no_rows_sum_to_zero_and_nan_stays_in_its_column() {
    let mut dst = [3.0, 4.0];
    sum_rows::<f32>(&[], 0, 2, &mut dst, true).unwrap();
    assert_eq!(dst, [3.0, 4.0]);
    sum_rows::<f32>(&[], 0, 2, &mut dst, false).unwrap();
    assert_eq!(dst, [0.0, 0.0]);
    sum_rows(&[1.0, f32::NAN, 2.0, 1.0], 2, 2, &mut dst, false).unwrap();
    assert!(dst[0] == 3.0 && dst[1].is_nan());
    assert!(sum_rows(&[0.0; 3], 2, 2, &mut dst, false).is_err());
}

#[test]
fn bf16_rows_are_summed_in_f32() {
    let (x16, x) = crate::stored::rounding::random(90 * 37, 1);
    let (mut sums, mut sums16) = (vec![1.0; 37], vec![1.0; 37]);
    sum_rows(&x, 90, 37, &mut sums, true).unwrap();
    sum_rows(&x16, 90, 37, &mut sums16, true).unwrap();
    assert_eq!(sums16, sums);
}
