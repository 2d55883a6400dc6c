//! Sums whose order the code fixes and a compiler can make vectors of: lane i adds the elements i, i + 32, i + 64, …; then the
//! lanes are folded in halves.

const LANES: usize = 32;

/// Elements between two transfers to f64: keeps long sums as exact as short ones.
const BLOCK: usize = 1024;

/// The sum of `f(x)`.
#[inline(always)]
pub(crate) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut total = 0.0;
    for block in x.chunks(BLOCK) {
        let mut lanes = [0f32; LANES];
        let whole = block.chunks_exact(LANES);
        let rest = whole.remainder();
        for part in whole {
            for i in 0..LANES {
                lanes[i] += f(part[i]);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += f(*x);
        }
        total += f64::from(fold(lanes));
    }
    total as f32
}

/// The sum of `f(x, y)`.
#[inline(always)]
pub(crate) fn sum_pairs(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut total = 0.0;
    for (x, y) in x.chunks(BLOCK).zip(y.chunks(BLOCK)) {
        let mut lanes = [0f32; LANES];
        let (whole_x, whole_y) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
        let rest = whole_x.remainder().iter().zip(whole_y.remainder());
        for (x, y) in whole_x.zip(whole_y) {
            for i in 0..LANES {
                lanes[i] += f(x[i], y[i]);
            }
        }
        for (lane, (x, y)) in lanes.iter_mut().zip(rest) {
            *lane += f(*x, *y);
        }
        total += f64::from(fold(lanes));
    }
    total as f32
}

/// Replaces each element by `f` of it and returns the sum of the new ones.
#[inline(always)]
pub(crate) fn map_sum(x: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut total = 0.0;
    for block in x.chunks_mut(BLOCK) {
        let mut lanes = [0f32; LANES];
        let mut whole = block.chunks_exact_mut(LANES);
        for part in &mut whole {
            for i in 0..LANES {
                part[i] = f(part[i]);
                lanes[i] += part[i];
            }
        }
        for (lane, x) in lanes.iter_mut().zip(whole.into_remainder()) {
            *x = f(*x);
            *lane += *x;
        }
        total += f64::from(fold(lanes));
    }
    total as f32
}

/// The largest element, -inf of none; NaN is passed over.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let whole = x.chunks_exact(LANES);
    let rest = whole.remainder();
    for part in whole {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], part[i]);
        }
    }
    lanes.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, larger)
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
