//! Attention over one fused buffer: qkv is `[seq, batch, 3 * heads * d]` with rows [q heads | k heads | v heads]; per head
//! out = softmax(scale q k^T) v with scale = 1 / sqrt(d), row i seeing keys 0..=i when causal.
//!
//! Queries are taken in strips: the scores of a strip live in a small buffer, so memory is linear in seq. The forward pass saves
//! lse = ln sum exp of each row; the backward pass computes the probabilities again, P = exp(scale q k^T - lse), and with
//! delta = sum(out grad) of each row: dV = P^T grad, dS = scale P (grad V^T - delta), dQ = dS K, dK = dS^T Q. A head's strips
//! are taken in one order, so its sums over strips have the same bits whatever the threads.

mod cpu;

use crate::disjoint::Disjoint;
use crate::extent::expect;
use crate::gemm::{Operand, Product, multiply};
use crate::pool;
use crate::scratch::Scratch;

/// Extents of an attention.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub seq: usize,
    pub batch: usize,
    pub heads: usize,
    pub head_dim: usize,
    pub causal: bool,
}

/// Queries whose scores are computed together: what the product keeps in the second-level cache.
const STRIP: usize = 96;

/// Heads below which one head at a time is computed by all threads.
const FEW_HEADS: usize = 4;

impl Shape {
    fn check(&self, op: &str, lens: &[(&str, usize, &[usize])]) -> Result<(), String> {
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

    fn strip(&self, index: usize) -> Strip {
        let first = index * STRIP;
        let rows = STRIP.min(self.seq - first);
        let keys = if self.causal { first + rows } else { self.seq };
        Strip { first, rows, keys, row: padded(keys) }
    }

    /// Keys that row `i` of a strip sees.
    fn seen(&self, strip: &Strip, i: usize) -> usize {
        if self.causal { strip.first + i + 1 } else { strip.keys }
    }
}

/// The stride of score rows: whole vectors, and never rows that all fall on one cache set.
fn padded(keys: usize) -> usize {
    let row = keys.next_multiple_of(16);
    if row.is_multiple_of(256) { row + 16 } else { row }
}

/// Queries `first..first + rows` against keys `0..keys`; scores lie `row` apart.
#[derive(Clone, Copy)]
struct Strip {
    first: usize,
    rows: usize,
    keys: usize,
    row: usize,
}

/// The places of one head of one sample: q, k and v as `[seq, d]`, and their row strides.
#[derive(Clone, Copy)]
struct Head {
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
    fn new(shape: &Shape, qkv: *const f32, index: usize) -> Head {
        let (sample, head) = (index / shape.heads, index % shape.heads);
        let width = shape.heads * shape.head_dim;
        let q = Operand { start: qkv.wrapping_add(sample * 3 * width + head * shape.head_dim), row: shape.batch * 3 * width, col: 1 };
        let out = sample * width + head * shape.head_dim;
        Head { q, k: q.at(0, width), v: q.at(0, 2 * width), out, out_row: shape.batch * width, lse: index * shape.seq }
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
/// As [`multiply`].
unsafe fn gemm([m, n, k]: [usize; 3], a: Operand, b: Operand, c: *mut f32, c_row: usize, accumulate: bool) {
    // SAFETY: the caller's promise, handed on.
    unsafe { multiply(&Product { m, n, k, a, b, c, c_row, bias: std::ptr::null(), accumulate }) };
}

/// The output `[seq, batch, heads * d]` and lse `[batch, heads, seq]`.
pub fn attention(qkv: &[f32], shape: &Shape, out: &mut [f32], lse: &mut [f32]) -> Result<(), String> {
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
unsafe fn forward_strip(shape: &Shape, head: &Head, strip: &Strip, out: Place, lse: &mut [f32]) {
    let Strip { first, rows, keys, row } = *strip;
    let mut memory = Scratch::take(rows * row);
    let scores = memory.as_mut_ptr();
    // SAFETY: the scores are rows x row; the rest is the caller's promise.
    unsafe { gemm([rows, keys, shape.head_dim], head.q.at(first, 0), head.k.t(), scores, row, false) };
    let mut sums = [0f32; STRIP];
    for (i, scores) in memory.as_mut_slice().chunks_exact_mut(row).enumerate() {
        (sums[i], lse[i]) = cpu::exponentials(&mut scores[..keys], shape.seen(strip, i), shape.scale());
    }
    let weights = Operand { start: memory.as_mut_ptr(), row, col: 1 };
    let first_out = head.out + first * head.out_row;
    // SAFETY: as above; the output's rows are this strip's.
    unsafe {
        gemm([rows, shape.head_dim, keys], weights, head.v, out.at(first_out), head.out_row, false);
        for (i, sum) in sums.iter().enumerate().take(rows) {
            let row = std::slice::from_raw_parts_mut(out.at(first_out + i * head.out_row), shape.head_dim);
            cpu::divide(row, *sum);
        }
    }
}

/// The gradient of qkv, in its layout.
pub fn attention_backward([qkv, out, lse, grad]: [&[f32]; 4], shape: &Shape, dqkv: &mut [f32]) -> Result<(), String> {
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
        // From the last strip, which sees every key and so writes every row of dK and dV.
        for number in (0..shape.strips()).rev() {
            // SAFETY: a head has columns of its own; `Head` and `Strip` stay inside the checked lengths.
            unsafe { backward_strip(shape, [&head, &target], &shape.strip(number), [out, lse, grad], number + 1 < shape.strips()) };
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
/// The heads lie in valid memory and nobody else uses the part of the gradient that `target` names.
unsafe fn backward_strip(shape: &Shape, [head, target]: [&Head; 2], strip: &Strip, [out, lse, grad]: [&[f32]; 3], accumulate: bool) {
    let (d, Strip { first, rows, keys, row }) = (shape.head_dim, *strip);
    let mut memory = Scratch::take(2 * rows * row);
    let (weights, changes) = memory.as_mut_slice().split_at_mut(rows * row);
    let (p, ds) = (Operand { start: weights.as_ptr(), row, col: 1 }, Operand { start: changes.as_ptr(), row, col: 1 });
    let out_row = |data: &[f32], i: usize| data[head.out + (first + i) * head.out_row..][..d].as_ptr();
    let d_out = Operand { start: grad.as_ptr(), row: head.out_row, col: 1 }.at(first, head.out);
    let (dq, dk, dv) = (target.q.at(first, 0).start.cast_mut(), target.k.start.cast_mut(), target.v.start.cast_mut());
    // SAFETY: `weights` and `changes` are rows x row each; the rest is the caller's promise.
    unsafe {
        gemm([rows, keys, d], head.q.at(first, 0), head.k.t(), weights.as_mut_ptr(), row, false);
        gemm([rows, keys, d], d_out, head.v.t(), changes.as_mut_ptr(), row, false);
    }
    for (i, (weights, changes)) in weights.chunks_exact_mut(row).zip(changes.chunks_exact_mut(row)).enumerate() {
        // SAFETY: rows of `d` values, taken from slices just above.
        let (out, grad) = unsafe { (std::slice::from_raw_parts(out_row(out, i), d), std::slice::from_raw_parts(out_row(grad, i), d)) };
        let (weights, changes) = (&mut weights[..keys], &mut changes[..keys]);
        cpu::recompute(weights, changes, shape.seen(strip, i), shape.scale(), lse[first + i], cpu::dot(out, grad));
    }
    // SAFETY: as above; the three results are this head's columns.
    unsafe {
        gemm([keys, d, rows], p.t(), d_out, dv, target.v.row, accumulate);
        gemm([rows, d, keys], ds, head.k, dq, target.q.row, false);
        gemm([keys, d, rows], ds.t(), head.q.at(first, 0), dk, target.k.row, accumulate);
    }
}

#[cfg(test)]
mod tests;
