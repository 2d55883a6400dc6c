//! dst[i] += alpha src[i], and dst[i] *= alpha.

#[cfg(test)]
mod tests;

use crate::disjoint::{CHUNK, Disjoint, for_chunks};
use crate::extent::expect;
use crate::number::Real;
use crate::simd::multiversion;

/// `dst += alpha src`; a plain sum when alpha is 1.
pub fn axpy<T: Real>(dst: &mut [T], alpha: f64, src: &[T]) -> Result<(), String> {
    expect("axpy", "the source", src.len(), &[dst.len()])?;
    let out = Disjoint::new(dst);
    for_chunks(src.len(), CHUNK, |range| {
        // SAFETY: chunks are disjoint.
        add_scaled::<T>(unsafe { out.part(range.clone()) }, T::from_f64(alpha), &src[range]);
    });
    Ok(())
}

/// `dst *= alpha`.
pub fn scale<T: Real>(dst: &mut [T], alpha: f64) {
    let len = dst.len();
    let out = Disjoint::new(dst);
    for_chunks(len, CHUNK, |range| {
        // SAFETY: chunks are disjoint.
        multiply::<T>(unsafe { out.part(range) }, T::from_f64(alpha));
    });
}

multiversion! {
    fn add_scaled<T: Real>(dst: &mut [T], alpha: T, src: &[T]) {
        for (dst, &src) in dst.iter_mut().zip(src) {
            *dst = src.madd::<FMA>(alpha, *dst);
        }
    }
}

multiversion! {
    fn multiply<T: Real>(dst: &mut [T], alpha: T) {
        for dst in dst {
            *dst = dst.mul(alpha);
        }
    }
}
