//! y[i] = a[i] where cond[i] is not 0, else b[i]; with broadcasting. Elements of any type, as bits.

#[cfg(test)]
mod tests;

use crate::disjoint::{CHUNK, Disjoint, chunk_range};
use crate::extent::expect;
use crate::layout::Layout;
use crate::pool;
use crate::simd::multiversion;

/// `y = cond ? a : b`.
pub fn select<T: Copy + Send + Sync>(cond: &[u8], a: &[T], b: &[T], layout: &Layout<3>, y: &mut [T]) -> Result<(), String> {
    layout.check([cond.len(), a.len(), b.len()])?;
    let numel = layout.numel();
    expect("select", "the result", y.len(), &[numel])?;
    let strides = layout.inner_strides();
    let out = Disjoint::new(y);
    pool::run(numel.div_ceil(CHUNK), &|index| {
        let chunk = chunk_range(numel, CHUNK, index);
        // SAFETY: chunks are disjoint.
        let part = unsafe { out.part(chunk.clone()) };
        layout.for_runs(chunk.clone(), |first, count, [c_place, a_place, b_place]| {
            let run = &mut part[first - chunk.start..][..count];
            choose::<T>(run, &cond[c_place..], &a[a_place..], &b[b_place..], strides);
        });
    });
    Ok(())
}

multiversion! {
    fn choose<T: Copy>(y: &mut [T], cond: &[u8], a: &[T], b: &[T], strides: [usize; 3]) {
        match strides {
            [1, 1, 1] => {
                for (((y, &cond), &a), &b) in y.iter_mut().zip(cond).zip(a).zip(b) {
                    *y = if cond != 0 { a } else { b };
                }
            }
            [1, 1, 0] => {
                let b = b[0];
                for ((y, &cond), &a) in y.iter_mut().zip(cond).zip(a) {
                    *y = if cond != 0 { a } else { b };
                }
            }
            [1, 0, 1] => {
                let a = a[0];
                for ((y, &cond), &b) in y.iter_mut().zip(cond).zip(b) {
                    *y = if cond != 0 { a } else { b };
                }
            }
            [c_stride, a_stride, b_stride] => {
                for (i, y) in y.iter_mut().enumerate() {
                    *y = if cond[i * c_stride] != 0 { a[i * a_stride] } else { b[i * b_stride] };
                }
            }
        }
    }
}
