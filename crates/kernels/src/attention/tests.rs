use super::*;
use crate::pool;

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104729) % 1999) as f32 / 1000.0 - 1.0).collect()
}

fn shape(seq: usize, batch: usize, heads: usize, head_dim: usize, causal: bool) -> Attention {
    let scale = 1.0 / (head_dim as f32).sqrt();
    let (window, dropout, precision) = (None, None, Precision::F32);
    Attention { queries: seq, keys: seq, batch, heads, key_heads: heads, head_dim, causal, window, scale, dropout, precision }
}

fn windowed(seq: usize, heads: usize, head_dim: usize, window: usize) -> Attention {
    Attention { window: Some(window), ..shape(seq, 2, heads, head_dim, true) }
}

fn dropping(p: f64, shape: Attention) -> Attention {
    Attention { dropout: Some(Dropout::new(p, [7, 8], [5, 3]).unwrap()), ..shape }
}

/// What goes with a shape: where keys lie, and what is held against rows.
#[derive(Clone, Debug, Default)]
struct Extras {
    apart: bool,
    segments: [Option<Vec<i32>>; 2],
    bias: Option<Vec<f32>>,
}

/// A shape with its inputs and the gradient of its output.
#[derive(Clone)]
struct Case {
    s: Attention,
    extras: Extras,
    q: Vec<f32>,
    kv: Vec<f32>,
    grad: Vec<f32>,
}

/// The results of a case: out, lse, and the gradients of q, kv and bias.
type Results = [Vec<f32>; 5];

impl Case {
    fn new(s: Attention, extras: Extras) -> Case {
        let len = |shape: &[usize]| shape.iter().product::<usize>();
        let kv = if extras.apart { values(len(&s.kv_shape()), 3) } else { Vec::new() };
        Case { q: values(len(&s.q_shape(!extras.apart)), 1), kv, grad: values(len(&s.out_shape()), 2), s, extras }
    }

    fn inputs(&self) -> Inputs<'_, f32> {
        let segments = self.extras.segments.each_ref().map(Option::as_deref);
        Inputs { q: &self.q, kv: self.extras.apart.then_some(&self.kv[..]), segments, bias: self.extras.bias.as_deref() }
    }

    fn run(&self) -> Results {
        let (inputs, s, apart) = (self.inputs(), &self.s, self.extras.apart);
        let (mut out, mut lse) = (vec![f32::NAN; self.grad.len()], vec![f32::NAN; s.batch * s.heads * s.queries]);
        attention(&inputs, s, &mut out, &mut lse).unwrap();
        let [mut dq, mut dkv] = [&self.q, &self.kv].map(|of| vec![f32::NAN; of.len()]);
        let mut d_bias = vec![f32::NAN; self.extras.bias.as_ref().map_or(0, Vec::len)];
        let bias = self.extras.bias.is_some().then_some(&mut d_bias[..]);
        let gradients = Gradients { q: &mut dq, kv: apart.then_some(&mut dkv[..]), bias };
        attention_backward(&inputs, &Saved { out: &out, lse: &lse, grad: &self.grad }, s, gradients).unwrap();
        [out, lse, dq, dkv, d_bias]
    }

    fn sees(&self, sample: usize, query: usize, key: usize) -> bool {
        let (s, [queries, keys]) = (&self.s, &self.extras.segments);
        let segment = |of: &Option<Vec<i32>>, row: usize| of.as_ref().map_or(0, |of| of[row * s.batch + sample]);
        let own = segment(queries, query);
        let inside = !s.causal || key <= query && s.window.is_none_or(|window| query - key < window);
        inside && own >= 0 && own == segment(keys, key)
    }

    /// Places of a query's and of a key's head in q and kv, or in q for both.
    fn places(&self, [sample, head, query, key]: [usize; 4]) -> [usize; 3] {
        let Attention { batch, heads, key_heads, head_dim: d, .. } = self.s;
        let key_head = head * key_heads / heads;
        if self.extras.apart {
            let k = ((key * batch + sample) * 2 * key_heads + key_head) * d;
            return [((query * batch + sample) * heads + head) * d, k, k + key_heads * d];
        }
        let row = |token: usize, head: usize| ((token * batch + sample) * (heads + 2 * key_heads) + head) * d;
        [row(query, head), row(key, heads + key_head), row(key, heads + key_heads + key_head)]
    }

    /// The formula in f64, with its gradients.
    fn naive(&self) -> [Vec<f64>; 5] {
        let (s, d) = (&self.s, self.s.head_dim);
        let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|x| f64::from(*x)).collect() };
        let [q, kv, grad, bias] = [&self.q, &self.kv, &self.grad, self.extras.bias.as_ref().unwrap_or(&Vec::new())].map(|x| wide(x));
        let mut results = [grad.len(), s.batch * s.heads * s.queries, q.len(), kv.len(), bias.len()].map(|len| vec![0.0; len]);
        let [out, lse, dq, dkv, d_bias] = &mut results;
        let source = if self.extras.apart { &kv } else { &q };
        for (row, lse) in lse.iter_mut().enumerate() {
            let (sample, head, i) = (row / s.queries / s.heads, row / s.queries % s.heads, row % s.queries);
            let factors = factors_of(s, sample, head, i);
            let at = ((i * s.batch + sample) * s.heads + head) * d;
            let bias_at = |key: usize| (head * s.queries + i) * s.keys + key;
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let keys: Vec<usize> = (0..s.keys).filter(|&key| self.sees(sample, i, key)).collect();
            let scores: Vec<f64> = (keys.iter())
                .map(|&key| {
                    let [own, k, _] = self.places([sample, head, i, key]);
                    f64::from(s.scale) * dot(&q[own..][..d], &source[k..][..d]) + bias.get(bias_at(key)).copied().unwrap_or(0.0)
                })
                .collect();
            let sum: f64 = scores.iter().map(|score| score.exp()).sum();
            *lse = sum.ln();
            for (&key, score) in keys.iter().zip(&scores) {
                let [_, _, v] = self.places([sample, head, i, key]);
                (0..d).for_each(|c| out[at + c] += score.exp() / sum * factors[key] * source[v + c]);
            }
            let delta = dot(&out[at..][..d], &grad[at..][..d]);
            for (&key, score) in keys.iter().zip(&scores) {
                let ([own, k, v], p) = (self.places([sample, head, i, key]), score.exp() / sum);
                let change = p * (factors[key] * dot(&grad[at..][..d], &source[v..][..d]) - delta);
                let slope = f64::from(s.scale) * change;
                if let Some(sum) = d_bias.get_mut(bias_at(key)) {
                    *sum += change;
                }
                for c in 0..d {
                    let d_source = if self.extras.apart { &mut *dkv } else { &mut *dq };
                    d_source[v + c] += p * factors[key] * grad[at + c];
                    d_source[k + c] += slope * q[own + c];
                    dq[own + c] += slope * source[k + c];
                }
            }
        }
        results
    }

    fn check(&self, limit: f64) {
        let (results, wanted) = (self.run(), self.naive());
        for ((name, results), wanted) in ["out", "lse", "dq", "dkv", "dBias"].into_iter().zip(&results).zip(&wanted) {
            for (i, (got, want)) in results.iter().zip(wanted).enumerate() {
                let got = f64::from(*got);
                let is_close = got == *want || (got - want).abs() < limit * (1.0 + want.abs());
                assert!(is_close, "{:?} {:?}: {name} {i} is {got}, not {want}", self.s, self.extras);
            }
        }
    }
}

/// The factors of a whole row of keys, drawn one by one.
fn factors_of(s: &Attention, sample: usize, head: usize, row: usize) -> Vec<f64> {
    let Some(dropout) = s.dropout else { return vec![1.0; s.keys] };
    let one = |key: usize| {
        let mut factor = [0.0];
        dropout.factors([sample, head, row], key, &mut factor);
        f64::from(factor[0])
    };
    (0..s.keys).map(one).collect()
}

fn check_values(s: &Attention, limit: f64) {
    let mut case = Case::new(*s, Extras::default());
    case.q.iter_mut().for_each(|x| *x *= 2.0);
    case.check(limit);
}

/// The formula's own gradients against differences of its values.
fn check_gradients(s: &Attention, extras: Extras) {
    let case = Case::new(*s, extras);
    let loss = |case: &Case| -> f64 { case.naive()[0].iter().zip(&case.grad).map(|(out, grad)| out * f64::from(*grad)).sum() };
    let [_, _, dq, dkv, d_bias] = case.naive();
    for (number, gradient) in [dq, dkv, d_bias].into_iter().enumerate() {
        for x in (0..gradient.len()).step_by((gradient.len() / 12).max(1)) {
            let at = |step: f32| {
                let mut moved = case.clone();
                match (number, &mut moved.extras.bias) {
                    (0, _) => moved.q[x] += step,
                    (1, _) => moved.kv[x] += step,
                    (_, Some(bias)) => bias[x] += step,
                    _ => unreachable!("there is no bias"),
                }
                loss(&moved)
            };
            let want = (at(0.0078125) - at(-0.0078125)) / 0.015625;
            assert!((gradient[x] - want).abs() < 1e-3, "{s:?} part {number} element {x}: {}, not {want}", gradient[x]);
        }
    }
    case.check(2e-5);
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
            check_gradients(&shape(seq, batch, heads, head_dim, causal), Extras::default());
        }
    }
}

#[test]
fn gradients_of_windows_and_dropouts_match_differences() {
    for window in [1, 20, 96, 130] {
        check_gradients(&windowed(210, 1, 3, window), Extras::default());
    }
    check_gradients(&dropping(0.4, windowed(110, 1, 3, 40)), Extras::default());
    check_gradients(&dropping(0.2, shape(100, 1, 2, 3, false)), Extras::default());
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
    let run = |s: Attention| Case::new(s, Extras::default()).run();
    assert!(run(s) == run(Attention { window: Some(200), ..s }));
}

/// Numbers below `limit` that look random.
struct Draws(u64);

impl Draws {
    fn next(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }

    /// Segments of a packed row, with padding at its end; or any.
    fn segments(&mut self, rows: usize, batch: usize) -> Vec<i32> {
        let (is_packed, run, end) = (self.next(3) > 0, 1 + self.next(rows.max(1)), rows - self.next(rows / 3 + 1));
        let any: Vec<i32> = (0..rows * batch).map(|_| self.next(4) as i32 - 1).collect();
        let packed = |row: usize, sample: usize| if row < end { ((row + 5 * sample) / run) as i32 } else { -1 };
        (0..rows * batch).map(|x| if is_packed { packed(x / batch, x % batch) } else { any[x] }).collect()
    }

    fn case(&mut self) -> Case {
        let (key_heads, apart) = (1 + self.next(3), self.next(3) == 0);
        let (queries, batch) = ([1, 3, 33, 97, 150, 205][self.next(6)], 1 + self.next(3));
        let keys = if apart { 1 + self.next(160) } else { queries };
        let causal = !apart && self.next(2) == 0;
        let mut s = Attention { keys, key_heads, ..shape(queries, batch, key_heads * (1 + self.next(3)), 1 + self.next(17), causal) };
        s.window = (causal && self.next(2) == 0).then(|| 1 + self.next(queries + 5));
        s.scale = if self.next(2) == 0 { s.scale } else { 0.7 };
        if self.next(4) == 0 {
            s = dropping(0.3, s);
        }
        let mut extras = Extras { apart, ..Extras::default() };
        if self.next(3) > 0 {
            let queries = self.segments(queries, batch);
            let keys = if apart { self.segments(keys, batch) } else { queries.clone() };
            extras.segments = [(!apart || self.next(3) > 0).then_some(queries), Some(keys)];
        }
        extras.bias = (self.next(3) == 0).then(|| values(s.bias_shape().iter().product(), 4));
        Case::new(s, extras)
    }
}

#[test]
fn random_groups_segments_windows_and_biases_match_the_formula_and_its_gradients() {
    let mut draws = Draws(7);
    for _ in 0..120 {
        draws.case().check(3e-5);
    }
}

#[test]
fn gradients_of_groups_segments_and_biases_match_differences() {
    let segments = |rows: usize| Some((0..2 * rows).map(|x| (x / 2 / 40) as i32 - (x % 2) as i32).collect::<Vec<_>>());
    let grouped = Attention { key_heads: 2, ..shape(110, 2, 4, 3, true) };
    check_gradients(&grouped, Extras { segments: [segments(110), segments(110)], ..Extras::default() });
    let crossing = Attention { keys: 70, causal: false, scale: 1.0, ..grouped };
    let bias = Some(values(4 * 110 * 70, 4));
    check_gradients(&crossing, Extras { apart: true, segments: [None, segments(70)], bias });
}

#[test]
fn a_query_that_sees_no_key_gives_zeros_and_no_gradient() {
    let mut case = Case::new(shape(100, 1, 2, 4, false), Extras::default());
    case.extras.segments = [Some((0..100).map(|x| -i32::from(x >= 50)).collect()), Some(vec![0; 100])];
    let [out, lse, dqkv, ..] = case.run();
    assert!(out[50 * 8..].iter().all(|x| *x == 0.0) && lse[50..100].iter().all(|x| *x == f32::NEG_INFINITY));
    assert!((50..100).all(|row| dqkv[row * 24..][..8].iter().all(|x| *x == 0.0)));
    assert!(out[..50 * 8].iter().all(|x| *x != 0.0) && dqkv.iter().all(|x| x.is_finite()));
    case.extras.segments = [None, Some(vec![-1; 100])];
    let [out, _, dqkv, ..] = case.run();
    assert!(out.iter().chain(&dqkv).all(|x| *x == 0.0));
    let hidden = Extras { bias: Some(vec![f32::NEG_INFINITY; 2 * 100 * 100]), ..Extras::default() };
    let results = Case::new(shape(100, 1, 2, 4, false), hidden).run();
    assert!(results[0].iter().chain(&results[2]).chain(&results[4]).all(|x| *x == 0.0));
}

#[test]
fn packed_documents_have_the_results_of_each_alone() {
    let s = Attention { key_heads: 1, ..shape(192, 1, 2, 8, true) };
    let segments = Some((0..192).map(|row| row / 96).collect::<Vec<i32>>());
    let whole = Case::new(s, Extras { segments: [segments.clone(), segments], ..Extras::default() });
    let [out, _, dqkv, ..] = whole.run();
    for document in 0..2 {
        let part = |x: &[f32]| x[document * x.len() / 2..(document + 1) * x.len() / 2].to_vec();
        let alone = Attention { queries: 96, keys: 96, ..s };
        let one = Case { s: alone, extras: Extras::default(), q: part(&whole.q), kv: Vec::new(), grad: part(&whole.grad) }.run();
        assert!(one[0] == part(&out) && one[2] == part(&dqkv), "document {document}");
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let full = [(1, true), (2, false), (5, true)].map(|(heads, causal)| shape(210, 1, heads, 24, causal));
    let cut = Attention { batch: 1, ..dropping(0.2, windowed(210, 5, 24, 50)) };
    let mut cases: Vec<Case> = full.into_iter().chain([cut]).map(|s| Case::new(s, Extras::default())).collect();
    let mut draws = Draws(3);
    cases.extend((0..8).map(|_| draws.case()));
    for case in cases {
        let at = |threads| {
            pool::set_threads(threads);
            case.run().map(|values| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        };
        let one = at(1);
        assert!([2, 3, 7].into_iter().all(|threads| at(threads) == one), "{:?}", case.s);
    }
}

#[test]
fn bits_of_a_sample_do_not_depend_on_its_place_in_the_batch() {
    let s = shape(130, 3, 2, 16, true);
    let case = Case::new(s, Extras::default());
    let whole = case.run();
    let rows =
        |data: &[f32]| -> Vec<f32> { data.chunks_exact(data.len() / 130).flat_map(|row| &row[row.len() / 3 * 2..]).copied().collect() };
    let alone =
        Case { s: Attention { batch: 1, ..s }, extras: Extras::default(), q: rows(&case.q), kv: Vec::new(), grad: rows(&case.grad) }.run();
    assert!(alone[0] == rows(&whole[0]) && alone[1] == whole[1][2 * 2 * 130..] && alone[2] == rows(&whole[2]));
}

#[test]
fn large_scores_do_not_overflow() {
    let q = vec![1e3, 1e3, 1.0, 1e3, -1e3, 2.0, -1e3, 0.0, 4.0];
    let case = Case { s: shape(3, 1, 1, 1, true), extras: Extras::default(), q, kv: Vec::new(), grad: vec![1.0; 3] };
    let [out, lse, dqkv, ..] = case.run();
    assert!(out == [1.0, 1.0, 2.0] && lse[0] == 1e6 && dqkv.iter().all(|x| x.is_finite()));
}

#[test]
fn nan_reaches_the_rows_that_see_it() {
    let mut case = Case::new(shape(4, 1, 1, 2, true), Extras::default());
    case.q[2 * 6] = f32::NAN;
    let nan: Vec<bool> = case.run()[0].iter().map(|x| x.is_nan()).collect();
    assert_eq!(nan, [false, false, false, false, true, true, false, false]);
}

fn inputs<T>(q: &[T]) -> Inputs<'_, T> {
    Inputs { q, kv: None, segments: [None, None], bias: None }
}

#[test]
fn empty_sizes_are_fine() {
    attention::<f32>(&inputs(&[]), &shape(0, 2, 2, 4, true), &mut [], &mut []).unwrap();
    attention::<f32>(&inputs(&[]), &shape(3, 0, 2, 4, true), &mut [], &mut []).unwrap();
    let none = Saved { out: &[], lse: &[0.0; 6], grad: &[] };
    let no_channels = Attention { scale: 1.0, ..shape(3, 1, 2, 0, false) };
    attention_backward::<f32>(&inputs(&[]), &none, &no_channels, Gradients { q: &mut [], kv: None, bias: None }).unwrap();
    let no_keys = Case::new(Attention { keys: 0, ..shape(3, 1, 2, 4, false) }, Extras { apart: true, ..Extras::default() });
    let [out, _, dq, ..] = no_keys.run();
    assert!(out.iter().chain(&dq).all(|x| *x == 0.0));
    let no_queries = Case::new(Attention { queries: 0, ..shape(3, 1, 2, 4, false) }, Extras { apart: true, ..Extras::default() });
    assert!(no_queries.run()[3].iter().all(|x| *x == 0.0));
}

#[test]
fn what_does_not_fit_is_refused() {
    let error = |q: &[f32], s: Attention| attention(&inputs(q), &s, &mut [0.0; 4], &mut [0.0; 2]).unwrap_err();
    assert_eq!(
        error(&[0.0; 11], shape(2, 1, 1, 2, true)),
        "attention: q has 11 values, which is not the shape [2, 1, 3, 2]. Pass a tensor of that shape."
    );
    assert!(error(&[], shape(usize::MAX, 3, 1, 2, true)).contains("is not the shape"));
    let s = shape(2, 1, 1, 2, false);
    assert!(error(&[], Attention { window: Some(3), ..s }).contains("a window belongs to a causal attention"));
    assert!(error(&[], Attention { keys: 3, ..s }).contains("2 queries and 3 keys are not those of one sequence"));
    assert!(error(&[], Attention { heads: 3, key_heads: 2, ..s }).contains("3 heads do not share 2 key heads evenly"));
    assert!(error(&[], Attention { key_heads: 0, ..s }).contains("1 heads do not share 0 key heads evenly"));
    assert!(error(&[], Attention { scale: f32::NAN, ..s }).contains("the scale NaN is not a number above 0"));
    let held = |segments, bias| {
        let wrong = Inputs { segments, bias, ..inputs(&[0.0; 12]) };
        attention(&wrong, &s, &mut [0.0; 4], &mut [0.0; 2]).unwrap_err()
    };
    assert!(held([Some(&[0; 3]), None], None).contains("querySegments has 3 values, which is not the shape [2, 1]"));
    assert!(held([None, Some(&[0; 3])], None).contains("keySegments has 3 values"));
    assert!(held([None, None], Some(&[0.0; 3])).contains("bias has 3 values, which is not the shape [1, 2, 2]"));
    let saved = Saved { out: &[0.0; 4], lse: &[0.0; 2], grad: &[0.0; 4] };
    let gradients = Gradients { q: &mut [0.0; 12], kv: Some(&mut []), bias: None };
    let error = attention_backward(&inputs(&[0.0; 12]), &saved, &s, gradients).unwrap_err();
    assert!(error.contains("kv and its gradient do not go together"));
}

#[test]
fn bf16_tensors_give_the_f32_results_of_bf16_products_rounded_once() {
    use crate::stored::rounding::{bits, widened};
    let shapes = [shape(5, 2, 3, 7, true), shape(230, 1, 5, 32, true), shape(100, 2, 2, 64, false), windowed(230, 2, 9, 30)];
    let mut cases: Vec<Case> = shapes.map(|s| Case::new(s, Extras::default())).into();
    cases.push(Case::new(dropping(0.3, shape(130, 2, 2, 16, true)), Extras::default()));
    let mut draws = Draws(9);
    cases.extend((0..20).map(|_| draws.case()));
    for mut case in cases {
        case.s.precision = Precision::Bf16;
        let [q16, kv16, grad16] = [&case.q, &case.kv, &case.grad].map(|x| bits(x));
        (case.q, case.kv, case.grad) = (widened(&q16), widened(&kv16), widened(&grad16));
        let (s, wide) = (&case.s, case.inputs());
        let narrow = Inputs { q: &q16, kv: wide.kv.map(|_| &kv16[..]), segments: wide.segments, bias: wide.bias };
        let [mut lse, mut lse16] = [(); 2].map(|()| vec![0.0; s.batch * s.heads * s.queries]);
        let (mut out, mut out16) = (vec![0.0; case.grad.len()], vec![0u16; case.grad.len()]);
        attention(&wide, s, &mut out, &mut lse).unwrap();
        attention(&narrow, s, &mut out16, &mut lse16).unwrap();
        assert!(out16 == bits(&out) && lse16 == lse, "{s:?}");
        let [mut dq, mut dkv] = [&case.q, &case.kv].map(|of| vec![f32::NAN; of.len()]);
        let [mut dq16, mut dkv16] = [&case.q, &case.kv].map(|of| vec![0u16; of.len()]);
        let saved = Saved { out: &widened(&out16), lse: &lse, grad: &case.grad };
        let gradients = Gradients { q: &mut dq, kv: wide.kv.is_some().then_some(&mut dkv[..]), bias: None };
        attention_backward(&wide, &saved, s, gradients).unwrap();
        let saved = Saved { out: &out16, lse: &lse, grad: &grad16 };
        let gradients = Gradients { q: &mut dq16, kv: wide.kv.is_some().then_some(&mut dkv16[..]), bias: None };
        attention_backward(&narrow, &saved, s, gradients).unwrap();
        assert!(dq16 == bits(&dq) && dkv16 == bits(&dkv), "{s:?}");
    }
}
