//! Attention over one fused buffer: qkv is `[seq, batch, 3 * heads * d]` with rows [q heads | k heads | v heads]; per head
//! out = dropout(softmax(scale q k^T)) v with scale = 1 / sqrt(d). A causal row i sees keys 0..=i, with a window of w only the
//! last w of them.
//!
//! Queries are taken in strips: the scores of a strip live in a small buffer, so memory is linear in seq. The forward pass saves
//! lse = ln sum exp of each row; the backward pass computes the probabilities again, P = exp(scale q k^T - lse), and the factors
//! F of dropout (0 or 1 / (1 - p)), and with delta = sum(out grad) of each row: dV = (P F)^T grad,
//! dS = scale P (F grad V^T - delta), dQ = dS K, dK = dS^T Q. A head's strips are taken in one order, so its sums over strips
//! have the same bits whatever the threads.

mod cpu;
mod dropout;

use crate::disjoint::Disjoint;
use crate::extent::expect;
use crate::gemm::{Operand, Precision, Product, multiply_in};
use crate::pool;
use crate::scratch::Scratch;
pub use dropout::Dropout;
use std::ops::Range;

/// The extents of an attention and what is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub seq: usize,
    pub batch: usize,
    pub heads: usize,
    pub head_dim: usize,
    pub causal: bool,
    /// Keys that a row of a causal attention sees, its own the last.
    pub window: Option<usize>,
    pub dropout: Option<Dropout>,
    /// What products are computed in.
    pub precision: Precision,
}

/// Queries whose scores are computed together: what the product keeps in the second-level cache.
const STRIP: usize = 96;

/// Heads below which one head at a time is computed by all threads.
const FEW_HEADS: usize = 4;

impl Attention {
    fn check(&self, op: &str, lens: &[(&str, usize, &[usize])]) -> Result<(), String> {
        if self.window == Some(0) || (self.window.is_some() && !self.causal) {
            return Err(format!("{op}: a window belongs to a causal attention and has at least 1 key. Leave it out, or set causal."));
        }
        lens.iter().try_for_each(|(name, len, shape)| expect(op, name, *len, shape))
    }

    fn qkv(&self) -> [usize; 5] {
        [self.seq, self.batch, 3, self.heads, self.head_dim]
    }

    fn out(&self) -> [usize; 4] {
        [self.seq, self.batch, self.heads, self.head_dim]
    }

    fn lse(&self) -> [usize; 3] {
        [self.batch, self.heads, self.seq]
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn strips(&self) -> usize {
        self.seq.div_ceil(STRIP)
    }

    /// Keys that query `row` sees.
    fn keys(&self, row: usize) -> Range<usize> {
        let end = if self.causal { row + 1 } else { self.seq };
        self.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    fn strip(&self, index: usize) -> Strip {
        let first = index * STRIP;
        let rows = STRIP.min(self.seq - first);
        let first_key = self.keys(first).start;
        let keys = self.keys(first + rows - 1).end - first_key;
        Strip { first, rows, first_key, keys, row: padded(keys) }
    }

    /// Keys that row `i` of a strip sees, counted from the strip's first.
    fn seen(&self, strip: &Strip, i: usize) -> Range<usize> {
        let keys = self.keys(strip.first + i);
        keys.start - strip.first_key..keys.end - strip.first_key
    }

    /// The factors of the keys of row `i` of a strip; none without dropout.
    fn factors<'a>(&self, head: &Head, strip: &Strip, i: usize, memory: &'a mut [f32]) -> &'a [f32] {
        let Some(dropout) = &self.dropout else { return &[] };
        let factors = &mut memory[..strip.keys];
        dropout.factors([head.sample, head.number, strip.first + i], strip.first_key, factors);
        factors
    }
}

/// The stride of score rows: whole vectors, and never rows that all fall on one cache set.
fn padded(keys: usize) -> usize {
    let row = keys.next_multiple_of(16);
    if row.is_multiple_of(256) { row + 16 } else { row }
}

/// Queries `first..first + rows` against `keys` keys from `first_key` on; scores lie `row` apart.
#[derive(Clone, Copy)]
struct Strip {
    first: usize,
    rows: usize,
    first_key: usize,
    keys: usize,
    row: usize,
}

/// The places of one head of one sample: q, k and v as `[seq, d]`, and their row strides.
#[derive(Clone, Copy)]
struct Head {
    sample: usize,
    /// Among this rank's heads.
    number: usize,
    q: Operand,
    k: Operand,
    v: Operand,
    /// From the start of out to this head.
    out: usize,
    /// From one token to the next in out.
    out_row: usize,
    /// From the start of lse to this head.
    lse: usize,
}

impl Head {
    fn new(shape: &Attention, qkv: *const f32, index: usize) -> Head {
        let (sample, head) = (index / shape.heads, index % shape.heads);
        let width = shape.heads * shape.head_dim;
        let q = Operand { start: qkv.wrapping_add(sample * 3 * width + head * shape.head_dim), row: shape.batch * 3 * width, col: 1 };
        let out = sample * width + head * shape.head_dim;
        Head {
            sample,
            number: head,
            q,
            k: q.at(0, width),
            v: q.at(0, 2 * width),
            out,
            out_row: shape.batch * width,
            lse: index * shape.seq,
        }
    }
}

/// A place that several items write in disjoint, interleaved parts.
#[derive(Clone, Copy)]
struct Place(*mut f32);

// SAFETY: items write the columns of their own head and the rows of their own strip.
unsafe impl Sync for Place {}

impl Place {
    fn at(&self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

/// A product of parts of the buffers, rows of C `c_row` apart.
///
/// # Safety
/// As [`multiply_in`].
unsafe fn gemm(precision: Precision, [m, n, k]: [usize; 3], a: Operand, b: Operand, c: *mut f32, c_row: usize, accumulate: bool) {
    // SAFETY: the caller's promise, handed on.
    unsafe { multiply_in(precision, &Product { m, n, k, a, b, c, c_row, bias: std::ptr::null(), accumulate }) };
}

/// The output `[seq, batch, heads * d]` and lse `[batch, heads, seq]`.
pub fn attention(qkv: &[f32], shape: &Attention, out: &mut [f32], lse: &mut [f32]) -> Result<(), String> {
    let lens: [(&str, usize, &[usize]); 3] =
        [("qkv", qkv.len(), &shape.qkv()), ("out", out.len(), &shape.out()), ("lse", lse.len(), &shape.lse())];
    shape.check("attention", &lens)?;
    let (out, lse) = (Place(out.as_mut_ptr()), Disjoint::new(lse));
    let (heads, strips) = (shape.batch * shape.heads, shape.strips());
    pool::run(heads * strips, &|item| {
        let head = Head::new(shape, qkv.as_ptr(), item % heads);
        // The longest strips of a causal attention first, so that the last items are short.
        let strip = shape.strip(strips - 1 - item / heads);
        let first = head.lse + strip.first;
        // SAFETY: strips have rows of their own in out and lse; `Head` and `Strip` stay inside the checked lengths.
        unsafe { forward_strip(shape, &head, &strip, out, lse.part(first..first + strip.rows)) };
    });
    Ok(())
}

/// # Safety
/// The head lies in valid memory and nobody else writes these rows of its output.
unsafe fn forward_strip(shape: &Attention, head: &Head, strip: &Strip, out: Place, lse: &mut [f32]) {
    let Strip { first, rows, first_key, keys, row } = *strip;
    let mut memory = Scratch::take((rows + 1) * row);
    let start = memory.as_mut_ptr();
    // SAFETY: the scores are rows x row; the rest is the caller's promise.
    unsafe { gemm(shape.precision, [rows, keys, shape.head_dim], head.q.at(first, 0), head.k.at(first_key, 0).t(), start, row, false) };
    let mut sums = [0f32; STRIP];
    let (scores, factors) = memory.as_mut_slice().split_at_mut(rows * row);
    for (i, scores) in scores.chunks_exact_mut(row).enumerate() {
        let scores = &mut scores[..keys];
        (sums[i], lse[i]) = cpu::exponentials(scores, shape.seen(strip, i), shape.scale());
        cpu::multiply(scores, shape.factors(head, strip, i, factors));
    }
    let weights = Operand { start: memory.as_mut_ptr(), row, col: 1 };
    let first_out = head.out + first * head.out_row;
    // SAFETY: as above; the output's rows are this strip's.
    unsafe {
        let values = head.v.at(first_key, 0);
        gemm(shape.precision, [rows, shape.head_dim, keys], weights, values, out.at(first_out), head.out_row, false);
        for (i, sum) in sums.iter().enumerate().take(rows) {
            let row = std::slice::from_raw_parts_mut(out.at(first_out + i * head.out_row), shape.head_dim);
            cpu::divide(row, *sum);
        }
    }
}

/// The gradient of qkv, in its layout.
pub fn attention_backward([qkv, out, lse, grad]: [&[f32]; 4], shape: &Attention, dqkv: &mut [f32]) -> Result<(), String> {
    let (fused, plain) = (shape.qkv(), shape.out());
    let lens: [(&str, usize, &[usize]); 5] = [
        ("qkv", qkv.len(), &fused),
        ("out", out.len(), &plain),
        ("lse", lse.len(), &shape.lse()),
        ("grad", grad.len(), &plain),
        ("dqkv", dqkv.len(), &fused),
    ];
    shape.check("attentionBackward", &lens)?;
    let (heads, place) = (shape.batch * shape.heads, Place(dqkv.as_mut_ptr()));
    let backward = |index: usize| {
        let head = Head::new(shape, qkv.as_ptr(), index);
        let target = Head::new(shape, place.at(0), index);
        let lse = &lse[head.lse..head.lse + shape.seq];
        // From the last strip on: which rows of dK and dV are written already follows from the strip before.
        let mut written = shape.seq;
        for number in (0..shape.strips()).rev() {
            let strip = shape.strip(number);
            // SAFETY: a head has columns of its own; `Head` and `Strip` stay inside the checked lengths.
            unsafe { backward_strip(shape, [&head, &target], &strip, [out, lse, grad], written) };
            written = strip.first_key;
        }
    };
    if heads < FEW_HEADS {
        (0..heads).for_each(backward)
    } else {
        pool::run(heads, &backward)
    }
    Ok(())
}

/// # Safety
/// The heads lie in valid memory and nobody else uses the part of the gradient that `target` names. Rows of dK and dV from
/// `written` on hold sums to add to.
unsafe fn backward_strip(shape: &Attention, [head, target]: [&Head; 2], strip: &Strip, [out, lse, grad]: [&[f32]; 3], written: usize) {
    let (d, precision, Strip { first, rows, first_key, keys, row }) = (shape.head_dim, shape.precision, *strip);
    let mut memory = Scratch::take((2 * rows + 1) * row);
    let (weights, rest) = memory.as_mut_slice().split_at_mut(rows * row);
    let (changes, factors) = rest.split_at_mut(rows * row);
    let (p, ds) = (Operand { start: weights.as_ptr(), row, col: 1 }, Operand { start: changes.as_ptr(), row, col: 1 });
    let out_row = |data: &[f32], i: usize| data[head.out + (first + i) * head.out_row..][..d].as_ptr();
    let d_out = Operand { start: grad.as_ptr(), row: head.out_row, col: 1 }.at(first, head.out);
    let [q, k, v] = [head.q.at(first, 0), head.k.at(first_key, 0), head.v.at(first_key, 0)];
    // SAFETY: `weights` and `changes` are rows x row each; the rest is the caller's promise.
    unsafe {
        gemm(precision, [rows, keys, d], q, k.t(), weights.as_mut_ptr(), row, false);
        gemm(precision, [rows, keys, d], d_out, v.t(), changes.as_mut_ptr(), row, false);
    }
    for (i, (weights, changes)) in weights.chunks_exact_mut(row).zip(changes.chunks_exact_mut(row)).enumerate() {
        // SAFETY: rows of `d` values, taken from slices just above.
        let (out, grad) = unsafe { (std::slice::from_raw_parts(out_row(out, i), d), std::slice::from_raw_parts(out_row(grad, i), d)) };
        let row = cpu::Row { seen: shape.seen(strip, i), scale: shape.scale(), lse: lse[first + i], delta: cpu::dot(out, grad) };
        cpu::recompute(&mut weights[..keys], &mut changes[..keys], shape.factors(head, strip, i, factors), &row);
    }
    // SAFETY: as above; the results are this head's columns.
    unsafe {
        gemm(precision, [rows, d, keys], ds, k, target.q.at(first, 0).start.cast_mut(), target.q.row, false);
        let fresh = written.saturating_sub(first_key).min(keys);
        for (from, count, accumulate) in [(0, fresh, false), (fresh, keys - fresh, true)] {
            let [dk, dv] = [target.k, target.v].map(|to| to.at(first_key + from, 0));
            gemm(precision, [count, d, rows], p.at(0, from).t(), d_out, dv.start.cast_mut(), dv.row, accumulate);
            gemm(precision, [count, d, rows], ds.at(0, from).t(), q, dk.start.cast_mut(), dk.row, accumulate);
        }
    }
}

#[cfg(test)]
mod tests;
