//! y[o, j, i] = x[o, index[o, j, i], i] for x [outer, dimX, inner] and index [outer, dimIndex, inner], and its adjoint.

#[cfg(test)]
mod tests;

use crate::disjoint::{CHUNK, Disjoint, chunk_range, for_chunks};
use crate::extent::expect;
use crate::number::Number;
use crate::pool;
use crate::simd::multiversion;
use crate::stored::Stored;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The extents round the gathered dim.
#[derive(Clone, Copy)]
pub struct Extents {
    pub outer: usize,
    pub dim_x: usize,
    pub dim_index: usize,
    pub inner: usize,
}

impl Extents {
    /// From `[outer, dimX, dimIndex, inner]`.
    pub fn parse(words: &[u32]) -> Result<Extents, String> {
        match *words {
            [outer, dim_x, dim_index, inner] => {
                let [outer, dim_x, dim_index, inner] = [outer, dim_x, dim_index, inner].map(|word| word as usize);
                Ok(Extents { outer, dim_x, dim_index, inner })
            }
            _ => Err(format!("the layout has {} numbers. Pass [outer, dimX, dimIndex, inner].", words.len())),
        }
    }

    fn check(&self, x: usize, index: &[i32], y: usize) -> Result<(), String> {
        expect("gather", "the tensor", x, &[self.outer, self.dim_x, self.inner])?;
        expect("gather", "the index", index.len(), &[self.outer, self.dim_index, self.inner])?;
        expect("gather", "the gathered tensor", y, &[index.len()])?;
        let bad = AtomicUsize::new(usize::MAX);
        for_chunks(index.len(), CHUNK, |range| {
            if largest(&index[range.clone()]) as usize >= self.dim_x {
                let position = index[range.clone()].iter().position(|index| *index as u32 as usize >= self.dim_x);
                bad.fetch_min(range.start + position.unwrap_or(0), Ordering::Relaxed);
            }
        });
        match bad.into_inner() {
            usize::MAX => Ok(()),
            position => Err(format!(
                "gather: index {} at position {position} is outside a dim of {}. Pass indices from 0 to below that size.",
                index[position], self.dim_x
            )),
        }
    }
}

multiversion! {
    /// The largest index, those below 0 counting as larger than all others; 0 of none.
    fn largest(index: &[i32]) -> u32 {
        index.iter().fold(0, |largest, index| largest.max(*index as u32))
    }
}

/// `y` = the elements of `x` that `index` names.
pub fn gather<T: Copy + Send + Sync>(x: &[T], index: &[i32], extents: Extents, y: &mut [T]) -> Result<(), String> {
    extents.check(x.len(), index, y.len())?;
    let Extents { dim_x, dim_index, inner, .. } = extents;
    let out = Disjoint::new(y);
    for_chunks(index.len(), CHUNK, |range| {
        // SAFETY: chunks are disjoint.
        let part = unsafe { out.part(range.clone()) };
        runs(range.clone(), dim_index, inner, |run, outer, column| {
            let (y, index) = (&mut part[run.start - range.start..run.end - range.start], &index[run]);
            let x = &x[outer * dim_x * inner..(outer + 1) * dim_x * inner];
            if inner == 1 {
                // SAFETY: every index was found to lie in a row of `dim_x`.
                y.iter_mut().zip(index).for_each(|(y, &index)| *y = unsafe { *x.get_unchecked(index as usize) });
            } else {
                y.iter_mut().zip(index).enumerate().for_each(|(i, (y, &index))| *y = x[index as usize * inner + column + i]);
            }
        });
    });
    Ok(())
}

/// Cuts positions where the outer number changes, and with `inner` above 1 where the row does: `visit(run, outer, first column)`.
fn runs(range: Range<usize>, dim_index: usize, inner: usize, mut visit: impl FnMut(Range<usize>, usize, usize)) {
    let length = if inner == 1 { dim_index } else { inner };
    let mut start = range.start;
    while start < range.end {
        let end = (start - start % length + length).min(range.end);
        visit(start..end, start / (dim_index * inner), start % inner);
        start = end;
    }
}

/// `dst[index[j]] += src[j]` for each j of `src`, in order.
///
/// # Safety
/// Every index lies in `dst`.
unsafe fn add_in_row<T: Stored>(dst: &mut [T], index: &[i32], src: &[T]) {
    for (index, src) in index.iter().zip(src) {
        // SAFETY: the caller's promise.
        let dst = unsafe { dst.get_unchecked_mut(*index as usize) };
        *dst = T::narrow(dst.widen().add(src.widen()));
    }
}

/// `dst[o, index[o, j, i], i] += src[o, j, i]`, in the order of j.
pub fn gather_add<T: Stored>(dst: &mut [T], index: &[i32], src: &[T], extents: Extents) -> Result<(), String> {
    extents.check(dst.len(), index, src.len())?;
    let Extents { outer, dim_x, dim_index, inner } = extents;
    let width = (CHUNK / dim_index.max(1)).max(16);
    let blocks = inner.div_ceil(width);
    let out = Disjoint::new(dst);
    if inner == 1 {
        let together = (CHUNK / dim_index.max(1)).max(1);
        for_chunks(outer, together, |rows| {
            for row in rows {
                // SAFETY: rows are disjoint, and every index was found to lie in one of `dim_x`.
                unsafe {
                    add_in_row(out.part(row * dim_x..(row + 1) * dim_x), &index[row * dim_index..], &src[row * dim_index..][..dim_index])
                };
            }
        });
        return Ok(());
    }
    pool::run(outer * blocks, &|item| {
        let (outer, columns) = (item / blocks, chunk_range(inner, width, item % blocks));
        for j in 0..dim_index {
            let row = (outer * dim_index + j) * inner;
            for column in columns.clone() {
                let place = (outer * dim_x + index[row + column] as usize) * inner + column;
                // SAFETY: each item has columns of its own in its own outer part.
                let dst = unsafe { out.at(place) };
                *dst = T::narrow(dst.widen().add(src[row + column].widen()));
            }
        }
    });
    Ok(())
}
