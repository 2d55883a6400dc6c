use crate::exp::exp;
use crate::lanes::{map_sum, max, sum_pairs};
use crate::simd::{madd, multiversion};

multiversion! {
    /// Turns the first `seen` scores of a row into exp(scale (score - max)) and the others into zeros; returns the sum of the
    /// exponentials and ln of the sum of exp(scale score).
    pub(super) fn exponentials(scores: &mut [f32], seen: usize, scale: f32) -> (f32, f32) {
        let (row, hidden) = scores.split_at_mut(seen);
        hidden.fill(0.0);
        let top = max(row) * scale;
        let sum = map_sum(row, |x| exp::<FMA>(madd::<FMA>(x, scale, -top)));
        (sum, top + sum.ln())
    }
}

multiversion! {
    pub(super) fn divide(row: &mut [f32], sum: f32) {
        let factor = 1.0 / sum;
        for x in row {
            *x *= factor;
        }
    }
}

multiversion! {
    pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
        sum_pairs(a, b, |a, b| a * b)
    }
}

multiversion! {
    /// Scores become probabilities P, and their gradients dP become dS = scale P (dP - delta); keys not seen become zeros.
    pub(super) fn recompute(scores: &mut [f32], grads: &mut [f32], seen: usize, scale: f32, lse: f32, delta: f32) {
        let (row, hidden) = scores.split_at_mut(seen);
        hidden.fill(0.0);
        let (grads, hidden) = grads.split_at_mut(seen);
        hidden.fill(0.0);
        for (p, grad) in row.iter_mut().zip(grads) {
            *p = exp::<FMA>(madd::<FMA>(*p, scale, -lse));
            *grad = scale * *p * (*grad - delta);
        }
    }
}
