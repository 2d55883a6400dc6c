use super::*;

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104729) % 1999) as f32 / 1000.0 - 1.0).collect()
}

fn shape(seq: usize, batch: usize, heads: usize, head_dim: usize, causal: bool) -> Attention {
    Attention { seq, batch, heads, head_dim, causal, window: None, dropout: None, precision: Precision::F32 }
}

fn windowed(seq: usize, heads: usize, head_dim: usize, window: usize) -> Attention {
    Attention { window: Some(window), ..shape(seq, 2, heads, head_dim, true) }
}

fn dropping(p: f64, shape: Attention) -> Attention {
    Attention { dropout: Some(Dropout::new(p, [7, 8], [5, 3]).unwrap()), ..shape }
}

/// The factors of a whole row of keys, drawn one by one.
fn factors_of(s: &Attention, sample: usize, head: usize, row: usize) -> Vec<f64> {
    let Some(dropout) = s.dropout else { return vec![1.0; s.seq] };
    let one = |key: usize| {
        let mut factor = [0.0];
        dropout.factors([sample, head, row], key, &mut factor);
        f64::from(factor[0])
    };
    (0..s.seq).map(one).collect()
}

/// The formula in f64: out and lse.
fn naive(qkv: &[f64], s: &Attention) -> (Vec<f64>, Vec<f64>) {
    let width = s.heads * s.head_dim;
    let at = |token: usize, sample: usize, part: usize, head: usize, c: usize| {
        qkv[(token * s.batch + sample) * 3 * width + part * width + head * s.head_dim + c]
    };
    let (mut out, mut lse) = (vec![0.0; s.seq * s.batch * width], vec![0.0; s.batch * s.heads * s.seq]);
    for (sample, head, i) in (0..s.batch * s.heads * s.seq).map(|x| (x / s.seq / s.heads, x / s.seq % s.heads, x % s.seq)) {
        let keys = s.keys(i);
        let score = |j: usize| -> f64 {
            (0..s.head_dim).map(|c| at(i, sample, 0, head, c) * at(j, sample, 1, head, c)).sum::<f64>() / (s.head_dim as f64).sqrt()
        };
        let weights: Vec<(usize, f64)> = keys.map(|j| (j, score(j).exp())).collect();
        let sum: f64 = weights.iter().map(|(_, w)| w).sum();
        lse[(sample * s.heads + head) * s.seq + i] = sum.ln();
        let factors = factors_of(s, sample, head, i);
        for c in 0..s.head_dim {
            let value: f64 = weights.iter().map(|(j, w)| w * factors[*j] * at(*j, sample, 2, head, c)).sum();
            out[(i * s.batch + sample) * width + head * s.head_dim + c] = value / sum;
        }
    }
    (out, lse)
}

fn run(qkv: &[f32], grad: &[f32], s: &Attention) -> [Vec<f32>; 3] {
    let (mut out, mut lse) = (vec![0.0; grad.len()], vec![0.0; s.batch * s.heads * s.seq]);
    attention(qkv, s, &mut out, &mut lse).unwrap();
    let mut dqkv = vec![f32::NAN; qkv.len()];
    attention_backward([qkv, &out, grad], &lse, s, &mut dqkv).unwrap();
    [out, lse, dqkv]
}

fn check_values(s: &Attention, limit: f64) {
    let out_len = s.seq * s.batch * s.heads * s.head_dim;
    let qkv: Vec<f32> = values(3 * out_len, 1).iter().map(|x| 2.0 * x).collect();
    let [out, lse, _] = run(&qkv, &values(out_len, 2), s);
    let (want_out, want_lse) = naive(&qkv.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), s);
    for (got, want) in out.iter().zip(want_out).chain(lse.iter().zip(want_lse)) {
        assert!((f64::from(*got) - want).abs() < limit * (1.0 + want.abs()), "{s:?}: {got}, not {want}");
    }
}

fn check_gradients(s: &Attention) {
    let out_len = s.seq * s.batch * s.heads * s.head_dim;
    let (qkv, grad) = (values(3 * out_len, 1), values(out_len, 2));
    let [_, _, dqkv] = run(&qkv, &grad, s);
    let loss = |x: usize, step: f64| -> f64 {
        let mut qkv: Vec<f64> = qkv.iter().map(|x| f64::from(*x)).collect();
        qkv[x] += step;
        naive(&qkv, s).0.iter().zip(&grad).map(|(out, grad)| out * f64::from(*grad)).sum()
    };
    for x in (0..3 * out_len).step_by((out_len / 12).max(1)) {
        let want = (loss(x, 1e-5) - loss(x, -1e-5)) / 2e-5;
        assert!((f64::from(dqkv[x]) - want).abs() < 2e-5, "{s:?} element {x}: {}, not {want}", dqkv[x]);
    }
}

#[test]
fn ragged_sizes_match_the_formula() {
    for (seq, batch, heads, head_dim) in [(1, 1, 1, 1), (5, 2, 3, 7), (97, 1, 2, 16), (200, 2, 2, 33), (100, 3, 2, 64)] {
        for causal in [true, false] {
            check_values(&shape(seq, batch, heads, head_dim, causal), 1e-5);
        }
    }
}

#[test]
fn windows_and_dropouts_match_the_formula() {
    for window in [1, 2, 30, 97, 150, 500] {
        check_values(&windowed(230, 2, 9, window), 1e-5);
        check_values(&dropping(0.3, windowed(230, 2, 9, window)), 2e-5);
    }
    check_values(&dropping(0.1, shape(130, 2, 2, 16, false)), 2e-5);
    check_values(&dropping(0.0, shape(33, 1, 1, 8, true)), 1e-5);
}

#[test]
fn products_in_bf16_are_close_to_the_formula() {
    check_values(&Attention { precision: Precision::Bf16, ..shape(150, 2, 2, 32, true) }, 0.05);
}

#[test]
fn gradients_match_differences_of_the_formula() {
    for (seq, batch, heads, head_dim) in [(3, 2, 5, 4), (110, 1, 1, 5)] {
        for causal in [true, false] {
            check_gradients(&shape(seq, batch, heads, head_dim, causal));
        }
    }
}

#[test]
fn gradients_of_windows_and_dropouts_match_differences() {
    for window in [1, 20, 96, 130] {
        check_gradients(&windowed(210, 1, 3, window));
    }
    check_gradients(&dropping(0.4, windowed(110, 1, 3, 40)));
    check_gradients(&dropping(0.2, shape(100, 1, 2, 3, false)));
}

#[test]
fn a_dropout_leaves_out_its_share_and_knows_only_the_place_in_the_whole_model() {
    let dropout = Dropout::new(0.25, [1, 2], [0, 0]).unwrap();
    let mut row = vec![0.0; 10_000];
    dropout.factors([3, 5, 7], 0, &mut row);
    assert!(row.iter().all(|factor| *factor == 0.0 || *factor == 1.0 / 0.75));
    let dropped = row.iter().filter(|factor| **factor == 0.0).count();
    assert!((2350..2650).contains(&dropped), "{dropped} of 10000");
    let elsewhere = Dropout::new(0.25, [1, 2], [2, 4]).unwrap();
    let mut part = vec![0.0; 333];
    elsewhere.factors([1, 1, 7], 1003, &mut part);
    assert_eq!(part, row[1003..1336]);
    for place in [[2, 5, 7], [3, 4, 7], [3, 5, 8]] {
        dropout.factors(place, 1003, &mut part);
        assert_ne!(part, row[1003..1336]);
    }
    assert!(Dropout::new(1.0, [0, 0], [0, 0]).is_err() && Dropout::new(f64::NAN, [0, 0], [0, 0]).is_err());
}

#[test]
fn a_wide_window_has_the_bits_of_none() {
    let s = shape(200, 2, 2, 8, true);
    let (qkv, grad) = (values(200 * 2 * 48, 1), values(200 * 2 * 16, 2));
    assert!(run(&qkv, &grad, &s) == run(&qkv, &grad, &Attention { window: Some(200), ..s }));
    let error = attention::<f32>(&[], &Attention { window: Some(3), ..shape(0, 1, 1, 1, false) }, &mut [], &mut []).unwrap_err();
    assert!(error.contains("a window belongs to a causal attention"));
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let full = [(1, true), (2, false), (5, true)].map(|(heads, causal)| shape(210, 1, heads, 24, causal));
    let cut = Attention { batch: 1, ..dropping(0.2, windowed(210, 5, 24, 50)) };
    for s in full.into_iter().chain([cut]) {
        let heads = s.heads;
        let (qkv, grad) = (values(210 * heads * 72, 1), values(210 * heads * 24, 2));
        let at = |threads| {
            pool::set_threads(threads);
            run(&qkv, &grad, &s)
        };
        let one = at(1);
        assert!([2, 3, 7].into_iter().all(|threads| at(threads) == one), "{heads} heads");
    }
}

#[test]
fn bits_of_a_sample_do_not_depend_on_its_place_in_the_batch() {
    let (seq, heads, d) = (130, 2, 16);
    let width = heads * d;
    let (qkv, grad) = (values(seq * 3 * 3 * width, 1), values(seq * 3 * width, 2));
    let whole = run(&qkv, &grad, &shape(seq, 3, heads, d, true));
    let rows =
        |data: &[f32], width: usize| -> Vec<f32> { data.chunks_exact(3 * width).flat_map(|row| &row[2 * width..]).copied().collect() };
    let alone = run(&rows(&qkv, 3 * width), &rows(&grad, width), &shape(seq, 1, heads, d, true));
    assert!(alone[0] == rows(&whole[0], width) && alone[1] == whole[1][2 * heads * seq..] && alone[2] == rows(&whole[2], 3 * width));
}

#[test]
fn large_scores_do_not_overflow() {
    let s = shape(3, 1, 1, 1, true);
    let [out, lse, dqkv] = run(&[1e3, 1e3, 1.0, 1e3, -1e3, 2.0, -1e3, 0.0, 4.0], &[1.0; 3], &s);
    assert!(out == [1.0, 1.0, 2.0] && lse[0] == 1e6 && dqkv.iter().all(|x| x.is_finite()));
}

#[test]
fn nan_reaches_the_rows_that_see_it() {
    let s = shape(4, 1, 1, 2, true);
    let mut qkv = values(24, 1);
    qkv[2 * 6] = f32::NAN;
    let mut out = [0.0; 8];
    attention(&qkv, &s, &mut out, &mut [0.0; 4]).unwrap();
    let nan: Vec<bool> = out.iter().map(|x| x.is_nan()).collect();
    assert_eq!(nan, [false, false, false, false, true, true, false, false]);
}

#[test]
fn empty_sizes_are_fine_and_wrong_lengths_are_refused() {
    attention::<f32>(&[], &shape(0, 2, 2, 4, true), &mut [], &mut []).unwrap();
    attention::<f32>(&[], &shape(3, 0, 2, 4, true), &mut [], &mut []).unwrap();
    attention_backward::<f32>([&[], &[], &[]], &[0.0; 6], &shape(3, 1, 2, 0, false), &mut []).unwrap();
    let error = attention(&[0.0; 11], &shape(2, 1, 1, 2, true), &mut [0.0; 4], &mut [0.0; 2]).unwrap_err();
    assert_eq!(error, "attention: qkv has 11 values, which is not the shape [2, 1, 3, 1, 2]. Pass a tensor of that shape.");
    assert!(attention::<f32>(&[], &shape(usize::MAX, 3, 1, 2, true), &mut [], &mut []).is_err());
}

#[test]
fn bf16_tensors_give_the_f32_results_of_bf16_products_rounded_once() {
    use crate::stored::rounding::{bits, random, widened};
    let shapes = [shape(5, 2, 3, 7, true), shape(230, 1, 5, 32, true), shape(100, 2, 2, 64, false), windowed(230, 2, 9, 30)];
    for s in shapes.into_iter().chain([dropping(0.3, shape(130, 2, 2, 16, true))]) {
        let (len, wide) = (s.seq * s.batch * s.heads * s.head_dim, Attention { precision: Precision::Bf16, ..s });
        let ((qkv16, qkv), (grad16, grad)) = (random(3 * len, 1), random(len, 2));
        let [mut lse, mut lse16] = [(); 2].map(|()| vec![0.0; s.batch * s.heads * s.seq]);
        let (mut out, mut out16) = (vec![0.0; len], vec![0u16; len]);
        attention(&qkv, &wide, &mut out, &mut lse).unwrap();
        attention(&qkv16, &s, &mut out16, &mut lse16).unwrap();
        assert!(out16 == bits(&out) && lse16 == lse, "{s:?}");
        let (mut dqkv, mut dqkv16) = (vec![f32::NAN; 3 * len], vec![0u16; 3 * len]);
        attention_backward([&qkv, &widened(&out16), &grad], &lse, &wide, &mut dqkv).unwrap();
        attention_backward([&qkv16, &out16, &grad16], &lse, &s, &mut dqkv16).unwrap();
        assert_eq!(dqkv16, bits(&dqkv), "{s:?}");
    }
}
