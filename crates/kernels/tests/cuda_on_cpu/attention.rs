//! Attention, plain and for tensor cores, against the formula in f64, to which the CPU's kernel is held too.

use crate::device::{Argument::*, NULL, device};
use crate::memory::{FLOATS, Float, Memory, values};
use crate::rows::philox;
use kernels::attention::{self, Attention, Gradients, Inputs, Saved};
use kernels::cuda::AttentionShape;
use kernels::gemm::Precision;
use kernels::random::Dropout;

/// What is attended, in a fused buffer `[seq, batch, q heads | k heads | v heads, d]`.
#[derive(Clone, Copy, Debug)]
struct Case {
    seq: usize,
    batch: usize,
    heads: usize,
    key_heads: usize,
    d: usize,
    causal: bool,
    window: usize,
    dropout: f64,
}

const KEY: [u32; 2] = [5, 6];
/// First sample and first head in the whole model.
const FIRST: [u32; 2] = [3, 2];

impl Case {
    fn row(&self) -> usize {
        self.heads + 2 * self.key_heads
    }

    fn shape(&self) -> AttentionShape {
        let token = self.batch * self.row() * self.d;
        let strides = [token, self.row() * self.d, self.d].map(|stride| stride as u64);
        AttentionShape {
            seq: self.seq as u32,
            batch: self.batch as u32,
            heads: self.heads as u32,
            head_dim: self.d as u32,
            heads_per_key: (self.heads / self.key_heads) as u32,
            causal: self.causal.into(),
            window: self.window as u32,
            threshold: (self.dropout * 4_294_967_296.0) as u32,
            scale: 1.0 / (self.d as f32).sqrt(),
            factor: (1.0 / (1.0 - self.dropout)) as f32,
            query: strides,
            key: strides,
            out: [self.batch * self.heads * self.d, self.heads * self.d, self.d].map(|stride| stride as u64),
        }
    }

    fn sees(&self, query: usize, key: usize) -> bool {
        (!self.causal || key <= query) && (self.window == 0 || query - key < self.window)
    }

    fn kept(&self, [sample, head, query, key]: [usize; 4]) -> f64 {
        let counter = [key as u32 / 4, query as u32, FIRST[1] + head as u32, FIRST[0] + sample as u32];
        let is_dropped = philox(counter, KEY)[key % 4] < (self.dropout * 4_294_967_296.0) as u32;
        if is_dropped { 0.0 } else { 1.0 / (1.0 - self.dropout) }
    }
}

/// out, lse, and the gradient of the fused buffer.
fn naive(case: &Case, qkv: &[f32], grad: &[f32]) -> [Vec<f32>; 3] {
    let Case { seq, batch, heads, key_heads, d, .. } = *case;
    let at = |token: usize, sample: usize, row: usize| ((token * batch + sample) * case.row() + row) * d;
    let out_at = |token: usize, sample: usize, head: usize| ((token * batch + sample) * heads + head) * d;
    let (mut out, mut lse, mut change) = (vec![0f64; seq * batch * heads * d], vec![0f64; batch * heads * seq], vec![0f64; qkv.len()]);
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    for (sample, head, query) in
        (0..batch).flat_map(|sample| (0..heads).flat_map(move |head| (0..seq).map(move |query| (sample, head, query))))
    {
        let key_head = head / (heads / key_heads);
        let (q, scale) = (at(query, sample, head), 1.0 / (d as f64).sqrt());
        let keys: Vec<usize> = (0..seq).filter(|&key| case.sees(query, key)).collect();
        let k = |key: usize| at(key, sample, heads + key_head);
        let v = |key: usize| at(key, sample, heads + key_heads + key_head);
        let scores: Vec<f64> = keys.iter().map(|&key| scale * dot(&qkv[q..][..d], &qkv[k(key)..][..d])).collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - top).exp()).sum();
        lse[(sample * heads + head) * seq + query] = top + total.ln();
        let o = out_at(query, sample, head);
        let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp() / total).collect();
        let kept: Vec<f64> = keys.iter().map(|&key| if case.dropout > 0.0 { case.kept([sample, head, query, key]) } else { 1.0 }).collect();
        for (i, &key) in keys.iter().enumerate() {
            (0..d).for_each(|c| out[o + c] += weights[i] * kept[i] * f64::from(qkv[v(key) + c]));
        }
        let delta: f64 = (0..d).map(|c| out[o + c] * f64::from(grad[o + c])).sum();
        for (i, &key) in keys.iter().enumerate() {
            let slope = scale * weights[i] * (kept[i] * dot(&grad[o..][..d], &qkv[v(key)..][..d]) - delta);
            for c in 0..d {
                change[v(key) + c] += weights[i] * kept[i] * f64::from(grad[o + c]);
                change[q + c] += slope * f64::from(qkv[k(key) + c]);
                change[k(key) + c] += slope * f64::from(qkv[q + c]);
            }
        }
    }
    [out, lse, change].map(|values| values.into_iter().map(|value| value as f32).collect())
}

const PLAIN: Case = Case { seq: 37, batch: 2, heads: 3, key_heads: 3, d: 20, causal: false, window: 0, dropout: 0.0 };

#[test]
fn the_formula_is_that_of_the_cpu() {
    for case in [
        PLAIN,
        Case { causal: true, ..PLAIN },
        Case { causal: true, window: 9, dropout: 0.3, ..PLAIN },
        Case { causal: true, seq: 130, d: 64, dropout: 0.1, ..PLAIN },
    ] {
        let Case { seq, batch, heads, d, causal, .. } = case;
        let (qkv, grad) = (values(seq * batch * 3 * heads * d, 1, 1.0), values(seq * batch * heads * d, 2, 1.0));
        let dropout = (case.dropout > 0.0).then(|| Dropout::new(case.dropout, KEY, FIRST).unwrap());
        let window = (case.window > 0).then_some(case.window);
        let (scale, precision) = (1.0 / (d as f32).sqrt(), Precision::F32);
        let (queries, keys, key_heads) = (seq, seq, heads);
        let shape = Attention { queries, keys, batch, heads, key_heads, head_dim: d, causal, window, scale, dropout, precision };
        let [mut out, mut lse, mut change] = [grad.len(), batch * heads * seq, qkv.len()].map(|len| vec![0.0; len]);
        let inputs = Inputs { q: &qkv[..], kv: None, segments: [None, None], bias: None };
        attention::attention(&inputs, &shape, &mut out[..], &mut lse).unwrap();
        let saved = Saved { out: &out[..], lse: &lse, grad: &grad };
        let gradients = Gradients { q: &mut change[..], kv: None, bias: None };
        attention::attention_backward(&inputs, &saved, &shape, gradients).unwrap();
        let [want_out, want_lse, want_change] = naive(&case, &qkv, &grad);
        Float::F32.expect("out", &out, &want_out, 0.0, 3e-6);
        Float::F32.expect("lse", &lse, &want_lse, 0.0, 3e-6);
        Float::F32.expect("change", &change, &want_change, 0.0, 2e-5);
    }
}

/// Runs forward and backward by the kernels of a unit and compares; `slack` is the error of a 16-bit product of sums of this size.
fn check(unit: &str, variant: &str, float: Float, case: Case, slack: f32) {
    let Case { seq, batch, heads, key_heads, d, .. } = case;
    let what = format!("{unit} {variant} {case:?}");
    let qkv = float.rounded(&values(seq * batch * case.row() * d, 1, 1.0));
    let grad = float.rounded(&values(seq * batch * heads * d, 2, 1.0));
    let [want_out, want_lse, want_change] = naive(&case, &qkv, &grad);
    let (device, shape) = (device(unit, variant), Shape(case.shape()));
    let draw = Memory::of(&[KEY[0], KEY[1], FIRST[0], FIRST[1]], 0);
    let draw = if case.dropout > 0.0 { draw.argument() } else { NULL };
    let (fused, change) = (float.put(&qkv, 0), float.room(qkv.len(), 0));
    let parts = |memory: &Memory| {
        let Pointer(start) = memory.argument() else { unreachable!() };
        let bytes = if float == Float::F32 { 4 } else { 2 };
        [0, heads, heads + key_heads].map(|row| Pointer(start.wrapping_byte_add(row * d * bytes)))
    };
    let ([q, k, v], [dq, dk, dv]) = (parts(&fused), parts(&change));
    let (out, lse) = (float.room(grad.len(), 0), Float::F32.room(batch * heads * seq, 0));
    let grad = float.put(&grad, 0);
    let delta = Float::F32.room(batch * heads * seq, 0);
    let extents = [seq, batch, heads].map(|extent| extent as u64);
    let names = if unit == "attention" {
        ["attention", "attention_backward_q", "attention_backward_kv"]
    } else {
        ["attention_plain", "attention_plain_backward_q", "attention_plain_backward_kv"]
    };
    device.launch(names[0], &extents, &[shape, draw, q, k, v, out.argument(), lse.argument()]);
    Float::F32.expect(&format!("{what}: lse"), &lse.get::<f32>(), &want_lse, 0.0, 1e-5);
    float.expect(&format!("{what}: out"), &float.get(&out), &want_out, 1.0, slack);
    let plain = crate::device::device("attention_plain", variant);
    plain.launch("attention_delta", &extents, &[shape, out.argument(), grad.argument(), delta.argument()]);
    let saved = [shape, draw, q, k, v, grad.argument(), lse.argument(), delta.argument()];
    device.launch(names[1], &extents, &[&saved[..], &[dq]].concat());
    device.launch(names[2], &[seq as u64, batch as u64, key_heads as u64], &[&saved[..], &[dk, dv]].concat());
    float.expect(&format!("{what}: change"), &float.get(&change), &want_change, 2.0, 4.0 * slack);
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
        check("attention", &name(128), float, Case { dropout: 0.1, d: 128, seq: 64, heads: 2, key_heads: 2, ..case }, slack);
        check("attention", &name(128), float, Case { causal: true, d: 80, seq: 97, heads: 1, key_heads: 1, ..case }, slack);
    }
}
