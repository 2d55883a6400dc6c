//! Attention, plain and for tensor cores, against the formula in f64, to which the CPU's kernel is held too.

use crate::device::{Argument::*, NULL, device};
use crate::memory::{FLOATS, Float, Memory, values};
use crate::rows::philox;
use kernels::attention::{self, Attention, Gradients, Inputs, Saved};
use kernels::cuda::AttentionShape;
use kernels::gemm::Precision;
use kernels::random::Dropout;

/// What is attended, in a fused buffer `[seq, batch, q heads | k heads | v heads, d]`, or with keys of their own in
/// `[seq, batch, q heads, d]` and `[keys, batch, k heads | v heads, d]`.
#[derive(Clone, Copy, Debug)]
struct Case {
    seq: usize,
    keys: Option<usize>,
    batch: usize,
    heads: usize,
    key_heads: usize,
    d: usize,
    causal: bool,
    window: usize,
    dropout: f64,
    /// Whether queries and keys have segments.
    segments: bool,
    bias: bool,
}

const KEY: [u32; 2] = [5, 6];
/// First sample and first head in the whole model.
const FIRST: [u32; 2] = [3, 2];

impl Case {
    fn key_count(&self) -> usize {
        self.keys.unwrap_or(self.seq)
    }

    /// Heads in a token of q and in one of keys.
    fn rows(&self) -> [usize; 2] {
        let pairs = 2 * self.key_heads;
        if self.keys.is_some() { [self.heads, pairs] } else { [self.heads + pairs; 2] }
    }

    /// Elements of q, or of the fused buffer, and of keys and values of their own.
    fn lens(&self) -> [usize; 2] {
        let [q, kv] = self.rows();
        [self.seq * self.batch * q * self.d, self.keys.map_or(0, |keys| keys * self.batch * kv * self.d)]
    }

    /// Documents that interleave, and padding.
    fn segments_of(&self, rows: usize) -> Vec<i32> {
        (0..rows * self.batch).map(|x| (x / self.batch * 5 % 7 + x % self.batch) as i32 % 3 - i32::from(x % 11 == 3)).collect()
    }

    fn bias(&self) -> Vec<f32> {
        if self.bias { values(self.heads * self.seq * self.key_count(), 5, 1.0) } else { Vec::new() }
    }

    fn shape(&self) -> AttentionShape {
        let strides = |heads: usize| [self.batch * heads * self.d, heads * self.d, self.d].map(|stride| stride as u64);
        AttentionShape {
            queries: self.seq as u32,
            keys: self.key_count() as u32,
            batch: self.batch as u32,
            heads: self.heads as u32,
            head_dim: self.d as u32,
            heads_per_key: (self.heads / self.key_heads) as u32,
            causal: self.causal.into(),
            window: self.window as u32,
            threshold: (self.dropout * 4_294_967_296.0) as u32,
            scale: 1.0 / (self.d as f32).sqrt(),
            factor: (1.0 / (1.0 - self.dropout)) as f32,
            query: strides(self.rows()[0]),
            key: strides(self.rows()[1]),
            out: strides(self.heads),
        }
    }

    fn sees(&self, sample: usize, query: usize, key: usize) -> bool {
        let inside = (!self.causal || key <= query) && (self.window == 0 || query - key < self.window);
        let segment = |rows: usize, row: usize| self.segments_of(rows)[row * self.batch + sample];
        let own = if self.segments { segment(self.seq, query) } else { 0 };
        inside && (!self.segments || own >= 0 && own == segment(self.key_count(), key))
    }

    fn kept(&self, [sample, head, query, key]: [usize; 4]) -> f64 {
        let counter = [key as u32 / 4, query as u32, FIRST[1] + head as u32, FIRST[0] + sample as u32];
        let is_dropped = philox(counter, KEY)[key % 4] < (self.dropout * 4_294_967_296.0) as u32;
        if is_dropped { 0.0 } else { 1.0 / (1.0 - self.dropout) }
    }
}

/// out, lse, and the gradients of q, of keys and values of their own, and of the bias.
fn naive(case: &Case, q_data: &[f32], kv_data: &[f32], grad: &[f32]) -> [Vec<f32>; 5] {
    let Case { seq, batch, heads, key_heads, d, .. } = *case;
    let ([q_row, kv_row], is_apart, bias) = (case.rows(), case.keys.is_some(), case.bias());
    let (source, first) = if is_apart { (kv_data, 0) } else { (q_data, heads) };
    let out_at = |token: usize, sample: usize, head: usize| ((token * batch + sample) * heads + head) * d;
    let mut results = [grad.len(), batch * heads * seq, q_data.len(), kv_data.len(), bias.len()].map(|len| vec![0f64; len]);
    let [out, lse, dq, dkv, d_bias] = &mut results;
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    for (sample, head, query) in
        (0..batch).flat_map(|sample| (0..heads).flat_map(move |head| (0..seq).map(move |query| (sample, head, query))))
    {
        let key_head = head / (heads / key_heads);
        let (q, scale) = (((query * batch + sample) * q_row + head) * d, 1.0 / (d as f64).sqrt());
        let keys: Vec<usize> = (0..case.key_count()).filter(|&key| case.sees(sample, query, key)).collect();
        let k = |key: usize| ((key * batch + sample) * kv_row + first + key_head) * d;
        let v = |key: usize| k(key) + key_heads * d;
        let bias_at = |key: usize| (head * seq + query) * case.key_count() + key;
        let added = |key: usize| bias.get(bias_at(key)).copied().map_or(0.0, f64::from);
        let scores: Vec<f64> = keys.iter().map(|&key| scale * dot(&q_data[q..][..d], &source[k(key)..][..d]) + added(key)).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - top).exp()).sum();
        lse[(sample * heads + head) * seq + query] = top + total.ln();
        let o = out_at(query, sample, head);
        let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp() / total).collect();
        let kept: Vec<f64> = keys.iter().map(|&key| if case.dropout > 0.0 { case.kept([sample, head, query, key]) } else { 1.0 }).collect();
        for (i, &key) in keys.iter().enumerate() {
            (0..d).for_each(|c| out[o + c] += weights[i] * kept[i] * f64::from(source[v(key) + c]));
        }
        let delta: f64 = (0..d).map(|c| out[o + c] * f64::from(grad[o + c])).sum();
        for (i, &key) in keys.iter().enumerate() {
            let change = weights[i] * (kept[i] * dot(&grad[o..][..d], &source[v(key)..][..d]) - delta);
            if let Some(sum) = d_bias.get_mut(bias_at(key)) {
                *sum += change;
            }
            for c in 0..d {
                let d_source = if is_apart { &mut *dkv } else { &mut *dq };
                d_source[v(key) + c] += weights[i] * kept[i] * f64::from(grad[o + c]);
                d_source[k(key) + c] += scale * change * f64::from(q_data[q + c]);
                dq[q + c] += scale * change * f64::from(source[k(key) + c]);
            }
        }
    }
    results.map(|values| values.into_iter().map(|value| value as f32).collect())
}

const PLAIN: Case = Case {
    seq: 37,
    keys: None,
    batch: 2,
    heads: 3,
    key_heads: 3,
    d: 20,
    causal: false,
    window: 0,
    dropout: 0.0,
    segments: false,
    bias: false,
};
/// All that a case can have, within a sequence and across two.
const HELD: Case = Case { causal: true, window: 9, dropout: 0.3, segments: true, key_heads: 1, bias: true, ..PLAIN };
const ACROSS: Case = Case { keys: Some(41), segments: true, heads: 4, key_heads: 2, dropout: 0.2, bias: true, ..PLAIN };

#[test]
fn the_formula_is_that_of_the_cpu() {
    for case in [
        PLAIN,
        Case { causal: true, ..PLAIN },
        Case { causal: true, window: 9, dropout: 0.3, ..PLAIN },
        Case { causal: true, seq: 130, d: 64, dropout: 0.1, ..PLAIN },
        HELD,
        ACROSS,
    ] {
        let Case { seq, batch, heads, key_heads, d, causal, .. } = case;
        let ([q_len, kv_len], grad) = (case.lens(), values(seq * batch * heads * d, 2, 1.0));
        let (q, kv, bias) = (values(q_len, 1, 1.0), values(kv_len, 3, 1.0), case.bias());
        let dropout = (case.dropout > 0.0).then(|| Dropout::new(case.dropout, KEY, FIRST).unwrap());
        let window = (case.window > 0).then_some(case.window);
        let (scale, precision) = (1.0 / (d as f32).sqrt(), Precision::F32);
        let (queries, keys) = (seq, case.key_count());
        let shape = Attention { queries, keys, batch, heads, key_heads, head_dim: d, causal, window, scale, dropout, precision };
        let segments = [seq, keys].map(|rows| case.segments_of(rows));
        let segments = segments.each_ref().map(|segments| case.segments.then_some(&segments[..]));
        let inputs = Inputs { q: &q[..], kv: case.keys.is_some().then_some(&kv[..]), segments, bias: case.bias.then_some(&bias[..]) };
        let [mut out, mut lse] = [grad.len(), batch * heads * seq].map(|len| vec![0.0; len]);
        let [mut dq, mut dkv, mut d_bias] = [q_len, kv_len, bias.len()].map(|len| vec![0.0; len]);
        attention::attention(&inputs, &shape, &mut out[..], &mut lse).unwrap();
        let saved = Saved { out: &out[..], lse: &lse, grad: &grad };
        let gradients =
            Gradients { q: &mut dq[..], kv: case.keys.is_some().then_some(&mut dkv[..]), bias: case.bias.then_some(&mut d_bias[..]) };
        attention::attention_backward(&inputs, &saved, &shape, gradients).unwrap();
        let [want_out, want_lse, want_q, want_kv, want_bias] = naive(&case, &q, &kv, &grad);
        Float::F32.expect("out", &out, &want_out, 0.0, 3e-6);
        Float::F32.expect("lse", &lse, &want_lse, 0.0, 3e-6);
        for (got, want) in [(dq, want_q), (dkv, want_kv), (d_bias, want_bias)] {
            Float::F32.expect("change", &got, &want, 0.0, 2e-5);
        }
    }
}

/// Runs forward and backward by the kernels of a unit and compares; `slack` is the error of a 16-bit product of sums of this size.
fn check(unit: &str, variant: &str, float: Float, case: Case, slack: f32) {
    let Case { seq, batch, heads, key_heads, d, .. } = case;
    let what = format!("{unit} {variant} {case:?}");
    let ([q_len, kv_len], keys, bias) = (case.lens(), case.key_count(), case.bias());
    let [q, kv, grad] = [(q_len, 1), (kv_len, 3), (seq * batch * heads * d, 2)].map(|(len, seed)| float.rounded(&values(len, seed, 1.0)));
    let [want_out, want_lse, want_q, want_kv, want_bias] = naive(&case, &q, &kv, &grad);
    let (device, shape, is_plain) = (device(unit, variant), Shape(case.shape()), unit == "attention_plain");
    let draw = Memory::of(&[KEY[0], KEY[1], FIRST[0], FIRST[1]], 0);
    let draw = if case.dropout > 0.0 { draw.argument() } else { NULL };
    let segments = [seq, keys].map(|rows| Memory::of(&case.segments_of(rows), 0));
    let segments = segments.each_ref().map(|segments| if case.segments { segments.argument() } else { NULL });
    let bias_at = Memory::of(&bias, 0);
    let mut held = vec![shape, draw, segments[0], segments[1]];
    if is_plain {
        held.push(if case.bias { bias_at.argument() } else { NULL });
    }
    let (q_at, kv_at, dq, dkv) = (float.put(&q, 0), float.put(&kv, 0), float.room(q_len, 0), float.room(kv_len, 0));
    let parts = |q: &Memory, kv: &Memory| {
        let (first, of_keys) = if case.keys.is_some() { (0, kv) } else { (heads, q) };
        let bytes = if float == Float::F32 { 4 } else { 2 };
        let at = |memory: &Memory, row: usize| match memory.argument() {
            Pointer(start) => Pointer(start.wrapping_byte_add(row * d * bytes)),
            other => other,
        };
        [at(q, 0), at(of_keys, first), at(of_keys, first + key_heads)]
    };
    let ([q, k, v], [dq_at, dk, dv]) = (parts(&q_at, &kv_at), parts(&dq, &dkv));
    let (out, lse) = (float.room(grad.len(), 0), Float::F32.room(batch * heads * seq, 0));
    let grad = float.put(&grad, 0);
    let delta = Float::F32.room(batch * heads * seq, 0);
    let extents = [seq, batch, heads].map(|extent| extent as u64);
    let names = if is_plain {
        ["attention_plain", "attention_plain_backward_q", "attention_plain_backward_kv"]
    } else {
        ["attention", "attention_backward_q", "attention_backward_kv"]
    };
    device.launch(names[0], &extents, &[&held[..], &[q, k, v, out.argument(), lse.argument()]].concat());
    Float::F32.expect(&format!("{what}: lse"), &lse.get::<f32>(), &want_lse, 0.0, 1e-5);
    float.expect(&format!("{what}: out"), &float.get(&out), &want_out, 1.0, slack);
    let plain = crate::device::device("attention_plain", variant);
    plain.launch("attention_delta", &extents, &[shape, out.argument(), grad.argument(), delta.argument()]);
    let saved = [&held[..], &[q, k, v, grad.argument(), lse.argument(), delta.argument()]].concat();
    device.launch(names[1], &extents, &[&saved[..], &[dq_at]].concat());
    device.launch(names[2], &[keys, batch, key_heads].map(|extent| extent as u64), &[&saved[..], &[dk, dv]].concat());
    for (got, want) in [(&dq, want_q), (&dkv, want_kv)] {
        float.expect(&format!("{what}: change"), &float.get(got), &want, 2.0, 4.0 * slack);
    }
    if case.bias {
        let d_bias = Float::F32.room(bias.len(), 0);
        let places = [&saved[..], &[d_bias.argument()]].concat();
        device.launch("attention_plain_backward_bias", &[seq as u64, heads as u64], &places);
        // delta has the rounding of a 16-bit output, and nothing rounds its difference from it away.
        Float::F32.expect(&format!("{what}: bias"), &d_bias.get::<f32>(), &want_bias, 0.0, 12.0 * slack);
    }
}

/// What the first of two documents of 64 tokens gets: out, and the gradients of the fused buffer. The other one may be spoiled.
fn first_document(unit: &str, variant: &str, float: Float, is_spoiled: bool) -> [Vec<f32>; 2] {
    let case = Case { seq: 128, batch: 1, heads: 1, key_heads: 1, d: 64, ..PLAIN };
    let spoil = |row: usize, mut data: Vec<f32>| {
        if is_spoiled {
            data[64 * row..].fill(f32::NAN);
        }
        float.put(&data, 0)
    };
    let [q, grad] = [(3 * 64, 1), (64, 2)].map(|(row, seed)| spoil(row, float.rounded(&values(128 * row, seed, 1.0))));
    let segments = Memory::of(&(0..128).map(|token| token / 64).collect::<Vec<i32>>(), 0);
    let at = |memory: &Memory, part: usize| match memory.argument() {
        Pointer(start) => Pointer(start.wrapping_byte_add(part * 64 * if float == Float::F32 { 4 } else { 2 })),
        other => other,
    };
    let is_plain = unit == "attention_plain";
    let mut held = vec![Shape(case.shape()), NULL, segments.argument(), segments.argument()];
    held.extend(is_plain.then_some(NULL));
    let (out, lse, delta, dq) = (float.room(128 * 64, 0), Float::F32.room(128, 0), Float::F32.room(128, 0), float.room(128 * 192, 0));
    let parts = [at(&q, 0), at(&q, 1), at(&q, 2)];
    let (kernels, extents) = (device(unit, variant), [128, 1, 1]);
    let name = |tail: &str| format!("{unit}{tail}");
    kernels.launch(&name(""), &extents, &[&held[..], &parts[..], &[out.argument(), lse.argument()]].concat());
    let of_delta = [Shape(case.shape()), out.argument(), grad.argument(), delta.argument()];
    device("attention_plain", variant).launch("attention_delta", &extents, &of_delta);
    let saved = [&held[..], &parts[..], &[grad.argument(), lse.argument(), delta.argument()]].concat();
    kernels.launch(&name("_backward_q"), &extents, &[&saved[..], &[at(&dq, 0)]].concat());
    kernels.launch(&name("_backward_kv"), &extents, &[&saved[..], &[at(&dq, 1), at(&dq, 2)]].concat());
    [float.get(&out)[..64 * 64].to_vec(), float.get(&dq)[..64 * 192].to_vec()]
}

#[test]
fn tiles_of_other_documents_are_not_even_read() {
    let units = [("attention_plain", Float::F32), ("attention_plain", Float::Bf16), ("attention", Float::Bf16), ("attention", Float::F16)];
    for (unit, float) in units {
        let variant = format!("{}-64", float.name());
        let [want, got] = [false, true].map(|is_spoiled| first_document(unit, &variant, float, is_spoiled));
        assert!(want.iter().flatten().all(|value| value.is_finite()), "{unit} {variant}");
        assert_eq!(got, want, "{unit} {variant}");
    }
}

#[test]
fn the_plain_kernels_compute_the_formula() {
    for float in FLOATS {
        let slack = if float == Float::F32 { 5e-6 } else { 2e-3 };
        let name = |head: usize| format!("{}-{head}", float.name());
        check("attention_plain", &name(64), float, PLAIN, slack);
        check("attention_plain", &name(64), float, Case { causal: true, seq: 70, key_heads: 1, ..PLAIN }, slack);
        check("attention_plain", &name(64), float, Case { causal: true, window: 9, dropout: 0.3, ..PLAIN }, slack);
        check("attention_plain", &name(64), float, Case { seq: 1, causal: true, d: 64, ..PLAIN }, slack);
        check("attention_plain", &name(64), float, HELD, slack);
        check("attention_plain", &name(64), float, ACROSS, slack);
        check("attention_plain", &name(128), float, Case { dropout: 0.1, d: 100, heads: 2, key_heads: 2, ..PLAIN }, slack);
    }
}

#[test]
fn the_kernels_for_tensor_cores_compute_the_formula() {
    let case = Case { d: 64, ..PLAIN };
    for (float, slack) in [(Float::Bf16, 1.2e-2), (Float::F16, 2e-3)] {
        let name = |head: usize| format!("{}-{head}", float.name());
        check("attention", &name(64), float, case, slack);
        check("attention", &name(64), float, Case { causal: true, seq: 150, key_heads: 1, batch: 1, ..case }, slack);
        check("attention", &name(64), float, Case { causal: true, seq: 150, window: 21, dropout: 0.3, batch: 1, d: 40, ..case }, slack);
        check("attention", &name(64), float, Case { seq: 1, causal: true, ..case }, slack);
        check("attention", &name(64), float, Case { d: 40, bias: false, ..HELD }, slack);
        check("attention", &name(64), float, Case { d: 40, bias: false, keys: Some(101), ..ACROSS }, slack);
        check("attention", &name(128), float, Case { dropout: 0.1, d: 128, seq: 64, heads: 2, key_heads: 2, ..case }, slack);
        check("attention", &name(128), float, Case { causal: true, d: 80, seq: 97, heads: 1, key_heads: 1, ..case }, slack);
    }
}
