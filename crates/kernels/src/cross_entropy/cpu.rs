use crate::exp::exp;
use crate::lanes::{map_sum, max};
use crate::simd::multiversion;

/// Logits copied at a time: few enough to be in the first-level cache when they are read again.
const BLOCK: usize = 1024;

multiversion! {
    pub(super) fn largest(row: &[f32]) -> f32 {
        max(row)
    }
}

multiversion! {
    /// Stores exp(row - max) and returns the sum.
    pub(super) fn exponentials(row: &[f32], max: f32, out: &mut [f32]) -> f32 {
        let mut total = 0.0;
        for (row, out) in row.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
            out.copy_from_slice(row);
            total += f64::from(map_sum(out, |x| exp::<FMA>(x - max)));
        }
        total as f32
    }
}

multiversion! {
    /// The same where the row lies, with the same bits.
    pub(super) fn exponentials_in_place(row: &mut [f32], max: f32) -> f32 {
        let mut total = 0.0;
        for row in row.chunks_mut(BLOCK) {
            total += f64::from(map_sum(row, |x| exp::<FMA>(x - max)));
        }
        total as f32
    }
}

multiversion! {
    pub(super) fn scale(row: &mut [f32], factor: f32) {
        for x in row {
            *x *= factor;
        }
    }
}
