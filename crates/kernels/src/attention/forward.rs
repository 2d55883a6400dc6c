//! The output and the log-sum-exp of each row.

use super::head::{Buffers, Head, Place};
use super::scores::{Rows, product};
use super::sight::Strip;
use super::{Attention, Inputs, STRIP, cpu};
use crate::disjoint::Disjoint;
use crate::extent::expect;
use crate::gemm::{DivideRows, Operand, multiply_in};
use crate::pool;
use crate::scratch::Scratch;
use crate::stored::Value;

/// The output `[queries, batch, heads * d]` and lse `[batch, heads, queries]`.
pub fn attention<T: Value>(inputs: &Inputs<T>, shape: &Attention, out: &mut [T], lse: &mut [f32]) -> Result<(), String> {
    shape.check("attention", inputs)?;
    expect("attention", "out", out.len(), &shape.out_shape())?;
    expect("attention", "lse", lse.len(), &shape.lse_shape())?;
    let rows = Rows::new(shape, inputs);
    let buffers = Buffers::of(shape, inputs.q.as_ptr(), inputs.kv.map(<[T]>::as_ptr));
    let (out, lse) = (Place(out.as_mut_ptr()), Disjoint::new(lse));
    let (heads, strips) = (shape.batch * shape.heads, shape.strips());
    pool::run(heads * strips, &|item| {
        let index = item % heads;
        let head = Head::new(shape, &buffers, index / shape.heads, index % shape.heads);
        // The longest strips of a causal attention first, so that the last items are short.
        let strip = rows.sight.strip(head.sample, strips - 1 - item / heads);
        let first = head.lse + strip.first;
        // SAFETY: strips have rows of their own in out and lse; `Head` and `Strip` stay inside the checked lengths.
        unsafe { forward_strip(&rows, &head, &strip, out, lse.part(first..first + strip.rows)) };
    });
    Ok(())
}

/// # Safety
/// The head lies in valid memory and nobody else writes these rows of its output.
unsafe fn forward_strip<T: Value>(rows_of: &Rows, head: &Head<T>, strip: &Strip, out: Place<T>, lse: &mut [f32]) {
    let (shape, Strip { first, rows, first_key, keys, row }) = (rows_of.shape, *strip);
    let (d, precision) = (shape.head_dim, shape.precision_of::<T>());
    let mut memory = Scratch::take((rows + 1) * row);
    let weights = Operand::<f32> { start: memory.as_mut_ptr(), row, col: 1 };
    let [q, k, v] = [head.q.at(first, 0), head.k.at(first_key, 0).t(), head.v.at(first_key, 0)].map(Operand::source);
    // SAFETY: the scores are rows x row; the rest is the caller's promise.
    unsafe { multiply_in(precision, &product([rows, keys, d], [q, k], weights.target(), &[])) };
    let mut sums = [0f32; STRIP];
    let (scores, factors) = memory.as_mut_slice().split_at_mut(rows * row);
    for i in 0..rows {
        let scores = &mut scores[i * row..][..keys];
        let (seen, scale) = rows_of.prepare(head, strip, i, scores);
        let (sum, row_lse) = cpu::exponentials(scores, seen, scale);
        lse[i] = row_lse;
        // A row that sees nothing has only zeros to divide.
        sums[i] = if sum == 0.0 { 1.0 } else { sum };
        cpu::multiply(scores, rows_of.factors(head, strip, i, factors));
    }
    let out = Operand { start: out.at(head.out + first * head.out_row).cast_const(), row: head.out_row, col: 1 };
    let divide = DivideRows(&sums[..rows]);
    // SAFETY: as above; the output's rows are this strip's.
    unsafe { multiply_in(precision, &product([rows, d, keys], [weights.source(), v], out.target(), &[&divide])) };
}
