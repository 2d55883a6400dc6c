//! The pieces of a cross-entropy whose vocabulary is divided among ranks (Megatron-core, cross_entropy.py); between them the
//! caller reduces over the ranks: the maximum of the row maxima, the sum of the statistics. Logits are `[rows, cols]`, this
//! rank's columns from token `start` on; loss[i] = ln(sum exp) - target logit, both relative to the row's maximum.
//! Logits and exponentials are f32 or bf16, each for itself; sums are those of the exponentials before they are rounded.

mod cpu;

use crate::disjoint::{Disjoint, chunk_range};
use crate::extent::expect;
use crate::pool;
use crate::row_chunks::rows_apart;
use crate::stored::Value;

/// The columns that this rank holds.
#[derive(Clone, Copy)]
pub struct Shard {
    pub start: usize,
    pub rows: usize,
    pub cols: usize,
}

impl Shard {
    /// The column of `target`, None when another rank holds it.
    fn column(&self, target: i32) -> Option<usize> {
        usize::try_from(target).ok()?.checked_sub(self.start).filter(|column| *column < self.cols)
    }

    /// Calls `f` with every row, on the pool.
    fn for_rows(&self, f: impl Fn(usize) + Sync) {
        let chunk = rows_apart(self.cols);
        pool::run(self.rows.div_ceil(chunk), &|index| chunk_range(self.rows, chunk, index).for_each(&f));
    }
}

/// The largest logit of each row; -inf of no columns.
pub fn row_max<T: Value>(logits: &[T], shard: Shard, max: &mut [f32]) -> Result<(), String> {
    expect("ceRowMax", "logits", logits.len(), &[shard.rows, shard.cols])?;
    expect("ceRowMax", "max", max.len(), &[shard.rows])?;
    let max = Disjoint::new(max);
    shard.for_rows(|i| {
        // SAFETY: rows are disjoint.
        let max = unsafe { max.part(i..i + 1) };
        max[0] = cpu::largest::<T>(&logits[i * shard.cols..(i + 1) * shard.cols]);
    });
    Ok(())
}

/// `exp` = exp(logits - max) `[rows, cols]` and `stats` `[2, rows]`: the sum of a row's exponentials, and its target's logit
/// less the maximum (0 where another rank holds the target).
pub fn exp_sum<T: Value, E: Value>(
    logits: &[T],
    max: &[f32],
    targets: &[i32],
    shard: Shard,
    exp: &mut [E],
    stats: &mut [f32],
) -> Result<(), String> {
    let Shard { rows, cols, .. } = shard;
    expect("ceExpSum", "logits", logits.len(), &[rows, cols])?;
    expect("ceExpSum", "max", max.len(), &[rows])?;
    expect("ceExpSum", "targets", targets.len(), &[rows])?;
    expect("ceExpSum", "exp", exp.len(), &[rows, cols])?;
    expect("ceExpSum", "stats", stats.len(), &[2, rows])?;
    let (exp, stats) = (Disjoint::new(exp), Disjoint::new(stats));
    shard.for_rows(|i| {
        let row = i * cols..(i + 1) * cols;
        // SAFETY: rows are disjoint, and so are the two halves of the statistics.
        let (exp, sum, target) = unsafe { (exp.part(row.clone()), stats.part(i..i + 1), stats.part(rows + i..rows + i + 1)) };
        let logits = &logits[row];
        target[0] = shard.column(targets[i]).map_or(0.0, |column| logits[column].widen() - max[i]);
        sum[0] = cpu::exponentials::<T, E>(logits, max[i], exp);
    });
    Ok(())
}

/// The statistics of [`exp_sum`] alone, with the same bits.
pub fn sums<T: Value>(logits: &[T], max: &[f32], targets: &[i32], shard: Shard, stats: &mut [f32]) -> Result<(), String> {
    let Shard { rows, cols, .. } = shard;
    expect("ceSums", "logits", logits.len(), &[rows, cols])?;
    expect("ceSums", "max", max.len(), &[rows])?;
    expect("ceSums", "targets", targets.len(), &[rows])?;
    expect("ceSums", "stats", stats.len(), &[2, rows])?;
    let stats = Disjoint::new(stats);
    shard.for_rows(|i| {
        // SAFETY: rows are disjoint, and so are the two halves of the statistics.
        let (sum, target) = unsafe { (stats.at(i), stats.at(rows + i)) };
        let logits = &logits[i * cols..(i + 1) * cols];
        *target = shard.column(targets[i]).map_or(0.0, |column| logits[column].widen() - max[i]);
        *sum = cpu::sum_of_exponentials::<T>(logits, max[i]);
    });
    Ok(())
}

/// As [`exp_sum`], with the logits themselves turned into the exponentials.
pub fn exp_sum_in_place<T: Value>(logits: &mut [T], max: &[f32], targets: &[i32], shard: Shard, stats: &mut [f32]) -> Result<(), String> {
    let Shard { rows, cols, .. } = shard;
    expect("ceExpSumInPlace", "logits", logits.len(), &[rows, cols])?;
    expect("ceExpSumInPlace", "max", max.len(), &[rows])?;
    expect("ceExpSumInPlace", "targets", targets.len(), &[rows])?;
    expect("ceExpSumInPlace", "stats", stats.len(), &[2, rows])?;
    let (logits, stats) = (Disjoint::new(logits), Disjoint::new(stats));
    shard.for_rows(|i| {
        // SAFETY: rows are disjoint, and so are the two halves of the statistics.
        let (row, sum, target) = unsafe { (logits.part(i * cols..(i + 1) * cols), stats.at(i), stats.at(rows + i)) };
        *target = shard.column(targets[i]).map_or(0.0, |column| row[column].widen() - max[i]);
        *sum = cpu::exponentials_in_place::<T>(row, max[i]);
    });
    Ok(())
}

/// In place: `exp` becomes (softmax - onehot(target)) grad[row]. `stats` are those of all ranks together.
pub fn backward<T: Value>(exp: &mut [T], stats: &[f32], targets: &[i32], shard: Shard, grad: &[f32]) -> Result<(), String> {
    let Shard { rows, cols, .. } = shard;
    expect("ceBackward", "exp", exp.len(), &[rows, cols])?;
    expect("ceBackward", "stats", stats.len(), &[2, rows])?;
    expect("ceBackward", "targets", targets.len(), &[rows])?;
    expect("ceBackward", "grad", grad.len(), &[rows])?;
    let exp = Disjoint::new(exp);
    shard.for_rows(|i| {
        // SAFETY: rows are disjoint.
        let row = unsafe { exp.part(i * cols..(i + 1) * cols) };
        let factor = grad[i] / stats[i];
        let target = shard.column(targets[i]).map(|column| (column, row[column].widen() * factor - grad[i]));
        cpu::scale::<T>(row, factor);
        if let Some((column, value)) = target {
            row[column] = T::narrow(value);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests;
