//! Sums whose order the code fixes and a compiler can make vectors of: lane i adds the elements i, i + 32, i + 64, …; then the
//! lanes are folded in halves.

use crate::stored::Value;

const LANES: usize = 32;

/// Elements between two transfers to f64: keeps long sums as exact as short ones.
const BLOCK: usize = 1024;

/// The sum of `f(x)`.
#[inline(always)]
pub(crate) fn sum<T: Value>(x: &[T], f: impl Fn(f32) -> f32) -> f32 {
    let mut total = 0.0;
    for block in x.chunks(BLOCK) {
        let mut lanes = [0f32; LANES];
        let whole = block.chunks_exact(LANES);
        let rest = whole.remainder();
        for part in whole {
            for i in 0..LANES {
                lanes[i] += f(part[i].widen());
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += f(x.widen());
        }
        total += f64::from(fold(lanes));
    }
    total as f32
}

/// The sum of `f(x, y)`.
#[inline(always)]
pub(crate) fn sum_pairs<T: Value, U: Value>(x: &[T], y: &[U], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut total = 0.0;
    for (x, y) in x.chunks(BLOCK).zip(y.chunks(BLOCK)) {
        let mut lanes = [0f32; LANES];
        let (whole_x, whole_y) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
        let rest = whole_x.remainder().iter().zip(whole_y.remainder());
        for (x, y) in whole_x.zip(whole_y) {
            for i in 0..LANES {
                lanes[i] += f(x[i].widen(), y[i].widen());
            }
        }
        for (lane, (x, y)) in lanes.iter_mut().zip(rest) {
            *lane += f(x.widen(), y.widen());
        }
        total += f64::from(fold(lanes));
    }
    total as f32
}

/// Replaces each element by `f` of it and returns the sum of the new ones, as they were before they were rounded.
#[inline(always)]
pub(crate) fn map_sum<T: Value>(x: &mut [T], f: impl Fn(f32) -> f32) -> f32 {
    let mut total = 0.0;
    for block in x.chunks_mut(BLOCK) {
        let mut lanes = [0f32; LANES];
        let mut whole = block.chunks_exact_mut(LANES);
        for part in &mut whole {
            for i in 0..LANES {
                let value = f(part[i].widen());
                lanes[i] += value;
                part[i] = T::narrow(value);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(whole.into_remainder()) {
            let value = f(x.widen());
            *lane += value;
            *x = T::narrow(value);
        }
        total += f64::from(fold(lanes));
    }
    total as f32
}

/// The largest element, -inf of none; NaN is passed over.
#[inline(always)]
pub(crate) fn max<T: Value>(x: &[T]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let whole = x.chunks_exact(LANES);
    let rest = whole.remainder();
    for part in whole {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], part[i].widen());
        }
    }
    lanes.into_iter().chain(rest.iter().map(|x| x.widen())).fold(f32::NEG_INFINITY, larger)
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES]) -> f32 {
    for half in [16, 8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}
