//! y = residual + F (x + bias) on activations: x and residual `[seq, batch, cols]`, bias `[cols]`; bias or residual may be missing.
//! F is 0 or 1 / (1 - p), drawn by (sample, token, channel) in the whole model. Given the gradient of y as x, and nothing to add, the
//! same is the gradient of x.

mod cpu;

use crate::disjoint::{Disjoint, chunk_range};
use crate::extent::expect;
use crate::pool;
use crate::random::Dropout;
use crate::row_chunks::rows_apart;
use crate::scratch::Scratch;
use crate::stored::Value;

/// What is dropped from and added: elements of T, the bias of B.
#[derive(Clone, Copy)]
pub struct Inputs<'a, T, B> {
    pub x: &'a [T],
    pub bias: Option<&'a [B]>,
    pub residual: Option<&'a [T]>,
}

/// The extents, and where the first token stands in the whole sequence.
#[derive(Clone, Copy, Debug)]
pub struct Extents {
    pub seq: usize,
    pub batch: usize,
    pub cols: usize,
    pub first_token: u32,
}

/// The sum of what there is, computed in f32 and rounded once.
pub fn dropout<T: Value, B: Value>(inputs: Inputs<T, B>, extents: Extents, dropout: &Dropout, y: &mut [T]) -> Result<(), String> {
    let (Inputs { x, bias, residual }, Extents { seq, batch, cols, first_token }) = (inputs, extents);
    let shape = [seq, batch, cols];
    expect("dropout", "x", x.len(), &shape)?;
    expect("dropout", "y", y.len(), &shape)?;
    bias.map_or(Ok(()), |bias| expect("dropout", "bias", bias.len(), &[cols]))?;
    residual.map_or(Ok(()), |residual| expect("dropout", "residual", residual.len(), &shape))?;
    let (rows, chunk, bias, y) = (if cols == 0 { 0 } else { seq * batch }, rows_apart(cols), bias.unwrap_or(&[]), Disjoint::new(y));
    pool::run(rows.div_ceil(chunk), &|index| {
        let mut memory = Scratch::take(cols);
        let factors = memory.as_mut_slice();
        for i in chunk_range(rows, chunk, index) {
            let row = i * cols..(i + 1) * cols;
            dropout.factors([i % batch, 0, first_token as usize + i / batch], 0, factors);
            // SAFETY: rows are disjoint.
            let y = unsafe { y.part(row.clone()) };
            cpu::drop_row(&x[row.clone()], bias, residual.map_or(&[], |residual| &residual[row]), factors, y);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests;
