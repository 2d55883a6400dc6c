//! y = reduction of x over the dims whose mask is 1: 0 sum, 1 mean, 2 max, 3 min. NaN is carried by all of them.
//!
//! Sums are made in f64, to which f32 and bf16 come added by fours: in f32, which for bf16 is 16 bits longer and for f32 loses less than
//! the last bit of four elements. So a sum of f32 is as good as rounded once. Where four elements leave the range of f32, they
//! are added one by one. Extremes are exact in any type. Runs along the innermost dim are cut into
//! chunks of fixed length and columns into chunks of fixed height; partial results are combined in the order of the chunks.

mod cpu;
#[cfg(test)]
mod tests;

use crate::disjoint::{CHUNK, Disjoint, chunk_range, for_chunks};
use crate::extent::expect;
use crate::layout::Layout;
use crate::number::{Number, Real};
use crate::pool;
use crate::scratch::Scratch;
use crate::stored::Float;
use cpu::Reduction;
use std::ops::Range;

/// Rows of a column reduction that are combined in one partial result.
const ROWS: usize = 256;
/// Runs or rows whose places are found before they are read.
const BATCH: usize = 64;
/// Columns that one item takes.
const COLUMNS: usize = 1024;

/// The kept and the reduced dims of a dense tensor, with their strides.
pub struct Plan {
    kept: Layout<1>,
    reduced: Layout<1>,
}

impl Plan {
    /// From `[rank, dims.., mask..]`.
    pub fn parse(words: &[u32]) -> Result<Plan, String> {
        let words: Vec<usize> = words.iter().map(|&word| word as usize).collect();
        let (&rank, rest) = words.split_first().ok_or("the layout is empty. Pass [rank, dims.., mask..].")?;
        if rest.len() != rank.saturating_mul(2) {
            return Err(format!("a layout of rank {rank} has {} numbers. Pass [rank, dims.., mask..].", words.len()));
        }
        let (dims, mask) = rest.split_at(rank);
        let mut parts: [[Vec<usize>; 2]; 2] = Default::default();
        let mut stride = 1usize;
        for (&dim, &mask) in dims.iter().zip(mask).rev() {
            let [extents, strides] = &mut parts[usize::from(mask != 0)];
            extents.insert(0, dim);
            strides.insert(0, stride);
            stride = stride.checked_mul(dim).ok_or_else(|| format!("dims {dims:?} do not fit in memory. Use smaller ones."))?;
        }
        let [kept, reduced] = parts;
        Ok(Plan { kept: Layout::new(&kept[0], [&kept[1]], [0])?, reduced: Layout::new(&reduced[0], [&reduced[1]], [0])? })
    }

    /// Refuses a tensor of another size.
    pub fn check(&self, len: usize) -> Result<(), String> {
        expect("reduce", "the tensor", len, &[self.kept.numel(), self.reduced.numel()])
    }

    /// Where a result's first element lies.
    pub fn kept(&self) -> &Layout<1> {
        &self.kept
    }

    /// How far from there the elements of a result lie.
    pub fn reduced(&self) -> &Layout<1> {
        &self.reduced
    }

    /// Elements of the result.
    pub fn numel(&self) -> usize {
        self.kept.numel()
    }
}

/// `y` = the reduction of `x`.
pub fn reduce<T: Float>(code: u32, x: &[T], plan: &Plan, y: &mut [T]) -> Result<(), String> {
    let (kept, reduced) = (plan.kept.numel(), plan.reduced.numel());
    plan.check(x.len())?;
    expect("reduce", "the result", y.len(), &[kept])?;
    match code {
        0 => over::<T, cpu::Sum>(x, plan, 1.0, y),
        1 => over::<T, cpu::Sum>(x, plan, reduced as f64, y),
        2 | 3 if reduced == 0 && kept > 0 => {
            return Err("reduce: there is no largest or smallest of no elements. Reduce over dims that are not 0.".to_owned());
        }
        2 => over::<T, cpu::Max>(x, plan, 1.0, y),
        3 => over::<T, cpu::Min>(x, plan, 1.0, y),
        _ => return Err(format!("reduce: op code {code} is unknown. Use a code from 0 to 3.")),
    }
    Ok(())
}

fn over<T: Float, R: Reduction>(x: &[T], plan: &Plan, divisor: f64, y: &mut [T]) {
    if plan.kept.numel() == 0 {
        return;
    }
    if plan.reduced.numel() == 0 {
        return y.fill(rounded::<T>(R::START / divisor));
    }
    let along_rows = plan.reduced.inner_strides() == [1] || plan.reduced.numel() == 1;
    if !along_rows {
        columns::<T, R>(x, plan, divisor, y);
    } else if plan.reduced.numel() > CHUNK {
        long_rows::<T, R>(x, plan, divisor, y);
    } else {
        short_rows::<T, R>(x, plan, divisor, y);
    }
}

/// A result in its element type.
fn rounded<T: Float>(total: f64) -> T {
    T::narrow(T::Wide::from_f64(total))
}

/// The first element of every index of a layout, in order.
fn places(layout: &Layout<1>, range: std::ops::Range<usize>, mut f: impl FnMut(usize, usize)) {
    let [stride] = layout.inner_strides();
    layout.for_runs(range, |first, count, [place]| (0..count).for_each(|i| f(first + i, place + i * stride)));
}

/// Each result on one thread: the runs of its elements, one after the other.
fn short_rows<T: Float, R: Reduction>(x: &[T], plan: &Plan, divisor: f64, y: &mut [T]) {
    let (kept, reduced) = (plan.kept.numel(), plan.reduced.numel());
    let chunk = (CHUNK / reduced).max(1);
    let is_one_run = plan.reduced.dims().len() == 1;
    let out = Disjoint::new(y);
    pool::run(kept.div_ceil(chunk), &|index| {
        let range = chunk_range(kept, chunk, index);
        // SAFETY: chunks are disjoint.
        let part = unsafe { out.part(range.clone()) };
        if is_one_run {
            return dense_rows::<T, R>(x, plan, range, divisor, part);
        }
        places(&plan.kept, range.clone(), |number, origin| {
            let mut total = R::START;
            plan.reduced.for_runs(0..reduced, |_, count, [place]| {
                total = R::combine(total, cpu::run::<T, R>(&x[origin + place..][..count]));
            });
            part[number - range.start] = rounded::<T>(total / divisor);
        });
    });
}

/// The results of `range` whose elements lie side by side.
fn dense_rows<T: Float, R: Reduction>(x: &[T], plan: &Plan, range: Range<usize>, divisor: f64, y: &mut [T]) {
    let reduced = plan.reduced.numel();
    let (mut found, mut totals) = ([0; BATCH], [0.0; BATCH]);
    for start in range.clone().step_by(BATCH) {
        let batch = start..range.end.min(start + BATCH);
        places(&plan.kept, batch.clone(), |number, origin| found[number - start] = origin);
        let totals = &mut totals[..batch.len()];
        cpu::runs::<T, R>(totals, x, &found[..batch.len()], reduced);
        cpu::finish::<T, f64>(&mut y[start - range.start..][..batch.len()], totals, divisor);
    }
}

/// Each result from chunks of its elements that any thread may take.
fn long_rows<T: Float, R: Reduction>(x: &[T], plan: &Plan, divisor: f64, y: &mut [T]) {
    let reduced = plan.reduced.numel();
    let chunks = reduced.div_ceil(CHUNK);
    let mut memory = Scratch::take_f64(y.len() * chunks);
    let partials = memory.as_mut_f64s();
    let out = Disjoint::new(partials);
    pool::run(y.len() * chunks, &|item| {
        let [origin] = plan.kept.places(item / chunks);
        let mut total = R::START;
        plan.reduced.for_runs_of_chunk(CHUNK, item % chunks, |_, count, [place]| {
            total = R::combine(total, cpu::run::<T, R>(&x[origin + place..][..count]));
        });
        // SAFETY: each item has a place of its own.
        let partial = unsafe { out.at(item) };
        *partial = total;
    });
    for (y, partials) in y.iter_mut().zip(partials.chunks(chunks)) {
        *y = rounded::<T>(partials.iter().fold(R::START, |total, &partial| R::combine(total, partial)) / divisor);
    }
}

/// Results that lie beside each other: blocks of columns, over chunks of rows.
fn columns<T: Float, R: Reduction>(x: &[T], plan: &Plan, divisor: f64, y: &mut [T]) {
    let (kept, reduced) = (plan.kept.numel(), plan.reduced.numel());
    let width = if plan.kept.inner_strides() == [1] { plan.kept.dims().last().copied().unwrap_or(1) } else { 1 };
    let (blocks, chunks) = (width.div_ceil(COLUMNS), reduced.div_ceil(ROWS));
    let columns = Columns { x, plan, width, blocks };
    let out = Disjoint::new(y);
    if chunks == 1 {
        let together = (CHUNK / (reduced * width.min(COLUMNS))).max(1);
        return for_chunks(kept / width * blocks, together, |parts| {
            let mut memory = [R::Part::<T::Wide>::from_f64(R::START); COLUMNS];
            for part in parts {
                let (range, totals) = columns.combine::<R>(part, 0, &mut memory);
                // SAFETY: parts have results of their own.
                cpu::finish::<T, R::Part<T::Wide>>(unsafe { out.part(range) }, totals, divisor);
            }
        });
    }
    let mut memory = Scratch::take_f64(chunks * kept);
    let partials = Disjoint::new(memory.as_mut_f64s());
    pool::run(kept / width * blocks * chunks, &|item| {
        let (part, chunk) = (item / chunks, item % chunks);
        let mut memory = [R::Part::<T::Wide>::from_f64(R::START); COLUMNS];
        let (range, totals) = columns.combine::<R>(part, chunk, &mut memory);
        // SAFETY: each item has columns of its own in the partial results of its chunk.
        cpu::keep::<R::Part<T::Wide>>(unsafe { partials.part(chunk * kept + range.start..chunk * kept + range.end) }, totals);
    });
    let partials = memory.as_mut_f64s();
    for_chunks(kept, COLUMNS, |range| {
        let mut totals = [R::START; COLUMNS];
        let totals = &mut totals[..range.len()];
        for chunk in partials.chunks_exact(kept) {
            cpu::merge::<R>(totals, &chunk[range.clone()]);
        }
        // SAFETY: chunks are disjoint.
        cpu::finish::<T, f64>(unsafe { out.part(range) }, totals, divisor);
    });
}

/// Results in parts: blocks of the columns of each group of `width`.
struct Columns<'a, T> {
    x: &'a [T],
    plan: &'a Plan,
    width: usize,
    blocks: usize,
}

impl<T: Float> Columns<'_, T> {
    /// The reduction of the rows of a chunk in the columns of a part: which results they are, and their values, made in `memory`.
    fn combine<'m, R: Reduction>(
        &self,
        part: usize,
        chunk: usize,
        memory: &'m mut [R::Part<T::Wide>; COLUMNS],
    ) -> (Range<usize>, &'m [R::Part<T::Wide>]) {
        let columns = chunk_range(self.width, COLUMNS, part % self.blocks);
        let first = part / self.blocks * self.width + columns.start;
        let totals = &mut memory[..columns.len()];
        self.add_rows::<R>(first, chunk, totals, cpu::by_fours::<T, R>());
        if totals.iter().any(|total| cpu::has_overflowed::<T, R>(total.to_f64())) {
            let mut exact = [R::Part::<T::Wide>::from_f64(R::START); COLUMNS];
            let exact = &mut exact[..totals.len()];
            self.add_rows::<R>(first, chunk, exact, false);
            let both = totals.iter_mut().zip(exact).filter(|(total, _)| cpu::has_overflowed::<T, R>(total.to_f64()));
            both.for_each(|(total, exact)| *total = *exact);
        }
        (first..first + totals.len(), totals)
    }

    /// `totals` = the rows of a chunk in the columns from result `first` on.
    fn add_rows<R: Reduction>(&self, first: usize, chunk: usize, totals: &mut [R::Part<T::Wide>], fours: bool) {
        totals.fill(Number::from_f64(R::START));
        let [origin] = self.plan.kept.places(first);
        let rows = chunk_range(self.plan.reduced.numel(), ROWS, chunk);
        let mut found = [0; BATCH];
        for start in rows.clone().step_by(found.len()) {
            let batch = start..rows.end.min(start + found.len());
            places(&self.plan.reduced, batch.clone(), |number, place| found[number - start] = origin + place);
            cpu::rows::<T, R>(totals, self.x, &found[..batch.len()], fours);
        }
    }
}
