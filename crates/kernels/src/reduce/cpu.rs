//! The combinations and the loops along rows and columns.

use crate::number::{Number, Real};
use crate::simd::{madd_f64, multiversion};
use crate::stored::Float;

/// A way to combine partial results. Sums are f64; extremes, which round nothing, stay in the type that elements are computed in.
pub trait Reduction {
    const START: f64;
    /// Whether bf16 elements are combined by fours in f32 before they go to a total.
    const BY_FOURS: bool = false;
    /// What elements of wide type `W` become.
    type Part<W: Real>: Real;
    /// `total` combined with an element. `one` is 1, which the compiler does not know: a sum is then a multiply-add, for which CPUs have
    /// units beside those that convert to f64 and add.
    fn take<W: Real, const FMA: bool>(total: Self::Part<W>, value: W, one: Self::Part<W>) -> Self::Part<W>;
    fn combine<P: Real>(total: P, value: P) -> P;
}

pub struct Sum;
impl Reduction for Sum {
    const START: f64 = 0.0;
    const BY_FOURS: bool = true;
    type Part<W: Real> = f64;
    #[inline(always)]
    fn take<W: Real, const FMA: bool>(total: f64, value: W, one: f64) -> f64 {
        if FMA { madd_f64::<FMA>(value.to_f64(), one, total) } else { total + value.to_f64() }
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
            fn take<W: Real, const FMA: bool>(total: W, value: W, _: W) -> W {
                Self::combine(total, value)
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

/// Lanes that remain of a run when the folds of several runs are made side by side, so that none waits for its own last step.
const KEPT: usize = 8;
/// Runs whose folds are made side by side.
const SIDE_BY_SIDE: usize = 16;

/// Rows of a column reduction that are read together: totals are then read and written once for all of them.
const TOGETHER: usize = 4;

/// Whether elements of `T` are combined by fours first.
const fn by_fours<T, R: Reduction>() -> bool {
    R::BY_FOURS && size_of::<T>() == 2
}

/// The constant 1 as a value that is only known when the code runs.
#[inline(always)]
fn hidden_one<P: Real>() -> P {
    std::hint::black_box(P::from_f64(1.0))
}

/// Four elements added in their wide type.
#[inline(always)]
fn four<W: Real>([a, b, c, d]: [W; 4]) -> W {
    a.add(b).add(c.add(d))
}

multiversion! {
    /// The reduction of one run.
    pub fn run<T: Float, R: Reduction>(x: &[T]) -> f64 {
        ends::<T, R>(&lanes_of::<T, R, FMA>(x, hidden_one()))
    }
}

multiversion! {
    /// totals[i] = the reduction of the run of `length` elements that begins at places[i].
    pub fn runs<T: Float, R: Reduction>(totals: &mut [f64], x: &[T], places: &[usize], length: usize) {
        let one = hidden_one();
        let mut kept = [[R::Part::<T::Wide>::from_f64(R::START); KEPT]; SIDE_BY_SIDE];
        for (totals, places) in totals.chunks_mut(SIDE_BY_SIDE).zip(places.chunks(SIDE_BY_SIDE)) {
            for (lanes, place) in kept.iter_mut().zip(places) {
                *lanes = lanes_of::<T, R, FMA>(&x[*place..][..length], one);
            }
            for (total, lanes) in totals.iter_mut().zip(&kept) {
                *total = ends::<T, R>(lanes);
            }
        }
    }
}

/// Lane i takes the elements i, i + 64, …, of bf16 every sixteenth in turn; then the lanes are folded to few.
#[inline(always)]
fn lanes_of<T: Float, R: Reduction, const FMA: bool>(x: &[T], one: R::Part<T::Wide>) -> [R::Part<T::Wide>; KEPT] {
    let mut lanes: [R::Part<T::Wide>; LANES] = [R::Part::<T::Wide>::from_f64(R::START); LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for part in whole {
        if by_fours::<T, R>() {
            for i in 0..LANES / 4 {
                let sum = four([0, 1, 2, 3].map(|quarter| part[i + quarter * LANES / 4].widen()));
                lanes[i] = R::take::<T::Wide, FMA>(lanes[i], sum, one);
            }
        } else {
            for i in 0..LANES {
                lanes[i] = R::take::<T::Wide, FMA>(lanes[i], part[i].widen(), one);
            }
        }
    }
    let mut folded = [R::Part::<T::Wide>::from_f64(R::START); KEPT];
    for part in lanes.as_chunks::<KEPT>().0 {
        for (total, lane) in folded.iter_mut().zip(part) {
            *total = R::combine(*total, *lane);
        }
    }
    for part in rest.chunks(KEPT) {
        for (lane, value) in folded.iter_mut().zip(part) {
            *lane = R::take::<T::Wide, FMA>(*lane, value.widen(), one);
        }
    }
    folded
}

/// The last steps of a fold.
#[inline(always)]
fn ends<T: Float, R: Reduction>(lanes: &[R::Part<T::Wide>; KEPT]) -> f64 {
    let pair = |i: usize| R::combine(lanes[i], lanes[i + 4]);
    R::combine(R::combine(pair(0), pair(2)), R::combine(pair(1), pair(3))).to_f64()
}

multiversion! {
    /// totals[j] = totals[j] combined with x[places[0] + j], then with x[places[1] + j], and so on.
    pub fn rows<T: Float, R: Reduction>(totals: &mut [R::Part<T::Wide>], x: &[T], places: &[usize]) {
        let one = hidden_one();
        let (groups, rest) = places.as_chunks::<TOGETHER>();
        for group in groups {
            let rows = group.map(|place| &x[place..][..totals.len()]);
            if by_fours::<T, R>() {
                for (j, total) in totals.iter_mut().enumerate() {
                    *total = R::take::<T::Wide, FMA>(*total, four(rows.map(|row| row[j].widen())), one);
                }
            } else {
                combine_rows::<T, R, TOGETHER, FMA>(totals, rows, one);
            }
        }
        for place in rest {
            combine_rows::<T, R, 1, FMA>(totals, [&x[*place..][..totals.len()]], one);
        }
    }
}

#[inline(always)]
fn combine_rows<T: Float, R: Reduction, const N: usize, const FMA: bool>(
    totals: &mut [R::Part<T::Wide>],
    rows: [&[T]; N],
    one: R::Part<T::Wide>,
) {
    for (j, total) in totals.iter_mut().enumerate() {
        for row in rows {
            *total = R::take::<T::Wide, FMA>(*total, row[j].widen(), one);
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
