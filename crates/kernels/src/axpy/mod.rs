//! dst[i] += alpha src[i], and dst[i] *= alpha. The source of an f32 sum may be bf16.

#[cfg(test)]
mod tests;

use crate::disjoint::{CHUNK, Disjoint, for_chunks};
use crate::extent::expect;
use crate::number::{Number, Real};
use crate::simd::multiversion;
use crate::stored::{Float, Stored};

/// `dst += alpha src`; a plain sum when alpha is 1.
pub fn axpy<T: Float, U: Stored<Wide = T::Wide>>(dst: &mut [T], alpha: f64, src: &[U]) -> Result<(), String> {
    expect("axpy", "the source", src.len(), &[dst.len()])?;
    let out = Disjoint::new(dst);
    for_chunks(src.len(), CHUNK, |range| {
        // SAFETY: chunks are disjoint.
        add_scaled::<T, U>(unsafe { out.part(range.clone()) }, T::Wide::from_f64(alpha), &src[range]);
    });
    Ok(())
}

/// `dst *= alpha`.
pub fn scale<T: Float>(dst: &mut [T], alpha: f64) {
    let len = dst.len();
    let out = Disjoint::new(dst);
    for_chunks(len, CHUNK, |range| {
        // SAFETY: chunks are disjoint.
        multiply::<T>(unsafe { out.part(range) }, T::Wide::from_f64(alpha));
    });
}

multiversion! {
    fn add_scaled<T: Float, U: Stored<Wide = T::Wide>>(dst: &mut [T], alpha: T::Wide, src: &[U]) {
        for (dst, &src) in dst.iter_mut().zip(src) {
            *dst = T::narrow(src.widen().madd::<FMA>(alpha, dst.widen()));
        }
    }
}

multiversion! {
    fn multiply<T: Float>(dst: &mut [T], alpha: T::Wide) {
        for dst in dst {
            *dst = T::narrow(dst.widen().mul(alpha));
        }
    }
}
