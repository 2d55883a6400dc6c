//! Between a dense tensor and a strided part of another: y[i] = x[offset + Σ i stride] (permute, slice, expand), its adjoint
//! x[offset + Σ i stride] += y[i], and the assignment to a part.

#[cfg(test)]
mod tests;

use crate::disjoint::{CHUNK, Disjoint, chunk_range};
use crate::extent::expect;
use crate::layout::Layout;
use crate::number::Number;
use crate::pool;
use crate::stored::Stored;

/// Gathers a strided view into a dense tensor.
pub fn gather_view<T: Copy + Send + Sync>(x: &[T], view: &Layout<1>, y: &mut [T]) -> Result<(), String> {
    view.check([x.len()])?;
    let numel = view.numel();
    expect("strided", "the result", y.len(), &[numel])?;
    let [stride] = view.inner_strides();
    if let (true, Some(dim)) = (stride > 1, view.strides(0).iter().position(|&stride| stride == 1)) {
        return transpose(x, view, dim, y);
    }
    let out = Disjoint::new(y);
    pool::run(numel.div_ceil(CHUNK), &|index| {
        let chunk = chunk_range(numel, CHUNK, index);
        // SAFETY: chunks are disjoint.
        let part = unsafe { out.part(chunk.clone()) };
        view.for_runs(chunk.clone(), |first, count, [place]| {
            let run = &mut part[first - chunk.start..][..count];
            match stride {
                1 => run.copy_from_slice(&x[place..place + count]),
                0 => run.fill(x[place]),
                _ => run.iter_mut().zip(x[place..].iter().step_by(stride)).for_each(|(y, &x)| *y = x),
            }
        });
    });
    Ok(())
}

/// Rows and columns of a tile that is read along one dim and written along another: it fits the first-level cache.
const TILE: usize = 32;

/// A view whose elements lie dense along `dim` and not along the innermost dim, by tiles of the two.
fn transpose<T: Copy + Send + Sync>(x: &[T], view: &Layout<1>, dim: usize, y: &mut [T]) -> Result<(), String> {
    let last = view.dims().len() - 1;
    let (rows, cols, [col_stride]) = (view.dims()[dim], view.dims()[last], view.inner_strides());
    let row_step: usize = view.dims()[dim + 1..].iter().product();
    let mut outer: [Vec<usize>; 3] = Default::default();
    for other in (0..last).filter(|&other| other != dim) {
        let dense = view.dims()[other + 1..].iter().product();
        [view.dims()[other], view.strides(0)[other], dense].into_iter().zip(&mut outer).for_each(|(word, words)| words.push(word));
    }
    let outer = Layout::new(&outer[0], [&outer[1], &outer[2]], [view.offset(0), 0])?;
    let blocks = rows.div_ceil(TILE);
    let out = Disjoint::new(y);
    pool::run(outer.numel() * blocks, &|item| {
        let block = chunk_range(rows, TILE, item % blocks);
        outer.for_runs(item / blocks..item / blocks + 1, |_, _, [source, target]| {
            for first in (0..cols).step_by(TILE) {
                for row in block.clone() {
                    let start = target + row * row_step;
                    // SAFETY: items write disjoint rows.
                    let run = unsafe { out.part(start + first..start + cols.min(first + TILE)) };
                    let column = x[source + row + first * col_stride..].iter().step_by(col_stride);
                    run.iter_mut().zip(column).for_each(|(y, &x)| *y = x);
                }
            }
        });
    });
    Ok(())
}

/// `dst[view[i]] = src[i]`; where places coincide the last one stays.
pub fn scatter_set<T: Copy + Send + Sync>(dst: &mut [T], src: &[T], view: &Layout<1>) -> Result<(), String> {
    scatter(dst, src, view, |dst, src| *dst = src)
}

/// `dst[view[i]] += src[i]`; where places coincide the sums are made in the order of i.
pub fn scatter_add<T: Stored>(dst: &mut [T], src: &[T], view: &Layout<1>) -> Result<(), String> {
    scatter(dst, src, view, |dst, src| *dst = T::narrow(dst.widen().add(src.widen())))
}

/// Chunks go to the pool when no two places coincide, else one thread goes through all of them.
fn scatter<T: Copy + Send + Sync>(dst: &mut [T], src: &[T], view: &Layout<1>, put: impl Fn(&mut T, T) + Sync) -> Result<(), String> {
    view.check([dst.len()])?;
    let numel = view.numel();
    expect("strided", "the source", src.len(), &[numel])?;
    let [stride] = view.inner_strides();
    let chunk = if view.is_injective(0) { CHUNK } else { numel.max(1) };
    let length = dst.len();
    let out = Disjoint::new(dst);
    pool::run(numel.div_ceil(chunk), &|index| {
        view.for_runs_of_chunk(chunk, index, |first, count, [place]| {
            let end = (place + (count - 1) * stride + 1).min(length);
            if stride == 1 {
                // SAFETY: items write disjoint places.
                let run = unsafe { out.part(place..end) };
                return run.iter_mut().zip(&src[first..]).for_each(|(dst, &src)| put(dst, src));
            }
            for (i, &value) in src[first..first + count].iter().enumerate() {
                // SAFETY: as above; one element at a time.
                put(unsafe { out.at(place + i * stride) }, value);
            }
        });
    });
    Ok(())
}
