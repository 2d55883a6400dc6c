//! Random products against sums in f64: extents, strides, element types, layouts, accumulation and epilogues.

use super::*;
use crate::bias_gelu::bias_gelu;
use crate::unary::unary;

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % count
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Values of one element type.
enum Memory {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
}

impl Memory {
    fn new(bf16: bool, len: usize, seed: u64) -> Memory {
        let values = values(len, seed);
        if bf16 { Memory::Bf16(values.into_iter().map(f32_to_bf16).collect()) } else { Memory::F32(values) }
    }

    fn get(&self, index: usize) -> f64 {
        f64::from(match self {
            Memory::F32(x) => x[index],
            Memory::Bf16(x) => bf16_to_f32(x[index]),
        })
    }

    fn read(&self) -> Values<'_> {
        match self {
            Memory::F32(x) => Values::F32(x),
            Memory::Bf16(x) => Values::Bf16(x),
        }
    }

    fn write(&mut self) -> ValuesMut<'_> {
        match self {
            Memory::F32(x) => ValuesMut::F32(x),
            Memory::Bf16(x) => ValuesMut::Bf16(x),
        }
    }

    fn same(&self, other: &Memory, index: usize) -> bool {
        self.get(index).to_bits() == other.get(index).to_bits()
    }
}

/// Strides of a `[rows, cols]` matrix and the values it needs: rows dense, columns dense, neither, or (to read) repeated.
fn strides(dice: &mut Dice, rows: usize, cols: usize, repeated: bool) -> (usize, usize, usize) {
    let gap = dice.of(&[0, 0, 1, 5]);
    let (row, col) = match dice.below(if repeated { 8 } else { 6 }) {
        0..=2 => (cols + gap, 1),
        3 | 4 => (1, rows + gap),
        5 => (2 * cols + gap, 2),
        6 => (0, 1),
        _ => (1, 0),
    };
    (row, col, rows.saturating_sub(1) * row + cols.saturating_sub(1) * col + 1)
}

fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
}

fn gelu_erf(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt()))
}

/// One random product, checked element by element; what lies between the elements of C must stay.
fn check_one(dice: &mut Dice, (engine, precision): (Engine, Precision)) {
    let [m, n, k] = [0; 3].map(|_| dice.of(&[0, 1, 2, 3, 5, 6, 7, 12, 13, 16, 17, 24, 31, 32, 33, 49, 64, 65, 97, 130]));
    let k = if dice.below(6) == 0 { k * 13 } else { k };
    let [a_bf16, b_bf16, c_bf16, r_bf16] = [0; 4].map(|_| dice.below(2) == 0);
    let (a_row, a_col, a_len) = strides(dice, m, k, true);
    let (b_row, b_col, b_len) = strides(dice, k, n, true);
    let (c_row, c_col, c_len) = strides(dice, m, n, false);
    let (r_row, r_col, r_len) = strides(dice, m, n, true);
    let (a_data, b_data) = (Memory::new(a_bf16, a_len, 1), Memory::new(b_bf16, b_len, 2));
    let (bias, residual) = (Memory::new(r_bf16, n, 3), Memory::new(r_bf16, r_len, 4));
    let (old, mut c_data) = (Memory::new(c_bf16, c_len, 5), Memory::new(c_bf16, c_len, 5));
    let mut kept = Memory::new(r_bf16, m * n, 6);
    let (with_bias, accumulate, steps) = (dice.below(2) == 0, dice.below(2) == 0, dice.below(5));

    let a = Matrix { data: a_data.read(), rows: m, cols: k, row_stride: a_row, col_stride: a_col };
    let b = Matrix { data: b_data.read(), rows: k, cols: n, row_stride: b_row, col_stride: b_col };
    let c = MatrixMut { data: c_data.write(), rows: m, cols: n, row_stride: c_row, col_stride: c_col };
    let residue = Matrix { data: residual.read(), rows: m, cols: n, row_stride: r_row, col_stride: r_col };
    let tanh = Gelu::keeping(GeluForm::Tanh, MatrixMut::new(kept.write(), m, n)).unwrap();
    let (erf, add) = (Gelu::new(GeluForm::Erf), AddResidual::new(residue).unwrap());
    let lists: [&[&dyn Finish]; 5] = [&[], &[&tanh], &[&erf], &[&add], &[&tanh, &add]];
    let product = Gemm { a, b, c, precision, bias: with_bias.then_some(bias.read()), accumulate, finish: lists[steps] };
    let told = format!(
        "{engine:?} {precision:?} [{m}, {n}, {k}] strides {:?} bf16 {:?} bias {with_bias} accumulate {accumulate} steps {steps}",
        [a_row, a_col, b_row, b_col, c_row, c_col, r_row, r_col],
        [a_bf16, b_bf16, c_bf16, r_bf16],
    );
    product.run_on(engine).unwrap();

    let mut inside = vec![false; c_len];
    for (x, sum) in naive(precision, &a, &b).into_iter().enumerate() {
        let (i, j) = (x / n, x % n);
        let place = i * c_row + j * c_col;
        inside[place] = true;
        let mut want = sum + if with_bias { bias.get(j) } else { 0.0 } + if accumulate { old.get(place) } else { 0.0 };
        let slack = 1e-6 * (k as f64 + 4.0) + 1e-6;
        let before = want;
        want = match steps {
            1 | 4 => gelu_tanh(want),
            2 => gelu_erf(want),
            _ => want,
        };
        want += if steps >= 3 { residual.get(i * r_row + j * r_col) } else { 0.0 };
        let close = |got: f64, want: f64, bf16: bool| (got - want).abs() <= 1.2 * slack + if bf16 { want.abs() / 256.0 } else { 0.0 };
        assert!(close(c_data.get(place), want, c_bf16), "{told}: element ({i}, {j}) is {} instead of {want}", c_data.get(place));
        if matches!(steps, 1 | 4) {
            assert!(close(kept.get(x), before, r_bf16), "{told}: kept ({i}, {j}) is {} instead of {before}", kept.get(x));
        }
    }
    assert!((0..c_len).all(|x| inside[x] || c_data.same(&old, x)), "{told}: values between the elements of C changed");
}

#[test]
fn random_products_match_sums_in_f64() {
    for engine in engines() {
        let mut dice = Dice(7);
        (0..250).for_each(|_| check_one(&mut dice, engine));
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn random_products_match_on_every_forced_path() {
    let test = "gemm::tests::fuzz::random_products_match_sums_in_f64";
    for path in ["baseline", "avx2"] {
        let run = std::process::Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--test-threads", "1"])
            .env("MEGATRON_CPU", path)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(run.status.success() && told.contains("1 passed"), "{path}: {told}");
    }
}

/// A product of bf16 values into bf16 with k above a slab: the sums wait in f32 and are rounded once.
#[test]
fn a_bf16_result_is_the_f32_result_rounded_once() {
    let [m, n, k] = [110, 1030, 4200];
    let (a, b) = (Memory::new(true, m * k, 1), Memory::new(true, k * n, 2));
    for engine in engines().into_iter().rev().take(2) {
        let (mut wide, mut narrow) = (vec![0.5f32; m * n], vec![f32_to_bf16(0.5); m * n]);
        let (a, b) = (Matrix::new(a.read(), m, k), Matrix::new(b.read(), k, n));
        let run = |c| Gemm { precision: engine.1, accumulate: true, ..Gemm::new(a, b, c) }.run_on(engine.0).unwrap();
        run(MatrixMut::new(&mut wide[..], m, n));
        run(MatrixMut::new(&mut narrow[..], m, n));
        assert!(wide.iter().zip(&narrow).all(|(wide, narrow)| f32_to_bf16(*wide) == *narrow), "{engine:?}");
    }
}

/// Kernels that store bf16 themselves: ragged rows, sums that tie, NaN, infinities, and what a bias makes subnormal.
#[test]
fn sums_stored_as_bf16_are_the_f32_sums_rounded_once() {
    let [m, n] = [29, 75];
    for (engine, k) in engines().into_iter().flat_map(|engine| [1, 33, 64].map(|k| (engine, k))) {
        let (mut a, b) = (values(m * k, 1), values(k * n, 2));
        (a[0], a[3 * k], a[5 * k]) = (f32::NAN, f32::INFINITY, f32::MAX);
        a[7 * k..9 * k].fill(0.0);
        let bias: Vec<f32> = (0..n as u32).map(|i| if i % 3 == 0 { f32::from_bits(i << 14) } else { 1.0 + i as f32 / 256.0 }).collect();
        for bias in [None, Some(Values::F32(&bias))] {
            let (mut wide, mut narrow) = (vec![0.5f32; m * (n + 3)], vec![7u16; m * (n + 3)]);
            let run = |c| {
                let c = MatrixMut { row_stride: n + 3, ..c };
                Gemm { precision: engine.1, bias, ..Gemm::new(Matrix::dense(&a, m, k), Matrix::dense(&b, k, n), c) }
                    .run_on(engine.0)
                    .unwrap();
            };
            run(MatrixMut::new(&mut wide[..], m, n));
            run(MatrixMut::new(&mut narrow[..], m, n));
            for (i, (wide, narrow)) in wide.iter().zip(&narrow).enumerate() {
                let want = if i % (n + 3) < n { f32_to_bf16(*wide) } else { 7 };
                assert!(
                    *narrow == want || wide.is_nan() && bf16_to_f32(*narrow).is_nan(),
                    "{engine:?}, k {k}, element {i}: {wide}, {narrow:x}"
                );
            }
        }
    }
}

#[test]
fn rounding_while_packing_equals_operands_rounded_before() {
    let [m, n, k] = [37, 71, 901];
    let (a, b) = (values(m * k, 1), values(k * n, 2));
    let [a16, b16] = [&a, &b].map(|x| x.iter().map(|x| f32_to_bf16(*x)).collect::<Vec<u16>>());
    for engine in engines().into_iter().filter(|engine| engine.1 == Precision::Bf16) {
        for (a_across, b_across) in [(false, false), (false, true), (true, false), (true, true)] {
            let of = |x: Values, y: Values| {
                let x = Matrix { data: x, ..if a_across { Matrix::dense(&a, k, m).t() } else { Matrix::dense(&a, m, k) } };
                let y = Matrix { data: y, ..if b_across { Matrix::dense(&b, n, k).t() } else { Matrix::dense(&b, k, n) } };
                let mut c = vec![0f32; m * n];
                Gemm { precision: Precision::Bf16, ..Gemm::new(x, y, MatrixMut::dense(&mut c, m, n)) }.run_on(engine.0).unwrap();
                c
            };
            let late = of(Values::F32(&a), Values::F32(&b));
            assert!(late == of(Values::Bf16(&a16), Values::Bf16(&b16)), "{engine:?}");
            assert!(late == of(Values::F32(&a), Values::Bf16(&b16)), "{engine:?}");
        }
    }
}

#[test]
fn fused_gelu_has_the_bits_of_the_ops_it_replaces() {
    let [m, n, k] = [50, 70, 400];
    let (a, b, bias) = (values(m * k, 1), values(k * n, 2), values(n, 3));
    let (a, b) = (Matrix::dense(&a, m, k), Matrix::dense(&b, k, n));
    let (mut sums, mut biased) = (vec![0.0; m * n], vec![0.0; m * n]);
    gemm(a, b, MatrixMut::dense(&mut sums, m, n), Epilogue::default()).unwrap();
    gemm(a, b, MatrixMut::dense(&mut biased, m, n), Epilogue { bias: Some(&bias), accumulate: false }).unwrap();
    for (form, code) in [(GeluForm::Tanh, 8), (GeluForm::Erf, 9)] {
        let (mut fused, mut kept, mut apart) = (vec![0.0; m * n], vec![0.0; m * n], vec![0.0; m * n]);
        unary(code, &biased, &mut apart).unwrap();
        let gelu = Gelu::keeping(form, MatrixMut::dense(&mut kept, m, n)).unwrap();
        let product = Gemm::new(a, b, MatrixMut::dense(&mut fused, m, n));
        Gemm { bias: Some(Values::F32(&bias)), finish: &[&gelu], ..product }.run().unwrap();
        assert!(fused == apart && kept == biased, "{form:?}");
        if form == GeluForm::Tanh {
            bias_gelu(&sums, &bias, m, n, &mut apart).unwrap();
            assert!(fused.iter().zip(&apart).all(|(x, y)| (x - y).abs() <= 2e-6 * (1.0 + y.abs())));
        }
    }
}

#[test]
fn bits_with_bf16_operands_and_results_do_not_depend_on_threads_or_rows() {
    let [m, n, k] = [230, 150, 1700];
    let (a, b) = (Memory::new(true, m * k, 7), Memory::new(true, k * n, 8));
    let Memory::Bf16(a) = &a else { unreachable!() };
    for (engine, precision) in engines() {
        let run = |first: usize, rows: usize| {
            let mut c = vec![0u16; rows * n];
            let a = Matrix::new(&a[first * k..(first + rows) * k], rows, k);
            let c_matrix = MatrixMut::new(&mut c[..], rows, n);
            Gemm { precision, ..Gemm::new(a, Matrix::new(b.read(), k, n), c_matrix) }.run_on(engine).unwrap();
            c
        };
        let whole = run(0, m);
        for (first, rows) in [(0, 1), (3, 1), (5, 20), (100, 130)] {
            assert!(run(first, rows) == whole[first * n..(first + rows) * n], "{engine:?} {precision:?} rows from {first}");
        }
        let before = pool::threads();
        for threads in [1, 3] {
            pool::set_threads(threads);
            assert!(run(0, m) == whole, "{engine:?} {precision:?} with {threads} threads");
        }
        pool::set_threads(before);
    }
}

#[test]
fn special_values_of_bf16_are_carried() {
    // Rounds to infinity, to the largest finite, to even; infinity and NaN stay.
    let a = [f32::MAX, 3.3895314e38, 1.0 + 1.0 / 256.0, f32::INFINITY, f32::NAN];
    for engine in engines().into_iter().filter(|engine| engine.1 == Precision::Bf16) {
        let mut c = [0.0; 5];
        gemm_on(engine, Matrix::dense(&a, 5, 1), Matrix::dense(&[1.0], 1, 1), MatrixMut::dense(&mut c, 5, 1), Epilogue::default()).unwrap();
        assert_eq!(c[..4], [f32::INFINITY, 3.3895314e38, 1.0, f32::INFINITY], "{engine:?}");
        assert!(c[4].is_nan(), "{engine:?}");
    }
}

#[test]
fn subnormal_operands_count_or_are_taken_as_zero() {
    let (tiny, large) = (f32::from_bits(0x0041_0000), 2f32.powi(120));
    for engine in engines() {
        let mut c = [f32::NAN];
        gemm_on(engine, Matrix::dense(&[tiny], 1, 1), Matrix::dense(&[large], 1, 1), MatrixMut::dense(&mut c, 1, 1), Epilogue::default())
            .unwrap();
        let flushes = format!("{engine:?}").starts_with("(Avx512Bf16");
        assert_eq!(c[0], if flushes { 0.0 } else { tiny * large }, "{engine:?}");
    }
}

#[test]
fn repeated_rows_and_columns_are_read_and_absurd_extents_are_refused() {
    let repeated = |rows, cols| Matrix { row_stride: 0, col_stride: 0, ..Matrix { rows, cols, ..Matrix::dense(&[0.5], 1, 1) } };
    let mut c = [0.0; 6];
    gemm(repeated(2, 1000), repeated(1000, 3), MatrixMut::dense(&mut c, 2, 3), Epilogue::default()).unwrap();
    assert_eq!(c, [250.0; 6]);
    let refused = gemm(repeated(2, usize::MAX), repeated(usize::MAX, 3), MatrixMut::dense(&mut c, 2, 3), Epilogue::default());
    assert!(refused.is_err_and(|error| error.contains("does not fit into 1 values")));
}

#[test]
fn steps_that_do_not_fit_are_refused() {
    let (x, mut c, mut kept) = ([0.0; 6], [0.0; 4], [0.0; 6]);
    let (a, b) = (Matrix::dense(&x, 2, 3), Matrix::dense(&x, 3, 2));
    let gelu = Gelu::keeping(GeluForm::Erf, MatrixMut::dense(&mut kept, 3, 2)).unwrap();
    let refused = Gemm { finish: &[&gelu], ..Gemm::new(a, b, MatrixMut::dense(&mut c, 2, 2)) }.run().unwrap_err();
    assert!(refused.contains("the kept input of GELU is [3, 2] beside a product of [2, 2]"), "{refused}");
    let residual = AddResidual::new(a).unwrap();
    let refused = Gemm { finish: &[&residual], ..Gemm::new(a, b, MatrixMut::dense(&mut c, 2, 2)) }.run().unwrap_err();
    assert!(refused.contains("the residual is [2, 3]"), "{refused}");
    assert!(AddResidual::new(Matrix::dense(&x, 3, 3)).is_err_and(|error| error.contains("does not fit into 6 values")));
    assert!(Gelu::keeping(GeluForm::Tanh, MatrixMut::dense(&mut [0.0; 3], 2, 2)).is_err());
}
