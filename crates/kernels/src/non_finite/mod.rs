//! How many elements are NaN or infinite.

#[cfg(test)]
mod tests;

use crate::disjoint::{CHUNK, for_chunks};
use crate::simd::multiversion;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::{DType, Span};

/// The count of NaN and infinity in a tensor of floats.
pub fn non_finite(span: &Span) -> Result<u64, String> {
    let total = AtomicU64::new(0);
    let add = |count: u64| {
        total.fetch_add(count, Ordering::Relaxed);
    };
    match span.dtype() {
        DType::F32 => {
            let x = span.slice::<f32>()?;
            for_chunks(x.len(), CHUNK, |range| add(count_f32(&x[range])));
        }
        DType::F64 => {
            let x = span.slice::<f64>()?;
            for_chunks(x.len(), CHUNK, |range| add(x[range].iter().filter(|x| !x.is_finite()).count() as u64));
        }
        DType::BF16 => {
            let x = span.slice::<u16>()?;
            for_chunks(x.len(), CHUNK, |range| add(count_ones(&x[range], 0x7f80)));
        }
        DType::F16 => {
            let x = span.slice::<u16>()?;
            for_chunks(x.len(), CHUNK, |range| add(count_ones(&x[range], 0x7c00)));
        }
        dtype => return Err(format!("nonFinite: {} has neither NaN nor infinity. Pass a tensor of floats.", dtype.name())),
    }
    Ok(total.into_inner())
}

multiversion! {
    fn count_f32(x: &[f32]) -> u64 {
        x.iter().map(|x| u32::from(x.to_bits() & 0x7f80_0000 == 0x7f80_0000)).sum::<u32>().into()
    }
}

multiversion! {
    /// How many have all bits of the exponent set.
    fn count_ones(x: &[u16], exponent: u16) -> u64 {
        x.iter().map(|x| u32::from(x & exponent == exponent)).sum::<u32>().into()
    }
}
