//! y[o, j, i] = x[o, index[o, j, i], i] for x [outer, dimX, inner] and index [outer, dimIndex, inner], and its adjoint.

#[cfg(test)]
mod tests;

use crate::disjoint::{CHUNK, Disjoint, chunk_range, for_chunks};
use crate::extent::expect;
use crate::number::Number;
use crate::pool;
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
        let outside = |index: &i32| *index < 0 || *index as usize >= self.dim_x;
        for_chunks(index.len(), CHUNK, |range| {
            // Without a way out of the loop it becomes vectors.
            let any = index[range.clone()].iter().fold(false, |any, index| any | outside(index));
            if let (true, Some(position)) = (any, index[range.clone()].iter().position(outside)) {
                bad.fetch_min(range.start + position, Ordering::Relaxed);
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
                y.iter_mut().zip(index).for_each(|(y, &index)| *y = x[index as usize]);
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

/// `dst[o, index[o, j, i], i] += src[o, j, i]`, in the order of j.
pub fn gather_add<T: Stored>(dst: &mut [T], index: &[i32], src: &[T], extents: Extents) -> Result<(), String> {
    extents.check(dst.len(), index, src.len())?;
    let Extents { outer, dim_x, dim_index, inner } = extents;
    let width = (CHUNK / dim_index.max(1)).max(16);
    let blocks = inner.div_ceil(width);
    let out = Disjoint::new(dst);
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
