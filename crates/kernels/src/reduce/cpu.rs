//! The combinations and the loops along rows and columns.

use crate::number::Real;
use crate::simd::multiversion;
use crate::stored::Float;

/// A way to combine partial results.
pub trait Reduction {
    const START: f64;
    fn combine(total: f64, value: f64) -> f64;
}

pub struct Sum;
impl Reduction for Sum {
    const START: f64 = 0.0;
    #[inline(always)]
    fn combine(total: f64, value: f64) -> f64 {
        total + value
    }
}

pub struct Max;
impl Reduction for Max {
    const START: f64 = f64::NEG_INFINITY;
    #[inline(always)]
    fn combine(total: f64, value: f64) -> f64 {
        if value > total || value.is_nan() { value } else { total }
    }
}

pub struct Min;
impl Reduction for Min {
    const START: f64 = f64::INFINITY;
    #[inline(always)]
    fn combine(total: f64, value: f64) -> f64 {
        if value < total || value.is_nan() { value } else { total }
    }
}

/// Partial results of a run that are kept apart, so that the loop becomes vectors.
const LANES: usize = 32;

multiversion! {
    /// The reduction of a run: lane i takes the elements i, i + 32, …; then the lanes are folded in halves.
    pub fn run<T: Float, R: Reduction>(x: &[T]) -> f64 {
        if x.len() < LANES {
            return x.iter().fold(R::START, |total, value| R::combine(total, value.widen().to_f64()));
        }
        let mut lanes = [R::START; LANES];
        let whole = x.chunks_exact(LANES);
        let rest = whole.remainder();
        for part in whole {
            for i in 0..LANES {
                lanes[i] = R::combine(lanes[i], part[i].widen().to_f64());
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane = R::combine(*lane, value.widen().to_f64());
        }
        for half in [16, 8, 4, 2, 1] {
            for i in 0..half {
                lanes[i] = R::combine(lanes[i], lanes[i + half]);
            }
        }
        lanes[0]
    }
}

multiversion! {
    /// totals[i] = totals[i] combined with x[i].
    pub fn row<T: Float, R: Reduction>(totals: &mut [f64], x: &[T]) {
        for (total, value) in totals.iter_mut().zip(x) {
            *total = R::combine(*total, value.widen().to_f64());
        }
    }
}
