//! y[i] = weight[index[i] - start]: rows of a table whose rows are the tokens `start..start + rows`. A partial table (a rank's
//! part of the vocabulary) gives zeros for the tokens of others; a whole one refuses them. Rows are f32 or bf16, gradients are
//! summed in f32.

use crate::disjoint::{Disjoint, chunk_range, for_chunks};
use crate::extent::expect;
use crate::pool;
use crate::row_chunks::rows_apart;
use crate::scratch::Scratch;
use crate::simd::multiversion;
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
            add_row::<T>(sums, &grad[i * cols + columns.start..]);
        }
    });
    Ok(())
}

/// The gradient of the table in the type of its rows: each is summed in f32, token after token, and rounded once.
pub fn embedding_gradient<T: Value>(index: &[i32], grad: &[T], table: Table, dst: &mut [T]) -> Result<(), String> {
    let cols = table.cols;
    expect("embeddingBackward", "grad", grad.len(), &[index.len(), cols])?;
    expect("embeddingBackward", "dst", dst.len(), &[table.rows, cols])?;
    table.check("embeddingBackward", index)?;
    let len = dst.len();
    let dst = Disjoint::new(dst);
    // SAFETY: chunks are disjoint.
    for_chunks(len, crate::disjoint::CHUNK, |range| unsafe { dst.part(range) }.fill(T::narrow(0.0)));
    let mut uses: Vec<(usize, usize)> = index.iter().enumerate().filter_map(|(i, token)| Some((table.row(*token)?, i))).collect();
    uses.sort_unstable();
    let rows: Vec<&[(usize, usize)]> = uses.chunk_by(|one, next| one.0 == next.0).collect();
    for_chunks(rows.len(), rows_apart(cols), |range| {
        let mut memory = Scratch::take(cols);
        let sums = memory.as_mut_slice();
        for uses in &rows[range] {
            sums.fill(0.0);
            for (_, i) in *uses {
                add_row::<T>(sums, &grad[i * cols..(i + 1) * cols]);
            }
            let start = uses[0].0 * cols;
            // SAFETY: rows are disjoint.
            round_row::<T>(unsafe { dst.part(start..start + cols) }, sums);
        }
    });
    Ok(())
}

multiversion! {
    fn add_row<T: Value>(sums: &mut [f32], row: &[T]) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x.widen();
        }
    }
}

multiversion! {
    fn round_row<T: Value>(row: &mut [T], sums: &[f32]) {
        for (x, sum) in row.iter_mut().zip(sums) {
            *x = T::narrow(*sum);
        }
    }
}

#[cfg(test)]
mod tests;
