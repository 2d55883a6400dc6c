use super::Rotary;
use crate::simd::multiversion;
use crate::stored::Value;

multiversion! {
    /// The heads of one token.
    pub(super) fn turn_row<T: Value>(x: &[T], angles: &[f32], shape: &Rotary, y: &mut [T]) {
        let Rotary { heads, key_heads, head_dim, rotated, interleaved, back, .. } = *shape;
        let (cos, sin) = angles.split_at(rotated / 2);
        let direction = if back { -1.0 } else { 1.0 };
        let turned = (heads + key_heads) * head_dim;
        for (x, y) in x[..turned].chunks_exact(head_dim).zip(y[..turned].chunks_exact_mut(head_dim)) {
            if interleaved {
                turn_neighbours(&x[..rotated], [cos, sin], direction, &mut y[..rotated]);
            } else {
                turn_halves(&x[..rotated], [cos, sin], direction, &mut y[..rotated]);
            }
            y[rotated..].copy_from_slice(&x[rotated..]);
        }
        y[turned..].copy_from_slice(&x[turned..]);
    }
}

#[inline(always)]
fn turn_halves<T: Value>(x: &[T], [cos, sin]: [&[f32]; 2], direction: f32, y: &mut [T]) {
    let half = cos.len();
    let ((low, high), (y_low, y_high)) = (x.split_at(half), y.split_at_mut(half));
    let sin = &sin[..half];
    let (high, y_low, y_high) = (&high[..half], &mut y_low[..half], &mut y_high[..half]);
    for i in 0..half {
        let (a, b, s) = (low[i].widen(), high[i].widen(), direction * sin[i]);
        y_low[i] = T::narrow(a * cos[i] - b * s);
        y_high[i] = T::narrow(b * cos[i] + a * s);
    }
}

#[inline(always)]
fn turn_neighbours<T: Value>(x: &[T], [cos, sin]: [&[f32]; 2], direction: f32, y: &mut [T]) {
    let angles = cos.iter().zip(sin);
    for ((x, y), (cos, sin)) in x.chunks_exact(2).zip(y.chunks_exact_mut(2)).zip(angles) {
        let (a, b, s) = (x[0].widen(), x[1].widen(), direction * sin);
        y[0] = T::narrow(a * cos - b * s);
        y[1] = T::narrow(b * cos + a * s);
    }
}
