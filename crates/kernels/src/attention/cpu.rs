use crate::exp::exp;
use crate::lanes::{map_sum, max, sum_pairs};
use crate::simd::{madd, multiversion};
use crate::stored::Value;
use std::ops::Range;

multiversion! {
    /// Turns the seen scores of a row into exp(scale (score - max)) and the others into zeros; returns the sum of the
    /// exponentials and ln of the sum of exp(scale score), 0 and -inf where nothing is seen.
    pub(super) fn exponentials(scores: &mut [f32], seen: Range<usize>, scale: f32) -> (f32, f32) {
        scores[..seen.start].fill(0.0);
        scores[seen.end..].fill(0.0);
        let row = &mut scores[seen];
        let top = max(row) * scale;
        let base = if top == f32::NEG_INFINITY { 0.0 } else { top };
        let sum = map_sum(row, |x| exp::<FMA>(madd::<FMA>(x, scale, -base)));
        (sum, base + sum.ln())
    }
}

multiversion! {
    /// Turns scores into scale score + bias.
    pub(super) fn scale_and_add(scores: &mut [f32], bias: &[f32], scale: f32) {
        for (x, bias) in scores.iter_mut().zip(bias) {
            *x = madd::<FMA>(*x, scale, *bias);
        }
    }
}

multiversion! {
    /// Scores of keys of other segments become -inf.
    pub(super) fn hide(scores: &mut [f32], segments: &[i32], own: i32) {
        for (x, segment) in scores.iter_mut().zip(segments) {
            *x = if *segment == own { *x } else { f32::NEG_INFINITY };
        }
    }
}

multiversion! {
    /// Adds the changes of a row to sums, and multiplies them.
    pub(super) fn collect(sums: &mut [f32], changes: &mut [f32], scale: f32) {
        for (sum, change) in sums.iter_mut().zip(changes) {
            *sum += *change;
            *change *= scale;
        }
    }
}

multiversion! {
    /// Multiplies by the factors; no factors leave the row alone.
    pub(super) fn multiply(row: &mut [f32], factors: &[f32]) {
        for (x, factor) in row.iter_mut().zip(factors) {
            *x *= *factor;
        }
    }
}

multiversion! {
    pub(super) fn dot<T: Value>(a: &[T], b: &[T]) -> f32 {
        sum_pairs::<T, T>(a, b, |a, b| a * b)
    }
}

/// What one row's backward needs beside its scores.
pub(super) struct Row {
    /// Keys it sees.
    pub seen: Range<usize>,
    /// Factor of its scores.
    pub scale: f32,
    /// Factor of its dS.
    pub slope: f32,
    pub lse: f32,
    /// Sum of out times its gradient.
    pub delta: f32,
}

multiversion! {
    /// Scores become the weights P F of the values, and their gradients dP become dS = slope P (F dP - delta); keys not seen
    /// become zeros. No factors stand for ones.
    pub(super) fn recompute(scores: &mut [f32], grads: &mut [f32], factors: &[f32], row: &Row) {
        let Row { seen, scale, slope, lse, delta } = row;
        for hidden in [0..seen.start, seen.end..scores.len()] {
            scores[hidden.clone()].fill(0.0);
            grads[hidden].fill(0.0);
        }
        let (scores, grads) = (&mut scores[seen.clone()], &mut grads[seen.clone()]);
        if factors.is_empty() {
            for (p, grad) in scores.iter_mut().zip(grads) {
                *p = exp::<FMA>(madd::<FMA>(*p, *scale, -lse));
                *grad = *slope * *p * (*grad - delta);
            }
            return;
        }
        for ((p, grad), factor) in scores.iter_mut().zip(grads).zip(&factors[seen.clone()]) {
            let weight = exp::<FMA>(madd::<FMA>(*p, *scale, -lse));
            *grad = *slope * weight * (*grad * *factor - delta);
            *p = weight * *factor;
        }
    }
}

multiversion! {
    /// Stores a row of sums.
    pub(super) fn store<T: Value>(row: &mut [T], sums: &[f32]) {
        T::finish(row, sums);
    }
}
