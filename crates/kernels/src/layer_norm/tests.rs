use super::*;

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104729) % 1999) as f32 / 1000.0 - 1.0).collect()
}

/// The formula in f64: y of one row.
fn norm(x: &[f64], w: &[f32], b: &[f32], eps: f64) -> Vec<f64> {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
    x.iter().zip(w.iter().zip(b)).map(|(x, (w, b))| (x - mean) / (variance + eps).sqrt() * f64::from(*w) + f64::from(*b)).collect()
}

#[test]
fn rows_are_normalised() {
    for (rows, cols) in [(1, 1), (3, 7), (40, 33), (9, 768), (2, 3000)] {
        let (x, w, b) = (values(rows * cols, 1), values(cols, 2), values(cols, 3));
        let (mut y, mut stats) = (vec![0.0; rows * cols], vec![0.0; rows * 2]);
        layer_norm([&x, &w, &b], [rows, cols], 1e-5, &mut y, &mut stats).unwrap();
        for i in 0..rows {
            let row: Vec<f64> = x[i * cols..(i + 1) * cols].iter().map(|x| f64::from(*x)).collect();
            for (got, want) in y[i * cols..].iter().zip(norm(&row, &w, &b, 1e-5)) {
                assert!((f64::from(*got) - want).abs() < 3e-6, "[{rows}, {cols}] row {i}: {got}, not {want}");
            }
        }
    }
}

#[test]
fn gradients_are_those_of_the_formula() {
    let (rows, cols) = (37, 19);
    let (x, w, b, grad) = (values(rows * cols, 1), values(cols, 2), values(cols, 3), values(rows * cols, 4));
    let (mut y, mut stats, mut dx) = (vec![0.0; rows * cols], vec![0.0; rows * 2], vec![0.0; rows * cols]);
    let (mut d_w, mut d_b) = (vec![1.0; cols], vec![1.0; cols]);
    layer_norm([&x, &w, &b], [rows, cols], 1e-5, &mut y, &mut stats).unwrap();
    let gradients = Gradients { d_w: Some(&mut d_w), d_b: Some(&mut d_b), accumulate_w: true, accumulate_b: false };
    layer_norm_backward([&grad, &x, &w, &stats], [rows, cols], &mut dx, gradients).unwrap();

    let loss = |i: usize, j: usize, step: f64| -> f64 {
        let mut row: Vec<f64> = x[i * cols..(i + 1) * cols].iter().map(|x| f64::from(*x)).collect();
        row[j] += step;
        norm(&row, &w, &b, 1e-5).iter().zip(&grad[i * cols..]).map(|(y, g)| y * f64::from(*g)).sum()
    };
    for (i, j) in [(0, 0), (5, 18), (36, 7)] {
        let want = (loss(i, j, 1e-5) - loss(i, j, -1e-5)) / 2e-5;
        assert!((f64::from(dx[i * cols + j]) - want).abs() < 1e-5, "dx[{i}, {j}] = {}, not {want}", dx[i * cols + j]);
    }
    for j in 0..cols {
        let column = |f: &dyn Fn(usize) -> f64| (0..rows).map(|i| f(i) * f64::from(grad[i * cols + j])).sum::<f64>();
        let want = column(&|i| (f64::from(x[i * cols + j]) - f64::from(stats[2 * i])) * f64::from(stats[2 * i + 1]));
        assert!((f64::from(d_w[j]) - 1.0 - want).abs() < 1e-5 && (f64::from(d_b[j]) - column(&|_| 1.0)).abs() < 1e-5);
    }
}

#[test]
fn a_large_mean_does_not_spoil_the_variance() {
    let x: Vec<f32> = (0..64).map(|i| 4096.0 + (i % 2) as f32).collect();
    let (mut y, mut stats) = (vec![0.0; 64], vec![0.0; 2]);
    layer_norm([&x, &[1.0; 64], &[0.0; 64]], [1, 64], 0.0, &mut y, &mut stats).unwrap();
    assert_eq!(stats, [4096.5, 2.0]);
    assert!(y.iter().enumerate().all(|(i, y)| *y == (i % 2) as f32 * 2.0 - 1.0));
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let (rows, cols) = (300, 130);
    let (x, w, b, grad) = (values(rows * cols, 1), values(cols, 2), values(cols, 3), values(rows * cols, 4));
    let run = |threads| {
        pool::set_threads(threads);
        let (mut y, mut stats, mut dx) = (vec![0.0; rows * cols], vec![0.0; rows * 2], vec![0.0; rows * cols]);
        let (mut d_w, mut d_b) = (vec![0.0; cols], vec![0.0; cols]);
        layer_norm([&x, &w, &b], [rows, cols], 1e-5, &mut y, &mut stats).unwrap();
        let gradients = Gradients { d_w: Some(&mut d_w), d_b: Some(&mut d_b), ..Default::default() };
        layer_norm_backward([&grad, &x, &w, &stats], [rows, cols], &mut dx, gradients).unwrap();
        (y, stats, dx, d_w, d_b)
    };
    let one = run(1);
    assert!([2, 3, 7].into_iter().all(|threads| run(threads) == one));
}

#[test]
fn nan_stays_in_its_row_and_empty_shapes_are_fine() {
    let x = [1.0, f32::NAN, 1.0, 2.0];
    let (mut y, mut stats) = ([0.0; 4], [0.0; 4]);
    layer_norm([&x, &[1.0; 2], &[0.0; 2]], [2, 2], 1e-5, &mut y, &mut stats).unwrap();
    assert!(y[0].is_nan() && y[1].is_nan() && y[2].is_finite() && y[3].is_finite());
    layer_norm([&[], &[], &[]], [3, 0], 1e-5, &mut [], &mut [1.0; 6]).unwrap();
    layer_norm([&[], &[1.0], &[1.0]], [0, 1], 1e-5, &mut [], &mut []).unwrap();
    assert!(layer_norm([&x, &[1.0; 3], &[0.0; 2]], [2, 2], 1e-5, &mut y, &mut stats).unwrap_err().contains("w has 3 values"));
}
