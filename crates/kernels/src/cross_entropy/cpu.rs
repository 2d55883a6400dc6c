use crate::exp::exp;
use crate::lanes::{map_sum, max, sum};
use crate::simd::multiversion;
use crate::stored::Value;

/// Logits copied at a time: few enough to be in the first-level cache when they are read again.
const BLOCK: usize = 1024;

multiversion! {
    pub(super) fn largest<T: Value>(row: &[T]) -> f32 {
        max(row)
    }
}

multiversion! {
    /// Stores exp(row - max) and returns the sum.
    pub(super) fn exponentials<T: Value, E: Value>(row: &[T], max: f32, out: &mut [E]) -> f32 {
        let mut total = 0.0;
        let mut wide = [0f32; BLOCK];
        for (row, out) in row.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
            let wide = &mut wide[..row.len()];
            wide.iter_mut().zip(row).for_each(|(wide, x)| *wide = x.widen());
            total += f64::from(map_sum(wide, |x| exp::<FMA>(x - max)));
            out.iter_mut().zip(wide).for_each(|(out, wide)| *out = E::narrow(*wide));
        }
        total as f32
    }
}

multiversion! {
    /// The sum alone.
    pub(super) fn sum_of_exponentials<T: Value>(row: &[T], max: f32) -> f32 {
        let mut total = 0.0;
        for row in row.chunks(BLOCK) {
            total += f64::from(sum(row, |x| exp::<FMA>(x - max)));
        }
        total as f32
    }
}

multiversion! {
    /// The same where the row lies, with the same bits.
    pub(super) fn exponentials_in_place<T: Value>(row: &mut [T], max: f32) -> f32 {
        let mut total = 0.0;
        for row in row.chunks_mut(BLOCK) {
            total += f64::from(map_sum(row, |x| exp::<FMA>(x - max)));
        }
        total as f32
    }
}

multiversion! {
    pub(super) fn scale<T: Value>(row: &mut [T], factor: f32) {
        for x in row {
            *x = T::narrow(x.widen() * factor);
        }
    }
}
