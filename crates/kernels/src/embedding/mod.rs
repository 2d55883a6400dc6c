//! y[i] = weight[index[i] - start]: rows of a table whose rows are the tokens `start..start + rows`. A partial table (a rank's
//! part of the vocabulary) gives zeros for the tokens of others; a whole one refuses them. Rows are f32 or bf16, sums of gradients f32.

use crate::disjoint::{Disjoint, chunk_range, for_chunks};
use crate::extent::expect;
use crate::pool;
use crate::row_chunks::rows_apart;
use crate::stored::Value;

/// The part of the vocabulary that a table holds.
#[derive(Clone, Copy)]
pub struct Table {
    pub start: usize,
    pub rows: usize,
    pub cols: usize,
    /// Tokens outside are somebody else's, not mistakes.
    pub partial: bool,
}

/// Columns of the gradient that one item adds up: four cache lines.
const COLS: usize = 64;

impl Table {
    /// The row of `token`, None when it lies outside.
    fn row(&self, token: i32) -> Option<usize> {
        usize::try_from(token).ok()?.checked_sub(self.start).filter(|row| *row < self.rows)
    }

    fn check(&self, op: &str, index: &[i32]) -> Result<(), String> {
        if self.partial {
            return Ok(());
        }
        match index.iter().position(|token| self.row(*token).is_none()) {
            None => Ok(()),
            Some(position) => Err(format!(
                "{op}: token {} at position {position} is outside the vocabulary {}..{}. Pass tokens of this vocabulary.",
                index[position],
                self.start,
                self.start.saturating_add(self.rows)
            )),
        }
    }
}

/// The rows of `weight` `[rows, cols]` that `index` names, in `y` `[tokens, cols]`.
pub fn embedding<T: Value>(weight: &[T], index: &[i32], table: Table, y: &mut [T]) -> Result<(), String> {
    let cols = table.cols;
    expect("embedding", "weight", weight.len(), &[table.rows, cols])?;
    expect("embedding", "y", y.len(), &[index.len(), cols])?;
    table.check("embedding", index)?;
    let (chunk, y) = (rows_apart(cols), Disjoint::new(y));
    pool::run(index.len().div_ceil(chunk), &|number| {
        for i in chunk_range(index.len(), chunk, number) {
            // SAFETY: tokens have rows of their own.
            let y = unsafe { y.part(i * cols..(i + 1) * cols) };
            match table.row(index[i]) {
                Some(row) => y.copy_from_slice(&weight[row * cols..(row + 1) * cols]),
                None => y.fill(T::narrow(0.0)),
            }
        }
    });
    Ok(())
}

/// Adds the rows of `grad` `[tokens, cols]` to the rows of `dst` `[rows, cols]` that their tokens name, token after token;
/// without `accumulate`, `dst` is zeroed first.
pub fn embedding_backward<T: Value>(index: &[i32], grad: &[T], table: Table, dst: &mut [f32], accumulate: bool) -> Result<(), String> {
    let cols = table.cols;
    expect("embeddingBackward", "grad", grad.len(), &[index.len(), cols])?;
    expect("embeddingBackward", "dst", dst.len(), &[table.rows, cols])?;
    table.check("embeddingBackward", index)?;
    let len = dst.len();
    let dst = Disjoint::new(dst);
    if !accumulate {
        // SAFETY: chunks are disjoint.
        for_chunks(len, crate::disjoint::CHUNK, |range| unsafe { dst.part(range) }.fill(0.0));
    }
    for_chunks(cols, COLS, |columns| {
        for (i, token) in index.iter().enumerate() {
            let Some(row) = table.row(*token) else { continue };
            // SAFETY: items have columns of their own.
            let sums = unsafe { dst.part(row * cols + columns.start..row * cols + columns.end) };
            for (sum, grad) in sums.iter_mut().zip(&grad[i * cols + columns.start..]) {
                *sum += grad.widen();
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests;
