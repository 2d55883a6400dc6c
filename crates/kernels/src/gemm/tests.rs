use super::*;
use crate::half::{bf16_to_f32, f32_to_bf16};
use crate::pool;

mod fuzz;

/// Every kernel that this CPU can run, with what it multiplies operands as.
fn engines() -> Vec<(Engine, Precision)> {
    let of = |precision| Engine::available(precision).into_iter().map(move |engine| (engine, precision));
    of(Precision::F32).chain(of(Precision::Bf16)).collect()
}

/// The product into f32 with a chosen kernel.
fn gemm_on((engine, precision): (Engine, Precision), a: Matrix, b: Matrix, c: MatrixMut, epilogue: Epilogue) -> Result<(), String> {
    let plain = Gemm { precision, accumulate: epilogue.accumulate, ..Gemm::new(a, b, c) };
    Gemm { bias: epilogue.bias.map(Values::F32), ..plain }.run_on(engine)
}

/// Values in [-1, 1) that look random and are the same every time.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// The sums in f64 of the operands as the precision multiplies them.
fn naive(precision: Precision, a: &Matrix, b: &Matrix) -> Vec<f64> {
    let at = |x: &Matrix, i: usize, j: usize| {
        let place = i * x.row_stride + j * x.col_stride;
        let value = match x.data {
            Values::F32(data) => data[place],
            Values::Bf16(data) => bf16_to_f32(data[place]),
        };
        f64::from(if precision == Precision::Bf16 { bf16_to_f32(f32_to_bf16(value)) } else { value })
    };
    (0..a.rows * b.cols).map(|x| (0..a.cols).map(|k| at(a, x / b.cols, k) * at(b, k, x % b.cols)).sum()).collect()
}

/// A matrix in memory of either order, with `gap` unused values after each line.
fn laid_out(data: &[f32], rows: usize, cols: usize, transposed: bool, gap: usize) -> Matrix<'_> {
    if transposed {
        Matrix { data: data.into(), rows, cols, row_stride: 1, col_stride: rows + gap }
    } else {
        Matrix { data: data.into(), rows, cols, row_stride: cols + gap, col_stride: 1 }
    }
}

const SHAPES: [[usize; 3]; 14] = [
    [1, 1, 1],
    [1, 33, 7],
    [5, 17, 16],
    [12, 32, 64],
    [13, 31, 65],
    [7, 100, 385],
    [97, 3, 40],
    [100, 70, 50],
    [193, 129, 33],
    [24, 520, 17],
    [200, 65, 400],
    [2, 3, 1200],
    [130, 40, 800],
    [64, 64, 256],
];

#[test]
fn every_kernel_multiplies_ragged_shapes_in_all_layouts() {
    for engine in engines() {
        for ([m, n, k], layout) in SHAPES.into_iter().flat_map(|shape| (0..4).map(move |layout| (shape, layout))) {
            let gap = (m + n + k) % 3;
            let (a_data, b_data) = (values((m + gap) * (k + gap), 1), values((k + gap) * (n + gap), 2));
            let a = laid_out(&a_data, m, k, layout & 1 != 0, gap);
            let b = laid_out(&b_data, k, n, layout & 2 != 0, gap);
            let (bias, old) = (values(n, 3), values(m * n, 4));
            let sums = naive(engine.1, &a, &b);
            for (accumulate, with_bias) in [(false, false), (true, false), (false, true), (true, true)] {
                let mut c = old.clone();
                let epilogue = Epilogue { bias: with_bias.then_some(&bias[..]), accumulate };
                gemm_on(engine, a, b, MatrixMut::dense(&mut c, m, n), epilogue).unwrap();
                for (x, (got, sum)) in c.iter().zip(&sums).enumerate() {
                    let want =
                        sum + f64::from(u8::from(accumulate)) * f64::from(old[x]) + f64::from(u8::from(with_bias)) * f64::from(bias[x % n]);
                    let close = (f64::from(*got) - want).abs() <= 2e-6 * (k as f64).sqrt() + 1e-6;
                    assert!(close, "{engine:?} [{m}, {n}, {k}] layout {layout} element {x}: {got} instead of {want}");
                }
            }
        }
    }
}

#[test]
fn matrices_without_a_dense_dim_are_read_by_their_strides() {
    let (m, n, k) = (15, 37, 21);
    let (a_data, b_data) = (values(m * k * 6, 1), values(k * n * 6, 2));
    let a = Matrix { data: Values::F32(&a_data), rows: m, cols: k, row_stride: 3 * k, col_stride: 2 };
    let b = Matrix { data: Values::F32(&b_data), rows: k, cols: n, row_stride: 2, col_stride: 3 * k };
    for engine in engines() {
        let mut c = vec![0.0; m * n];
        gemm_on(engine, a, b, MatrixMut::dense(&mut c, m, n), Epilogue::default()).unwrap();
        for (got, want) in c.iter().zip(naive(engine.1, &a, &b)) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{engine:?}: {got} instead of {want}");
        }
    }
}

#[test]
fn rows_of_c_keep_what_lies_between_them() {
    let (m, n, k, row_stride) = (14, 33, 9, 40);
    let (a, b) = (values(m * k, 1), values(k * n, 2));
    for engine in engines() {
        let mut c = vec![7.0; m * row_stride];
        let target = MatrixMut { data: ValuesMut::F32(&mut c), rows: m, cols: n, row_stride, col_stride: 1 };
        gemm_on(engine, Matrix::dense(&a, m, k), Matrix::dense(&b, k, n), target, Epilogue::default()).unwrap();
        assert!(c.iter().enumerate().all(|(x, value)| x % row_stride < n || *value == 7.0), "{engine:?}");
    }
}

/// The product of a `[m, k]` and b `[k, n]`, dense.
fn product(engine: (Engine, Precision), a: &[f32], b: &[f32], [m, n, k]: [usize; 3]) -> Vec<f32> {
    let mut c = vec![0.0; m * n];
    gemm_on(engine, Matrix::dense(a, m, k), Matrix::dense(b, k, n), MatrixMut::dense(&mut c, m, n), Epilogue::default()).unwrap();
    c
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let before = pool::threads();
    for engine in engines() {
        for [m, n, k] in [[300, 200, 500], [8, 900, 400], [50, 60, 3000]] {
            let (a, b) = (values(m * k, 5), values(k * n, 6));
            pool::set_threads(1);
            let one = product(engine, &a, &b, [m, n, k]);
            for threads in [2, 3, 7] {
                pool::set_threads(threads);
                assert!(one == product(engine, &a, &b, [m, n, k]), "{engine:?} [{m}, {n}, {k}] with {threads} threads");
            }
        }
    }
    pool::set_threads(before);
}

#[test]
fn bits_of_an_element_do_not_depend_on_m_n_or_its_place() {
    let [m, n, k] = [230, 150, 900];
    let (a, b) = (values(m * k, 7), values(k * n, 8));
    for engine in engines() {
        let whole = product(engine, &a, &b, [m, n, k]);
        for (first, rows) in [(0, 1), (3, 1), (5, 20), (100, 130), (229, 1)] {
            let part = product(engine, &a[first * k..(first + rows) * k], &b, [rows, n, k]);
            assert!(part == whole[first * n..(first + rows) * n], "{engine:?} rows {first}..{}", first + rows);
        }
        for (first, cols) in [(0, 1), (7, 33), (149, 1), (64, 70)] {
            let mut part = vec![0.0; m * cols];
            let b = Matrix { data: Values::F32(&b[first..]), rows: k, cols, row_stride: n, col_stride: 1 };
            gemm_on(engine, Matrix::dense(&a, m, k), b, MatrixMut::dense(&mut part, m, cols), Epilogue::default()).unwrap();
            let same = (0..m * cols).all(|x| part[x].to_bits() == whole[x / cols * n + first + x % cols].to_bits());
            assert!(same, "{engine:?} columns {first}..{}", first + cols);
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_layout_of_the_operands() {
    let [m, n, k] = [40, 70, 450];
    let (a, b) = (values(m * k, 9), values(k * n, 10));
    let flip = |x: &[f32], rows: usize, cols: usize| -> Vec<f32> { (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect() };
    let (a_flipped, b_flipped) = (flip(&a, m, k), flip(&b, k, n));
    for engine in engines() {
        let whole = product(engine, &a, &b, [m, n, k]);
        let mut c = vec![0.0; m * n];
        let (a, b) = (Matrix::dense(&a_flipped, k, m).t(), Matrix::dense(&b_flipped, n, k).t());
        gemm_on(engine, a, b, MatrixMut::dense(&mut c, m, n), Epilogue::default()).unwrap();
        assert!(c == whole, "{engine:?}");
    }
}

#[test]
fn slabs_of_b_do_not_change_the_bits() {
    // More than one slab both ways: k x n is beyond what is packed at a time.
    let [m, n, k] = [110, 2100, 2100];
    let (a, b) = (values(m * k, 11), values(k * n, 12));
    for precision in [Precision::F32, Precision::Bf16] {
        let engine = (Engine::of_this_process(precision), precision);
        let whole = product(engine, &a, &b, [m, n, k]);
        let row = product(engine, &a[..k], &b, [1, n, k]);
        assert!(row == whole[..n]);
        let column = Matrix { data: Values::F32(&b[n - 1..]), rows: k, cols: 1, row_stride: n, col_stride: 1 };
        let want = naive(precision, &Matrix::dense(&a[109 * k..], 1, k), &column)[0];
        assert!((f64::from(whole[m * n - 1]) - want).abs() < 1e-4);
    }
}

#[test]
fn empty_products_are_zero_plus_the_epilogue() {
    for engine in engines() {
        let mut c = [1.0, 2.0, 3.0, 4.0];
        let empty = Matrix::dense(&[], 2, 0);
        let epilogue = Epilogue { bias: Some(&[10.0, 20.0]), accumulate: true };
        gemm_on(engine, empty, Matrix::dense(&[], 0, 2), MatrixMut::dense(&mut c, 2, 2), epilogue).unwrap();
        assert_eq!(c, [11.0, 22.0, 13.0, 24.0]);
        gemm_on(engine, empty, Matrix::dense(&[], 0, 2), MatrixMut::dense(&mut c, 2, 2), Epilogue::default()).unwrap();
        assert_eq!(c, [0.0; 4]);
        gemm_on(engine, Matrix::dense(&[], 0, 3), Matrix::dense(&[0.0; 6], 3, 2), MatrixMut::dense(&mut [], 0, 2), Epilogue::default())
            .unwrap();
        gemm_on(engine, Matrix::dense(&[0.0; 6], 2, 3), Matrix::dense(&[], 3, 0), MatrixMut::dense(&mut [], 2, 0), Epilogue::default())
            .unwrap();
    }
}

#[test]
fn nan_and_infinity_reach_their_rows_and_columns_only() {
    let [m, n, k] = [14, 35, 20];
    let (mut a, mut b) = (values(m * k, 13), values(k * n, 14));
    a[3 * k + 5] = f32::NAN;
    b[7 * n + 34] = f32::INFINITY;
    for engine in engines() {
        for (x, value) in product(engine, &a, &b, [m, n, k]).iter().enumerate() {
            assert_eq!(value.is_nan(), x / n == 3, "{engine:?} element {x}");
            assert_eq!(value.is_finite(), x / n != 3 && x % n != 34, "{engine:?} element {x}");
        }
    }
}

#[test]
fn wrong_extents_are_refused() {
    let a = Matrix::dense(&[0.0; 6], 2, 3);
    let refuse =
        |a: Matrix, b: Matrix, c: MatrixMut, bias: Option<&[f32]>| gemm(a, b, c, Epilogue { bias, accumulate: false }).unwrap_err();
    let b = Matrix::dense(&[0.0; 12], 3, 4);
    assert!(refuse(a, a, MatrixMut::dense(&mut [0.0; 6], 2, 3), None).contains("does not give [2, 3]"));
    assert!(refuse(a, b, MatrixMut::dense(&mut [0.0; 7], 2, 4), None).contains("C of [2, 4]"));
    assert!(refuse(Matrix { row_stride: usize::MAX, ..a }, b, MatrixMut::dense(&mut [0.0; 8], 2, 4), None).contains("A of [2, 3]"));
    let overlapping = MatrixMut { data: ValuesMut::F32(&mut [0.0; 8]), rows: 2, cols: 4, row_stride: 2, col_stride: 1 };
    assert!(refuse(a, b, overlapping, None).contains("overlap"));
    assert!(refuse(a, b, MatrixMut::dense(&mut [0.0; 8], 2, 4), Some(&[0.0; 3])).contains("3 values for 4 columns"));
}
