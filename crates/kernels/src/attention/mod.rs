//! Attention over one fused buffer: qkv is `[seq, batch, 3 * heads * d]` with rows [q heads | k heads | v heads]; per head
//! out = dropout(softmax(scale q k^T)) v with scale = 1 / sqrt(d). A causal row i sees keys 0..=i, with a window of w only the
//! last w of them.
//!
//! Queries are taken in strips: the scores of a strip live in a small buffer, so memory is linear in seq. The forward pass saves
//! lse = ln sum exp of each row; the backward pass computes the probabilities again, P = exp(scale q k^T - lse), and the factors
//! F of dropout (0 or 1 / (1 - p)), and with delta = sum(out grad) of each row: dV = (P F)^T grad,
//! dS = scale P (F grad V^T - delta), dQ = dS K, dK = dS^T Q. A head's strips are taken in one order, so its sums over strips
//! have the same bits whatever the threads.
//!
//! qkv, out and their gradients are f32 or bf16, everything between is f32. bf16 tensors are multiplied in bf16; dK and dV then
//! grow in f32 memory of the head and are rounded once.

mod cpu;

use crate::disjoint::Disjoint;
use crate::extent::expect;
use crate::gemm::{DivideRows, Finish, Operand, Precision, Source, Target, Work, multiply_in};
use crate::pool;
use crate::random::Dropout;
use crate::scratch::Scratch;
use crate::stored::{Value, spare};
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
    /// What products of f32 tensors are computed in.
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

    fn precision_of<T: Value>(&self) -> Precision {
        if T::IS_BF16 { Precision::Bf16 } else { self.precision }
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
    fn factors<'a, T>(&self, head: &Head<T>, strip: &Strip, i: usize, memory: &'a mut [f32]) -> &'a [f32] {
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
struct Head<T> {
    sample: usize,
    /// Among this rank's heads.
    number: usize,
    q: Operand<T>,
    k: Operand<T>,
    v: Operand<T>,
    /// From the start of out to this head.
    out: usize,
    /// From one token to the next in out.
    out_row: usize,
    /// From the start of lse to this head.
    lse: usize,
}

impl<T: Value> Head<T> {
    fn new(shape: &Attention, qkv: *const T, index: usize) -> Head<T> {
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
struct Place<T>(*mut T);

// SAFETY: items write the columns of their own head and the rows of their own strip.
unsafe impl<T: Value> Sync for Place<T> {}

impl<T> Place<T> {
    fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

/// A product of parts of the buffers.
fn product<'a>([m, n, k]: [usize; 3], [a, b]: [Source; 2], c: Target, finish: &'a [&'a dyn Finish]) -> Work<'a> {
    Work { m, n, k, a, b, c, bias: std::ptr::null(), accumulate: false, finish }
}

/// The output `[seq, batch, heads * d]` and lse `[batch, heads, seq]`.
pub fn attention<T: Value>(qkv: &[T], shape: &Attention, out: &mut [T], lse: &mut [f32]) -> Result<(), String> {
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
unsafe fn forward_strip<T: Value>(shape: &Attention, head: &Head<T>, strip: &Strip, out: Place<T>, lse: &mut [f32]) {
    let (d, precision, Strip { first, rows, first_key, keys, row }) = (shape.head_dim, shape.precision_of::<T>(), *strip);
    let mut memory = Scratch::take((rows + 1) * row);
    let weights = Operand::<f32> { start: memory.as_mut_ptr(), row, col: 1 };
    let [q, k, v] = [head.q.at(first, 0), head.k.at(first_key, 0).t(), head.v.at(first_key, 0)].map(Operand::source);
    // SAFETY: the scores are rows x row; the rest is the caller's promise.
    unsafe { multiply_in(precision, &product([rows, keys, d], [q, k], weights.target(), &[])) };
    let mut sums = [0f32; STRIP];
    let (scores, factors) = memory.as_mut_slice().split_at_mut(rows * row);
    for (i, scores) in scores.chunks_exact_mut(row).enumerate() {
        let scores = &mut scores[..keys];
        (sums[i], lse[i]) = cpu::exponentials(scores, shape.seen(strip, i), shape.scale());
        cpu::multiply(scores, shape.factors(head, strip, i, factors));
    }
    let out = Operand { start: out.at(head.out + first * head.out_row).cast_const(), row: head.out_row, col: 1 };
    // SAFETY: as above; the output's rows are this strip's.
    unsafe { multiply_in(precision, &product([rows, d, keys], [weights.source(), v], out.target(), &[&DivideRows(&sums[..rows])])) };
}

/// The gradient of qkv, in its layout.
pub fn attention_backward<T: Value>([qkv, out, grad]: [&[T]; 3], lse: &[f32], shape: &Attention, dqkv: &mut [T]) -> Result<(), String> {
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
        let mut memory = spare::<T>(2 * shape.seq * shape.head_dim);
        let sums = Sums::of(&target, shape, memory.as_mut_slice());
        let lse = &lse[head.lse..head.lse + shape.seq];
        // From the last strip on: which rows of dK and dV are written already follows from the strip before.
        let mut written = shape.seq;
        for number in (0..shape.strips()).rev() {
            let strip = shape.strip(number);
            // SAFETY: a head has columns of its own; `Head` and `Strip` stay inside the checked lengths.
            unsafe { backward_strip(shape, &head, (target.q, sums), &strip, ([out, grad], lse), written) };
            written = strip.first_key;
        }
        // SAFETY: as above.
        unsafe { store_sums(&target, shape, memory.as_mut_slice()) };
    };
    if heads < FEW_HEADS {
        (0..heads).for_each(backward)
    } else {
        pool::run(heads, &backward)
    }
    Ok(())
}

/// Where the gradients of a head's keys and values grow, as `[seq, d]`: their own place, or f32 memory.
#[derive(Clone, Copy)]
struct Sums {
    k: Operand,
    v: Operand,
}

impl Sums {
    fn of<T: Value>(target: &Head<T>, shape: &Attention, memory: &mut [f32]) -> Sums {
        let [k, v] = [target.k, target.v].map(|to| Operand { start: to.start.cast::<f32>(), row: to.row, col: 1 });
        if !T::IS_BF16 {
            return Sums { k, v };
        }
        let k = Operand { start: memory.as_mut_ptr().cast_const(), row: shape.head_dim, col: 1 };
        Sums { k, v: k.at(shape.seq, 0) }
    }
}

/// Takes what has grown in f32 memory to its place.
///
/// # Safety
/// Nobody else uses the part of the gradient that `target` names.
unsafe fn store_sums<T: Value>(target: &Head<T>, shape: &Attention, memory: &[f32]) {
    let rows = [target.k, target.v].into_iter().flat_map(|to| (0..shape.seq).map(move |i| to.at(i, 0).start.cast_mut()));
    for (row, sums) in rows.zip(memory.chunks_exact(shape.head_dim.max(1))) {
        // SAFETY: a row of the head holds `head_dim` values; the rest is the caller's promise.
        cpu::store::<T>(unsafe { std::slice::from_raw_parts_mut(row, shape.head_dim) }, sums);
    }
}

/// # Safety
/// The head lies in valid memory and nobody else uses the part of the gradient that `d_q` and `sums` name. Rows of the sums from
/// `written` on hold something to add to.
unsafe fn backward_strip<T: Value>(
    shape: &Attention,
    head: &Head<T>,
    (d_q, sums): (Operand<T>, Sums),
    strip: &Strip,
    ([out, grad], lse): ([&[T]; 2], &[f32]),
    written: usize,
) {
    let (d, precision, Strip { first, rows, first_key, keys, row }) = (shape.head_dim, shape.precision_of::<T>(), *strip);
    let mut memory = Scratch::take((2 * rows + 1) * row);
    let (weights, rest) = memory.as_mut_slice().split_at_mut(rows * row);
    let (changes, factors) = rest.split_at_mut(rows * row);
    let [p, ds] = [weights.as_mut_ptr(), changes.as_mut_ptr()].map(|start| Operand::<f32> { start, row, col: 1 });
    let out_row = |data: &[T], i: usize| data[head.out + (first + i) * head.out_row..][..d].as_ptr();
    let d_out = Operand { start: grad.as_ptr(), row: head.out_row, col: 1 }.at(first, head.out).source();
    let [q, k, v] = [head.q.at(first, 0), head.k.at(first_key, 0), head.v.at(first_key, 0)].map(Operand::source);
    // SAFETY: `weights` and `changes` are rows x row each; the rest is the caller's promise.
    unsafe {
        multiply_in(precision, &product([rows, keys, d], [q, k.t()], p.target(), &[]));
        multiply_in(precision, &product([rows, keys, d], [d_out, v.t()], ds.target(), &[]));
    }
    for (i, (weights, changes)) in weights.chunks_exact_mut(row).zip(changes.chunks_exact_mut(row)).enumerate() {
        // SAFETY: rows of `d` values, taken from slices just above.
        let (out, grad) = unsafe { (std::slice::from_raw_parts(out_row(out, i), d), std::slice::from_raw_parts(out_row(grad, i), d)) };
        let row = cpu::Row { seen: shape.seen(strip, i), scale: shape.scale(), lse: lse[first + i], delta: cpu::dot::<T>(out, grad) };
        cpu::recompute(&mut weights[..keys], &mut changes[..keys], shape.factors(head, strip, i, factors), &row);
    }
    // SAFETY: as above; the results are this head's columns.
    unsafe {
        multiply_in(precision, &product([rows, d, keys], [ds.source(), k], d_q.at(first, 0).target(), &[]));
        let fresh = written.saturating_sub(first_key).min(keys);
        for (from, count, accumulate) in [(0, fresh, false), (fresh, keys - fresh, true)] {
            let [dk, dv] = [sums.k, sums.v].map(|to| to.at(first_key + from, 0).target());
            let [p, ds] = [p, ds].map(|scores| scores.at(0, from).t().source());
            multiply_in(precision, &Work { accumulate, ..product([count, d, rows], [p, d_out], dv, &[]) });
            multiply_in(precision, &Work { accumulate, ..product([count, d, rows], [ds, q], dk, &[]) });
        }
    }
}

#[cfg(test)]
mod tests;
