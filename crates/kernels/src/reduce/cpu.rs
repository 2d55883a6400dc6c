//! The combinations and the loops along rows and columns.

use crate::number::{Number, Real};
use crate::simd::multiversion;
use crate::stored::Float;

/// A way to combine partial results. Sums are f64; extremes, which round nothing, stay in the type that elements are computed in.
pub trait Reduction {
    const START: f64;
    /// What elements of wide type `W` become.
    type Part<W: Real>: Real;
    fn part<W: Real>(value: W) -> Self::Part<W>;
    fn combine<P: Real>(total: P, value: P) -> P;
}

pub struct Sum;
impl Reduction for Sum {
    const START: f64 = 0.0;
    type Part<W: Real> = f64;
    #[inline(always)]
    fn part<W: Real>(value: W) -> f64 {
        value.to_f64()
    }
    #[inline(always)]
    fn combine<P: Real>(total: P, value: P) -> P {
        total.add(value)
    }
}

macro_rules! extremes {
    ($($name:ident: $start:expr, $beats:tt;)+) => { $(
        pub struct $name;
        impl Reduction for $name {
            const START: f64 = $start;
            type Part<W: Real> = W;
            #[inline(always)]
            fn part<W: Real>(value: W) -> W {
                value
            }
            #[inline(always)]
            fn combine<P: Real>(total: P, value: P) -> P {
                let better = if value $beats total { value } else { total };
                if value.is_nan() { value } else { better }
            }
        }
    )+ };
}
extremes! {
    Max: f64::NEG_INFINITY, >;
    Min: f64::INFINITY, <;
}

/// Partial results of a run that are kept apart, so that the loop becomes vectors and no addition waits for the last.
const LANES: usize = 64;

/// Rows of a column reduction that are read together: totals are then read and written once for all of them.
const TOGETHER: usize = 4;

multiversion! {
    /// The reduction of a run: lane i takes the elements i, i + 64, …; then the lanes are folded in halves.
    pub fn run<T: Float, R: Reduction>(x: &[T]) -> f64 {
        let start = R::Part::<T::Wide>::from_f64(R::START);
        if x.len() < LANES {
            return x.iter().fold(start, |total, value| R::combine(total, R::part(value.widen()))).to_f64();
        }
        let mut lanes: [R::Part<T::Wide>; LANES] = [start; LANES];
        let (whole, rest) = x.as_chunks::<LANES>();
        for part in whole {
            for i in 0..LANES {
                lanes[i] = R::combine(lanes[i], R::part(part[i].widen()));
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane = R::combine(*lane, R::part(value.widen()));
        }
        fold::<R, _, 32>(&mut lanes);
        fold::<R, _, 16>(&mut lanes);
        fold::<R, _, 8>(&mut lanes);
        fold::<R, _, 4>(&mut lanes);
        fold::<R, _, 2>(&mut lanes);
        fold::<R, _, 1>(&mut lanes);
        lanes[0].to_f64()
    }
}

/// Combines each of the first `N` lanes with the one `N` further on; `N` is constant, so that the loop becomes vectors.
#[inline(always)]
fn fold<R: Reduction, P: Real, const N: usize>(lanes: &mut [P; LANES]) {
    for i in 0..N {
        lanes[i] = R::combine(lanes[i], lanes[i + N]);
    }
}

multiversion! {
    /// totals[j] = totals[j] combined with x[places[0] + j], then with x[places[1] + j], and so on.
    pub fn rows<T: Float, R: Reduction>(totals: &mut [R::Part<T::Wide>], x: &[T], places: &[usize]) {
        let (groups, rest) = places.as_chunks::<TOGETHER>();
        for group in groups {
            combine_rows::<T, R, TOGETHER>(totals, group.map(|place| &x[place..][..totals.len()]));
        }
        for place in rest {
            combine_rows::<T, R, 1>(totals, [&x[*place..][..totals.len()]]);
        }
    }
}

#[inline(always)]
fn combine_rows<T: Float, R: Reduction, const N: usize>(totals: &mut [R::Part<T::Wide>], rows: [&[T]; N]) {
    for (j, total) in totals.iter_mut().enumerate() {
        for row in rows {
            *total = R::combine(*total, R::part(row[j].widen()));
        }
    }
}

multiversion! {
    /// y[j] = totals[j] / divisor.
    pub fn finish<T: Float, P: Real>(y: &mut [T], totals: &[P], divisor: f64) {
        let results = y.iter_mut().zip(totals);
        if divisor == 1.0 {
            // Divisions are slow, also those by 1.
            results.for_each(|(y, total)| *y = T::narrow(T::Wide::from_f64(total.to_f64())));
        } else {
            results.for_each(|(y, total)| *y = T::narrow(T::Wide::from_f64(total.to_f64() / divisor)));
        }
    }
}

multiversion! {
    /// partials[j] = totals[j].
    pub fn keep<P: Real>(partials: &mut [f64], totals: &[P]) {
        for (partial, total) in partials.iter_mut().zip(totals) {
            *partial = total.to_f64();
        }
    }
}

multiversion! {
    /// totals[j] = totals[j] combined with partials[j].
    pub fn merge<R: Reduction>(totals: &mut [f64], partials: &[f64]) {
        for (total, partial) in totals.iter_mut().zip(partials) {
            *total = R::combine(*total, *partial);
        }
    }
}
