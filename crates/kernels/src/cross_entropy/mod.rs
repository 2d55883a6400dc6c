//! The pieces of a cross-entropy whose vocabulary is divided among ranks (Megatron-core, cross_entropy.py); between them the
//! caller reduces over the ranks: the maximum of the row maxima, the sum of the statistics. Logits are `[rows, cols]`, this
//! rank's columns from token `start` on. A row's statistics, relative to its maximum: the sum of its exponentials, its target's
//! logit, and with label smoothing the sum of its logits.
//! Logits and exponentials are f32 or bf16, each for itself; sums are those of the exponentials before they are rounded.

mod cpu;
mod terms;

use crate::disjoint::{Disjoint, chunk_range};
use crate::extent::expect;
use crate::pool;
use crate::row_chunks::rows_apart;
use crate::stored::Value;
use std::ops::Range;
pub use terms::Terms;

/// The columns that this rank holds.
#[derive(Clone, Copy)]
pub struct Shard {
    /// The token of the first column.
    pub start: usize,
    pub rows: usize,
    /// Columns of the memory.
    pub cols: usize,
    /// Columns that are tokens; those behind them pad the memory: they are never read, and have exponential and gradient 0.
    pub held: usize,
}

impl Shard {
    /// The column of `target`, None when another rank holds it.
    fn column(&self, target: i32) -> Option<usize> {
        usize::try_from(target).ok()?.checked_sub(self.start).filter(|column| *column < self.held)
    }

    /// Where a row lies.
    fn row(&self, i: usize) -> Range<usize> {
        i * self.cols..(i + 1) * self.cols
    }

    /// Calls `f` with every row, on the pool.
    fn for_rows(&self, f: impl Fn(usize) + Sync) {
        let chunk = rows_apart(self.cols);
        pool::run(self.rows.div_ceil(chunk), &|index| chunk_range(self.rows, chunk, index).for_each(&f));
    }

    /// An error unless there are as many logits as columns, of which no more are held.
    fn expect(&self, op: &str, name: &str, len: usize) -> Result<(), String> {
        if self.held > self.cols {
            return Err(format!("{op}: {} of {} columns are tokens. Pass at most as many as there are.", self.held, self.cols));
        }
        expect(op, name, len, &[self.rows, self.cols])
    }
}

/// What statistics are made of.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub shard: Shard,
    pub terms: Terms,
    /// Over all ranks, `[rows]`.
    pub max: &'a [f32],
    /// `[rows]`.
    pub targets: &'a [i32],
}

impl Rows<'_> {
    fn expect(&self, op: &str, stats: usize) -> Result<(), String> {
        expect(op, "max", self.max.len(), &[self.shard.rows])?;
        expect(op, "targets", self.targets.len(), &[self.shard.rows])?;
        expect(op, "stats", stats, &[self.terms.statistics(), self.shard.rows])
    }

    /// All statistics of a row but the sum of its exponentials, from its held logits.
    fn set_logits_of<T: Value>(&self, i: usize, held: &[T], stats: &Disjoint<f32>) {
        let rows = self.shard.rows;
        // SAFETY: each row has places of its own.
        unsafe { *stats.at(rows + i) = self.shard.column(self.targets[i]).map_or(0.0, |column| held[column].widen() - self.max[i]) };
        if self.terms.statistics() == 3 {
            // SAFETY: as above.
            unsafe { *stats.at(2 * rows + i) = cpu::sum_of_differences::<T>(held, self.max[i]) };
        }
    }
}

/// The largest logit of each row; -inf of no columns.
pub fn row_max<T: Value>(logits: &[T], shard: Shard, max: &mut [f32]) -> Result<(), String> {
    shard.expect("ceRowMax", "logits", logits.len())?;
    expect("ceRowMax", "max", max.len(), &[shard.rows])?;
    let max = Disjoint::new(max);
    shard.for_rows(|i| {
        // SAFETY: rows are disjoint.
        let max = unsafe { max.at(i) };
        *max = cpu::largest::<T>(&logits[shard.row(i)][..shard.held]);
    });
    Ok(())
}

/// `exp` = exp(logits - max) `[rows, cols]`, and the statistics `[2 or 3, rows]`.
pub fn exp_sum<T: Value, E: Value>(logits: &[T], of: Rows, exp: &mut [E], stats: &mut [f32]) -> Result<(), String> {
    let shard = of.shard;
    shard.expect("ceExpSum", "logits", logits.len())?;
    shard.expect("ceExpSum", "exp", exp.len())?;
    of.expect("ceExpSum", stats.len())?;
    let (exp, stats) = (Disjoint::new(exp), Disjoint::new(stats));
    shard.for_rows(|i| {
        let held = &logits[shard.row(i)][..shard.held];
        of.set_logits_of(i, held, &stats);
        // SAFETY: rows are disjoint, and so are the statistics.
        let (exp, sum) = unsafe { (exp.part(shard.row(i)), stats.at(i)) };
        let (exp, padding) = exp.split_at_mut(shard.held);
        *sum = cpu::exponentials::<T, E>(held, of.max[i], exp);
        padding.fill(E::narrow(0.0));
    });
    Ok(())
}

/// The statistics of [`exp_sum`] alone, with the same bits.
pub fn sums<T: Value>(logits: &[T], of: Rows, stats: &mut [f32]) -> Result<(), String> {
    let shard = of.shard;
    shard.expect("ceSums", "logits", logits.len())?;
    of.expect("ceSums", stats.len())?;
    let stats = Disjoint::new(stats);
    shard.for_rows(|i| {
        let held = &logits[shard.row(i)][..shard.held];
        of.set_logits_of(i, held, &stats);
        // SAFETY: rows are disjoint.
        unsafe { *stats.at(i) = cpu::sum_of_exponentials::<T>(held, of.max[i]) };
    });
    Ok(())
}

/// As [`exp_sum`], with the logits themselves turned into the exponentials.
pub fn exp_sum_in_place<T: Value>(logits: &mut [T], of: Rows, stats: &mut [f32]) -> Result<(), String> {
    let shard = of.shard;
    shard.expect("ceExpSumInPlace", "logits", logits.len())?;
    of.expect("ceExpSumInPlace", stats.len())?;
    let (logits, stats) = (Disjoint::new(logits), Disjoint::new(stats));
    shard.for_rows(|i| {
        // SAFETY: rows are disjoint, and so are the statistics.
        let (row, sum) = unsafe { (logits.part(shard.row(i)), stats.at(i)) };
        let (held, padding) = row.split_at_mut(shard.held);
        of.set_logits_of(i, held, &stats);
        *sum = cpu::exponentials_in_place::<T>(held, of.max[i]);
        padding.fill(T::narrow(0.0));
    });
    Ok(())
}

/// The loss of each row `[rows]` from its statistics over all ranks.
pub fn losses(of: Rows, stats: &[f32], losses: &mut [f32]) -> Result<(), String> {
    of.expect("ceLoss", stats.len())?;
    expect("ceLoss", "losses", losses.len(), &[of.shard.rows])?;
    cpu::losses(of, stats, losses);
    Ok(())
}

/// In place: `exp` becomes the gradient of its row's loss times grad[row]. `stats` are those of all ranks together.
pub fn backward<T: Value>(exp: &mut [T], of: Rows, stats: &[f32], grad: &[f32]) -> Result<(), String> {
    let Rows { shard, terms, max, targets } = of;
    shard.expect("ceBackward", "exp", exp.len())?;
    of.expect("ceBackward", stats.len())?;
    expect("ceBackward", "grad", grad.len(), &[shard.rows])?;
    let exp = Disjoint::new(exp);
    shard.for_rows(|i| {
        // SAFETY: rows are disjoint.
        let row = unsafe { exp.part(shard.row(i)) };
        if terms.ignored == Some(targets[i]) {
            return row.fill(T::narrow(0.0));
        }
        let (held, padding) = row.split_at_mut(shard.held);
        let (factor, even) = (grad[i] / stats[i] * cpu::slope(terms, stats[i], max[i]), grad[i] * terms.uniform);
        let target = shard.column(targets[i]).map(|column| (column, held[column].widen() * factor - even - grad[i] * terms.hot));
        cpu::scale::<T>(held, factor, even);
        if let Some((column, value)) = target {
            held[column] = T::narrow(value);
        }
        padding.fill(T::narrow(0.0));
    });
    Ok(())
}

#[cfg(test)]
mod tests;
