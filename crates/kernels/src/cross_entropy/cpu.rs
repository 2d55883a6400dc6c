use super::{Rows, Terms};
use crate::exp::exp;
use crate::lanes::{map_sum, max, sum};
use crate::simd::multiversion;
use crate::stored::Value;
use crate::transcendental::ln;

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
    pub(super) fn sum_of_differences<T: Value>(row: &[T], max: f32) -> f32 {
        sum(row, |x| x - max)
    }
}

multiversion! {
    /// A loss is ln(sum) less what the target's distribution says of the logits, plus z ln(sum exp(logits))^2.
    pub(super) fn losses(of: Rows, stats: &[f32], losses: &mut [f32]) {
        let Terms { hot, uniform, z, ignored } = of.terms;
        let rows = losses.len();
        let totals = stats.get(2 * rows..).unwrap_or_default();
        for (i, loss) in losses.iter_mut().enumerate() {
            let log = ln::<FMA>(stats[i]);
            let smoothed = totals.get(i).map_or(0.0, |total| uniform * total);
            let whole = if z == 0.0 { 0.0 } else { log + of.max[i] };
            let value = log - (hot * stats[rows + i] + smoothed) + z * whole * whole;
            *loss = if ignored == Some(of.targets[i]) { 0.0 } else { value };
        }
    }
}

multiversion! {
    /// What the softmax is multiplied with in the gradient.
    pub(super) fn slope(terms: Terms, sum: f32, max: f32) -> f32 {
        if terms.z == 0.0 { 1.0 } else { 1.0 + 2.0 * terms.z * (ln::<FMA>(sum) + max) }
    }
}

multiversion! {
    pub(super) fn scale<T: Value>(row: &mut [T], factor: f32, less: f32) {
        for x in row {
            *x = T::narrow(x.widen() * factor - less);
        }
    }
}
