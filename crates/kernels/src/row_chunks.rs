//! Sums over the rows of a matrix: each chunk of rows sums on its own, then the chunks are added in order.

use crate::disjoint::{Disjoint, chunk_range, for_chunks};
use crate::pool;
use crate::scratch::Scratch;
use crate::simd::multiversion;
use std::ops::Range;

/// Columns that one item adds up.
const COLS: usize = 256;

/// Rows in a chunk: follows from the number of rows alone.
fn rows_per_chunk(rows: usize) -> usize {
    rows.div_ceil(64).max(32)
}

/// Rows in a chunk where rows do not meet: about 2^15 values.
pub(crate) fn rows_apart(cols: usize) -> usize {
    (1usize << 15).div_ceil(cols.max(1)).max(1)
}

/// A place for sums: overwritten, or added to.
pub(crate) struct Target<'a> {
    pub sums: &'a mut [f32],
    pub accumulate: bool,
}

/// Calls `add(rows, partial)` for every chunk of rows, on the pool; `partial` is `[N, cols]` zeros to add to. Then adds the
/// partial sums of each of the `N` targets that is wanted.
pub(crate) fn sum_chunks<const N: usize>(
    rows: usize,
    cols: usize,
    targets: [Option<Target>; N],
    add: impl Fn(Range<usize>, &mut [f32]) + Sync,
) {
    let chunk = rows_per_chunk(rows);
    let count = rows.div_ceil(chunk);
    let mut memory = Scratch::take(count * N * cols);
    let partials = Disjoint::new(memory.as_mut_slice());
    pool::run(count, &|index| {
        // SAFETY: each chunk has a partial sum of its own.
        let partial = unsafe { partials.part(index * N * cols..(index + 1) * N * cols) };
        partial.fill(0.0);
        add(chunk_range(rows, chunk, index), partial);
    });
    let partials = memory.as_mut_slice();
    for (number, target) in targets.into_iter().enumerate() {
        let Some(Target { sums, accumulate }) = target else { continue };
        let sums = Disjoint::new(sums);
        for_chunks(cols, COLS, |range| {
            // SAFETY: ranges are disjoint.
            let sums = unsafe { sums.part(range.clone()) };
            add_in_order(partials, N * cols, number * cols + range.start, sums, accumulate);
        });
    }
}

multiversion! {
    /// Adds the pieces at `offset`, `offset + stride`, … of `partials`, the first first, and stores or adds the total.
    fn add_in_order(partials: &[f32], stride: usize, offset: usize, sums: &mut [f32], accumulate: bool) {
        let mut total = [0f32; COLS];
        let mut start = offset;
        while start < partials.len() {
            for (total, value) in total.iter_mut().zip(&partials[start..start + sums.len()]) {
                *total += *value;
            }
            start += stride;
        }
        for (sum, total) in sums.iter_mut().zip(total) {
            *sum = if accumulate { *sum + total } else { total };
        }
    }
}
