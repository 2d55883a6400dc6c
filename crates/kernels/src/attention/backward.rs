//! The gradients of queries, keys, values and bias.

use super::head::{Buffers, Head};
use super::scores::{Rows, product};
use super::sight::Strip;
use super::{Attention, Gradients, Inputs, Saved, cpu};
use crate::disjoint::Disjoint;
use crate::extent::expect;
use crate::gemm::{Operand, Work, multiply_in};
use crate::pool;
use crate::scratch::Scratch;
use crate::stored::{Value, spare};
use std::ops::Range;

/// Items below which one at a time is computed by all threads.
const FEW_ITEMS: usize = 4;

/// The gradients of all that was read.
pub fn attention_backward<T: Value>(
    inputs: &Inputs<T>,
    saved: &Saved<T>,
    shape: &Attention,
    gradients: Gradients<T>,
) -> Result<(), String> {
    check(inputs, saved, shape, &gradients)?;
    let d_bias = gradients.bias.map(Disjoint::new);
    let pass = Pass {
        rows: Rows::new(shape, inputs),
        saved,
        buffers: Buffers::of(shape, inputs.q.as_ptr(), inputs.kv.map(<[T]>::as_ptr)),
        targets: Buffers::of(shape, gradients.q.as_mut_ptr(), gradients.kv.map(|kv| kv.as_mut_ptr().cast_const())),
        d_bias,
    };
    // The gradient of a bias is a sum over the samples: one item takes them in turn.
    let (items, samples) = if d_bias.is_some() { (shape.key_heads, shape.batch) } else { (shape.batch * shape.key_heads, 1) };
    let item = |index: usize| {
        let (sample, key_head) = (index / shape.key_heads, index % shape.key_heads);
        pass.clear_bias(key_head);
        // SAFETY: a key head of a sample has columns of its own, and so have the query heads that share it.
        (sample..sample + samples).for_each(|sample| unsafe { pass.key_head(sample, key_head) });
    };
    if items < FEW_ITEMS {
        (0..items).for_each(item)
    } else {
        pool::run(items, &item)
    }
    Ok(())
}

fn check<T: Value>(inputs: &Inputs<T>, saved: &Saved<T>, shape: &Attention, gradients: &Gradients<T>) -> Result<(), String> {
    let op = "attentionBackward";
    shape.check(op, inputs)?;
    if inputs.kv.is_some() != gradients.kv.is_some() {
        return Err(format!("{op}: kv and its gradient do not go together. Pass both or none."));
    }
    expect(op, "out", saved.out.len(), &shape.out_shape())?;
    expect(op, "lse", saved.lse.len(), &shape.lse_shape())?;
    expect(op, "grad", saved.grad.len(), &shape.out_shape())?;
    expect(op, "dq", gradients.q.len(), &shape.q_shape(inputs.kv.is_none()))?;
    gradients.kv.as_ref().map_or(Ok(()), |kv| expect(op, "dkv", kv.len(), &shape.kv_shape()))?;
    gradients.bias.as_ref().map_or(Ok(()), |bias| expect(op, "dBias", bias.len(), &shape.bias_shape()))
}

/// A backward pass: what is read and where its results go.
struct Pass<'a, T> {
    rows: Rows<'a>,
    saved: &'a Saved<'a, T>,
    buffers: Buffers<T>,
    targets: Buffers<T>,
    d_bias: Option<Disjoint<'a, f32>>,
}

/// Where the gradients of a head's keys and values grow, as `[keys, d]`: their own place, or f32 memory.
#[derive(Clone, Copy)]
struct Sums {
    k: Operand,
    v: Operand,
    head_dim: usize,
}

impl Sums {
    fn of<T: Value>(target: &Head<T>, shape: &Attention, memory: &mut [f32]) -> Sums {
        let head_dim = shape.head_dim;
        let [k, v] = [target.k, target.v].map(|to| Operand { start: to.start.cast::<f32>(), row: to.row, col: 1 });
        if !T::IS_BF16 {
            return Sums { k, v, head_dim };
        }
        let k = Operand { start: memory.as_mut_ptr().cast_const(), row: head_dim, col: 1 };
        Sums { k, v: k.at(shape.keys, 0), head_dim }
    }

    /// Sets the sums of these keys to zero.
    ///
    /// # Safety
    /// They lie in memory that nobody else uses.
    unsafe fn clear(&self, keys: Range<usize>) {
        for row in keys.flat_map(|key| [self.k.at(key, 0), self.v.at(key, 0)]) {
            // SAFETY: a row holds `head_dim` values; the rest is the caller's promise.
            unsafe { row.start.cast_mut().write_bytes(0, self.head_dim) };
        }
    }
}

impl<T: Value> Pass<'_, T> {
    /// Zeros before the first sample adds to the bias gradients of the heads that share a key head.
    fn clear_bias(&self, key_head: usize) {
        let Some(d_bias) = &self.d_bias else { return };
        let shape = self.rows.shape;
        let len = shape.group() * shape.queries * shape.keys;
        // SAFETY: the query heads of a key head belong to one item.
        unsafe { d_bias.part(key_head * len..(key_head + 1) * len) }.fill(0.0);
    }

    /// The gradients of a key head of a sample and of the query heads that share it, one after the other.
    ///
    /// # Safety
    /// Nobody else uses their places in the targets.
    unsafe fn key_head(&self, sample: usize, key_head: usize) {
        let shape = self.rows.shape;
        let heads = key_head * shape.group()..(key_head + 1) * shape.group();
        let target = Head::new(shape, &self.targets, sample, heads.start);
        let mut memory = spare::<T>(2 * shape.keys * shape.head_dim);
        let sums = Sums::of(&target, shape, memory.as_mut_slice());
        let mut written = 0..0;
        for number in heads {
            let head = Head::new(shape, &self.buffers, sample, number);
            let d_q = Head::new(shape, &self.targets, sample, number).q;
            for index in (0..shape.strips()).rev() {
                let strip = self.rows.sight.strip(sample, index);
                // SAFETY: `Head` and `Strip` stay inside the checked lengths; the rest is the caller's promise.
                unsafe { self.strip(&head, (d_q, sums), &strip, &mut written) };
            }
        }
        // SAFETY: as above.
        unsafe {
            sums.clear(0..written.start);
            sums.clear(written.end..shape.keys);
            store_sums(&target, shape, memory.as_mut_slice());
        }
    }

    /// # Safety
    /// The head lies in valid memory and nobody else uses the part of the gradient that `d_q` and `sums` name. The sums of the keys
    /// `written` hold something to add to.
    unsafe fn strip(&self, head: &Head<T>, (d_q, sums): (Operand<T>, Sums), strip: &Strip, written: &mut Range<usize>) {
        let (shape, Strip { first, rows, first_key, keys, row }) = (self.rows.shape, *strip);
        let (d, precision, Saved { out, grad, lse }) = (shape.head_dim, shape.precision_of::<T>(), *self.saved);
        let mut memory = Scratch::take((2 * rows + 1) * row);
        let (weights, rest) = memory.as_mut_slice().split_at_mut(rows * row);
        let (changes, factors) = rest.split_at_mut(rows * row);
        let [p, ds] = [weights.as_mut_ptr(), changes.as_mut_ptr()].map(|start| Operand::<f32> { start, row, col: 1 });
        let d_out = Operand { start: grad.as_ptr(), row: head.out_row, col: 1 }.at(first, head.out).source();
        let [q, k, v] = [head.q.at(first, 0), head.k.at(first_key, 0), head.v.at(first_key, 0)].map(Operand::source);
        // SAFETY: `weights` and `changes` are rows x row each; the rest is the caller's promise.
        unsafe {
            multiply_in(precision, &product([rows, keys, d], [q, k.t()], p.target(), &[]));
            multiply_in(precision, &product([rows, keys, d], [d_out, v.t()], ds.target(), &[]));
        }
        for i in 0..rows {
            let [weights, changes] = [&mut *weights, &mut *changes].map(|scores| &mut scores[i * row..][..keys]);
            let [out, grad] = [out, grad].map(|data| &data[head.out + (first + i) * head.out_row..][..d]);
            let (mut seen, scale) = self.rows.prepare(head, strip, i, weights);
            let (lse, delta) = (lse[head.lse + first + i], cpu::dot::<T>(out, grad));
            if lse == f32::NEG_INFINITY {
                seen = 0..0;
            }
            let slope = if self.d_bias.is_some() { 1.0 } else { shape.scale };
            let one = cpu::Row { seen, scale, slope, lse, delta };
            cpu::recompute(weights, changes, self.rows.factors(head, strip, i, factors), &one);
            if let Some(d_bias) = &self.d_bias {
                // SAFETY: the query heads of a key head belong to one item.
                cpu::collect(unsafe { d_bias.part(self.rows.bias_range(head, strip, i)) }, changes, shape.scale);
            }
        }
        // SAFETY: as above; the results are this head's columns.
        unsafe {
            multiply_in(precision, &product([rows, d, keys], [ds.source(), k], d_q.at(first, 0).target(), &[]));
            for (part, accumulate) in sums.grow(written, first_key..first_key + keys) {
                let [dk, dv] = [sums.k, sums.v].map(|to| to.at(part.start, 0).target());
                let [p, ds] = [p, ds].map(|scores| scores.at(0, part.start - first_key).t().source());
                multiply_in(precision, &Work { accumulate, ..product([part.len(), d, rows], [p, d_out], dv, &[]) });
                multiply_in(precision, &Work { accumulate, ..product([part.len(), d, rows], [ds, q], dk, &[]) });
            }
        }
    }
}

impl Sums {
    /// Makes `keys` part of what is written: the parts of them that are fresh, and the part that holds something to add to. Keys in
    /// between are cleared.
    ///
    /// # Safety
    /// As [`Sums::clear`].
    unsafe fn grow(&self, written: &mut Range<usize>, keys: Range<usize>) -> Vec<(Range<usize>, bool)> {
        if keys.is_empty() {
            return Vec::new();
        }
        if written.start == written.end {
            *written = keys.clone();
            return vec![(keys, false)];
        }
        // SAFETY: the caller's promise.
        unsafe {
            self.clear(keys.end..written.start);
            self.clear(written.end..keys.start);
        }
        let Range { start, end } = *written;
        *written = start.min(keys.start)..end.max(keys.end);
        let parts = [
            (keys.start..keys.end.min(start), false),
            (keys.start.max(start)..keys.end.min(end), true),
            (keys.start.max(end)..keys.end, false),
        ];
        parts.into_iter().filter(|(part, _)| !part.is_empty()).collect()
    }
}

/// Takes what has grown in f32 memory to its place.
///
/// # Safety
/// Nobody else uses the part of the gradient that `target` names.
unsafe fn store_sums<T: Value>(target: &Head<T>, shape: &Attention, memory: &[f32]) {
    let rows = [target.k, target.v].into_iter().flat_map(|to| (0..shape.keys).map(move |i| to.at(i, 0).start.cast_mut()));
    for (row, sums) in rows.zip(memory.chunks_exact(shape.head_dim.max(1))) {
        // SAFETY: a row of the head holds `head_dim` values; the rest is the caller's promise.
        cpu::store::<T>(unsafe { std::slice::from_raw_parts_mut(row, shape.head_dim) }, sums);
    }
}
