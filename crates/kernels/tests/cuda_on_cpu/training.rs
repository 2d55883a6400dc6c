//! Losses, the optimizer, and what looks at gradients.

use crate::device::{Argument::*, NULL, device};
use crate::memory::{FLOATS, Float, Memory, values};
use kernels::cross_entropy::{self, Rows, Shard, Terms};
use kernels::gemm::Values;
use kernels::{non_finite, sum_squares};
use storage::{DType, Span};

#[test]
fn the_pieces_of_a_cross_entropy_are_those_of_the_cpu() {
    let shapes = [[5, 37, 37], [3, 2600, 2597], [4, 64, 64], [5, 40, 33]];
    let losses = [(0.0, 0.0, None), (0.1, 0.0, Some(-100)), (0.2, 1e-2, None), (0.0, 1e-3, Some(10))];
    for (float, [rows, cols, held]) in FLOATS.into_iter().flat_map(|float| shapes.map(|shape| (float, shape))) {
        for (smoothing, z, ignored) in losses {
            let shard = Shard { start: 10, rows, cols, held };
            let terms = Terms::new(smoothing, 5000.0, z, ignored).unwrap();
            // The last row's target is another rank's, the first row's may be ignored; what is not held is never read.
            let targets: Vec<i32> =
                (0..rows).map(|row| [-100, 10 + held as i32 - 1, 10, 12, 9][if row + 1 == rows { 4 } else { row % 4 }]).collect();
            let mut logits = float.rounded(&values(rows * cols, 1, 8.0));
            (0..rows).for_each(|row| logits[row * cols + held..(row + 1) * cols].fill(f32::NAN));
            pieces(float, Case { shard, terms, ignored, logits, targets });
        }
    }
}

struct Case {
    shard: Shard,
    terms: Terms,
    ignored: Option<i32>,
    logits: Vec<f32>,
    targets: Vec<i32>,
}

fn pieces(float: Float, Case { shard, terms, ignored, logits, targets }: Case) {
    let Shard { start, rows, cols, held } = shard;
    let (grad, extents, count) = (values(rows, 2, 1.0), [rows as u64, cols as u64], terms.statistics() * rows);
    let [rows_count, cols_count, held_count, start] = [rows, cols, held, start].map(|number| U64(number as u64));
    let [hot, uniform, z] = terms.numbers().map(F32);
    let [is_ignoring, ignored] = [u32::from(ignored.is_some()), ignored.unwrap_or(0) as u32].map(U32);
    let device = device("cross_entropy", float.name());
    let (logits_at, targets_at, grad_at) = (float.put(&logits, 0), Memory::of(&targets, 0), Memory::of(&grad, 0));

    let (mut want_max, max) = (vec![0.0; rows], Float::F32.room(rows, 0));
    cross_entropy::row_max(&logits[..], shard, &mut want_max).unwrap();
    device.launch("ce_row_max", &extents, &[cols_count, held_count, logits_at.argument(), max.argument()]);
    assert_eq!(max.get::<f32>(), want_max);

    let of = Rows { shard, terms, max: &want_max, targets: &targets };
    let (mut want_exp, mut want_stats) = (vec![0.0; rows * cols], vec![0.0; count]);
    cross_entropy::exp_sum(&logits[..], of, &mut want_exp[..], &mut want_stats).unwrap();
    let (exp, stats) = (Float::F32.room(rows * cols, 0), Float::F32.room(count, 0));
    let before = [rows_count, cols_count, held_count, start, uniform, logits_at.argument(), max.argument(), targets_at.argument()];
    let expect_stats = || {
        let (got, sums) = (stats.get::<f32>(), 2 * rows);
        Float::F32.expect("stats", &got[..sums], &want_stats[..sums], 8.0, 0.0);
        Float::F32.expect("sums of logits", &got[sums..], &want_stats[sums..], 8.0, 0.0);
    };
    device.launch("ce_sums", &extents, &[&before[..], &[stats.argument()]].concat());
    expect_stats();
    for out in if float == Float::F32 { vec![&exp, &logits_at] } else { vec![&exp] } {
        device.launch("ce_exp_sum", &extents, &[&before[..], &[out.argument(), stats.argument()]].concat());
        Float::F32.expect("exponentials", &out.get::<f32>(), &want_exp, 0.0, 0.0);
        expect_stats();
    }

    let (mut want_losses, losses, stats) = (vec![0.0; rows], Float::F32.room(rows, 0), Memory::of(&want_stats, 0));
    cross_entropy::losses(of, &want_stats, &mut want_losses).unwrap();
    let read = [stats.argument(), max.argument(), targets_at.argument()];
    let told = [hot, uniform, z, is_ignoring, ignored];
    device.launch("ce_loss", &extents[..1], &[&[rows_count], &told[..], &read[..], &[losses.argument()]].concat());
    Float::F32.expect("losses", &losses.get::<f32>(), &want_losses, 0.0, 0.0);

    // The gradient is that of the exponentials as they are kept.
    let (exp, mut want) = (float.put(&want_exp, 0), float.rounded(&want_exp));
    cross_entropy::backward(&mut want[..], of, &want_stats, &grad).unwrap();
    let after = [grad_at.argument(), exp.argument()];
    device.launch("ce_backward", &extents, &[&[cols_count, held_count, start], &told[..], &read[..], &after[..]].concat());
    float.expect("backward", &float.get(&exp), &want, 0.0, 0.0);
}

/// A step written out in f32.
fn adamw(hyper: [f32; 9], g: f32, [p, m, v]: [f32; 3]) -> [f32; 3] {
    let [lr, beta1, beta2, eps, decay, correction1, correction2, scale, decoupled] = hyper;
    let (mut g, mut weight) = (g * scale, p);
    if decoupled != 0.0 {
        weight *= 1.0 - lr * decay;
    } else {
        g = decay.mul_add(p, g);
    }
    let m = beta1.mul_add(m, (1.0 - beta1) * g);
    let v = beta2.mul_add(v, (1.0 - beta2) * g * g);
    [weight - lr / correction1 * (m / (v.sqrt() / correction2.sqrt() + eps)), m, v]
}

#[test]
fn a_step_of_adamw_over_a_bucket_has_the_bits_of_its_formula_and_rounds_the_model() {
    for (float, decoupled) in FLOATS.into_iter().flat_map(|float| [(float, 0.0), (float, 1.0)]) {
        let len = 2055;
        let hyper = [1e-3, 0.9, 0.95, 1e-8, 0.1, 0.271, 0.142_625, 0.5, decoupled];
        let [g, p, m] = [1, 2, 3].map(|seed| values(len, seed, 1.0));
        let v: Vec<f32> = values(len, 4, 1.0).iter().map(|v| v.abs()).collect();
        let want: Vec<[f32; 3]> = (0..len).map(|i| adamw(hyper, g[i], [p[i], m[i], v[i]])).collect();
        let hyper = Memory::of(&hyper, 0);
        for with_model in [true, false] {
            let [g, p, m, v] = [&g, &p, &m, &v].map(|values| Memory::of(values, 0));
            let model = float.room(len, 0);
            let places = [&hyper, &g, &p, &m, &v].map(Memory::argument);
            let model_at = if with_model { model.argument() } else { NULL };
            device("adamw", float.name()).launch("adamw", &[len as u64], &[&[U64(len as u64)], &places[..], &[model_at]].concat());
            for (part, memory) in [&p, &m, &v].into_iter().enumerate() {
                let want: Vec<f32> = want.iter().map(|state| state[part]).collect();
                Float::F32.expect("adamw", &memory.get::<f32>(), &want, 0.0, 0.0);
                if with_model && part == 0 {
                    float.expect("model", &float.get(&model), &want, 0.0, 0.0);
                }
            }
        }
    }
}

#[test]
fn a_grad_scale_that_is_no_number_leaves_everything_as_it_is() {
    let (len, hyper) = (2055, [1e-3, 0.9, 0.95, 1e-8, 0.1, 0.271, 0.142_625, f32::NAN, 1.0]);
    let given = [1, 2, 3, 4].map(|seed| values(len, seed, 1.0));
    let [g, p, m, v] = given.each_ref().map(|values| Memory::of(values, 0));
    let (hyper, model) = (Memory::of(&hyper, 0), Memory::of(&vec![7u16; len], 0));
    let places = [&hyper, &g, &p, &m, &v, &model].map(Memory::argument);
    device("adamw", "bf16").launch("adamw", &[len as u64], &[&[U64(len as u64)], &places[..]].concat());
    assert_eq!([&g, &p, &m, &v].map(Memory::get::<f32>), given);
    assert_eq!(model.get::<u16>(), vec![7; len]);
}

/// Numbers of two groups for updates number 5, 6 and 7.
const CHOICES: [f32; 54] = {
    let mut choices = [0.0; 54];
    let mut at = 0;
    while at < 54 {
        choices[at] = at as f32;
        at += 1;
    }
    choices
};

/// What the device makes of limbs, after `updates` updates.
fn chosen(limbs: &[i64], max_norm: f64, updates: f64) -> ([f64; 3], Vec<f32>) {
    let choices = [&[f32::from_bits(5)], &CHOICES[..]].concat();
    let (limbs, choices) = (Memory::of(limbs, 0), Memory::of(&choices, 0));
    let (outcome, hyper) = (Memory::of(&[0.0, 0.0, updates], 0), Memory::of(&[-1f32; 18], 0));
    let places = [&limbs, &choices, &outcome, &hyper].map(Memory::argument);
    device("adamw", "f32").launch("adamw_numbers", &[], &[&[U32(2), U32(3), F64(max_norm)], &places[..]].concat());
    (outcome.get::<f64>().try_into().unwrap(), hyper.get())
}

#[test]
fn the_norm_of_a_step_has_the_bits_of_the_host_whatever_its_size() {
    let mut sums: Vec<Vec<i64>> = (0..400u32)
        .map(|seed| {
            let scale = 2f32.powi(seed as i32 % 120 - 60);
            cpu_sum(&values(1 + seed as usize % 37, seed.into(), scale))
        })
        .collect();
    // Ties, and what decides them; nothing at all; limbs of many ranks, not carried.
    let tie = [2f32.powi(27), 2.0, 2.0, 1.0, 1.0];
    sums.extend([cpu_sum(&tie), cpu_sum(&[&tie[..], &[2f32.powi(-100)]].concat()), cpu_sum(&[]), cpu_sum(&[f32::from_bits(1)])]);
    sums.extend([cpu_sum(&[f32::MAX; 100]), cpu_sum(&[f32::MAX; 9]).into_iter().map(|limb| limb << 30).collect()]);
    for limbs in sums {
        let norm = sum_squares::resolve_sum(&limbs).unwrap().sqrt();
        let (outcome, hyper) = chosen(&limbs, 0.3, 6.0);
        assert_eq!(outcome.map(f64::to_bits), [norm, 0.0, 7.0].map(f64::to_bits), "{limbs:?}");
        let mut want = CHOICES[18..36].to_vec();
        (want[7], want[16]) = ([(0.3 / (norm + 1e-6)).min(1.0) as f32; 2]).into();
        assert_eq!(hyper, want);
    }
}

#[test]
fn a_step_whose_norm_is_not_finite_is_left_out_and_counts_for_nothing() {
    for (wrong, norm) in [(f32::NAN, f64::NAN), (f32::NEG_INFINITY, f64::INFINITY)] {
        let (outcome, hyper) = chosen(&cpu_sum(&[1.0, wrong]), 1.0, 7.0);
        assert_eq!(outcome.map(f64::to_bits), [norm, 1.0, 7.0].map(f64::to_bits));
        assert!(hyper[7].is_nan() && hyper[16].is_nan());
        assert_eq!((hyper[0], hyper[8], hyper[17]), (36.0, 44.0, 53.0));
    }
    // Without a limit nothing is scaled.
    assert_eq!(chosen(&cpu_sum(&[1e30]), f64::INFINITY, 5.0).1[7], 1.0);
}

#[test]
fn the_sum_of_squares_is_exact() {
    for float in FLOATS {
        let len = 70_001;
        let mut x = values(len, 1, 1e-3);
        for (i, value) in [3e38, 1e-40, -2e-30, 65504.0, 0.0, 1e-7].into_iter().enumerate() {
            x[1000 * i + 5] = value;
        }
        if float == Float::F16 {
            x[5] = 1.0;
        }
        let x = float.rounded(&x);
        let sum = |x: &[f32]| {
            let (x, limbs) = (float.put(x, 0), Memory::of(&[0i64; sum_squares::LIMBS], 0));
            device("sum_squares", float.name()).launch("sum_squares", &[len as u64], &[U64(len as u64), x.argument(), limbs.argument()]);
            device("sum_squares", float.name()).launch("sum_squares_carry", &[], &[limbs.argument()]);
            limbs.get::<i64>()
        };
        assert_eq!(sum(&x), cpu_sum(&x));
        let mut wrong = x.clone();
        (wrong[7], wrong[8], wrong[69_000]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
        // The number itself is then of no use.
        assert_eq!(sum(&wrong)[20..], cpu_sum(&wrong)[20..]);
    }
}

fn cpu_sum(x: &[f32]) -> Vec<i64> {
    sum_squares::sum_squares(&[Values::F32(x)]).to_vec()
}

#[test]
fn what_is_not_finite_is_counted() {
    for (float, dtype) in FLOATS.into_iter().zip([DType::F32, DType::BF16, DType::F16]) {
        let mut x = float.rounded(&values(5003, 1, 100.0));
        (0..40).for_each(|i| x[i * 125] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][i % 3]);
        let span = Span::new(dtype, 5003).unwrap();
        kernels::cast::cast(&span, &Span::from_slice(DType::F32, &x).unwrap()).unwrap();
        let (x, count) = (Memory::of(span.bytes(), 0), Memory::of(&[3u64], 0));
        device("non_finite", float.name()).launch("non_finite", &[5003], &[U64(5003), x.argument(), count.argument()]);
        assert_eq!(count.get::<u64>(), [3 + non_finite::non_finite(&span).unwrap()]);
    }
}
