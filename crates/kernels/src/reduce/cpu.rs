//! The combinations and the loops along rows and columns.

use crate::number::{Number, Real};
use crate::simd::{madd_f64, multiversion};
use crate::stored::Float;

/// A way to combine partial results. Sums are f64; extremes, which round nothing, stay in the type that elements are computed in.
pub trait Reduction {
    const START: f64;
    /// Whether f32 and bf16 elements are combined by fours in f32 before they go to a total.
    const BY_FOURS: bool = false;
    /// What elements of wide type `W` become.
    type Part<W: Real>: Real;
    /// `total` combined with an element. `one` is 1, which the compiler does not know: a sum is then a multiply-add, for which CPUs have
    /// units beside those that convert to f64 and add.
    fn take<W: Real, const FMA: bool>(total: Self::Part<W>, value: W, one: Self::Part<W>) -> Self::Part<W>;
    fn combine<P: Real>(total: P, value: P) -> P;
    /// A run in few lanes.
    fn lanes<T: Float, const FMA: bool>(x: &[T], one: Self::Part<T::Wide>) -> [Self::Part<T::Wide>; KEPT];
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
    #[inline(always)]
    fn lanes<T: Float, const FMA: bool>(x: &[T], one: f64) -> [f64; KEPT] {
        if by_fours::<T, Sum>() { by_fours_in_lanes::<T, FMA>(x, one) } else { one_by_one::<T, Sum, FMA>(x, one) }
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
            /// One instruction compares two elements with themselves: NaN is looked for beside the extremes, in two halves at once.
            #[inline(always)]
            fn lanes<T: Float, const FMA: bool>(x: &[T], one: T::Wide) -> [T::Wide; KEPT] {
                let (blocks, rest) = x.as_chunks::<BLOCK>();
                let mut lanes: [T::Wide; BLOCK] = [T::Wide::from_f64(Self::START); BLOCK];
                let mut nans: [T::Wide; BLOCK / 2] = [T::Wide::from_f64(0.0); BLOCK / 2];
                for block in blocks {
                    let (lower, upper) = lanes.split_at_mut(BLOCK / 2);
                    for i in 0..BLOCK / 2 {
                        let (a, b) = (block[i].widen(), block[i + BLOCK / 2].widen());
                        lower[i] = if a $beats lower[i] { a } else { lower[i] };
                        upper[i] = if b $beats upper[i] { b } else { upper[i] };
                        nans[i] = if a.is_nan() | b.is_nan() { T::Wide::from_f64(f64::NAN) } else { nans[i] };
                    }
                }
                let mut kept = folded::<T::Wide, $name, BLOCK>(lanes);
                for (lane, nan) in kept.iter_mut().zip(folded::<T::Wide, Sum, { BLOCK / 2 }>(nans)) {
                    *lane = if nan.is_nan() { nan } else { *lane };
                }
                with_rest::<T, $name, FMA>(kept, rest, one)
            }
        }
    )+ };
}
extremes! {
    Max: f64::NEG_INFINITY, >;
    Min: f64::INFINITY, <;
}

/// Elements of a run that are taken at a time, each by a lane of its own, so that the loop becomes vectors and no addition waits for the
/// last.
const BLOCK: usize = 64;

/// Lanes that remain of a run when the folds of several runs are made side by side, so that none waits for its own last step.
const KEPT: usize = 8;
/// Runs whose folds are made side by side.
const SIDE_BY_SIDE: usize = 16;

/// Rows of a column reduction that are read together: totals are then read and written once for all of them.
const TOGETHER: usize = 4;

/// Whether elements of `T` are combined by fours first.
pub const fn by_fours<T: Float, R: Reduction>() -> bool {
    R::BY_FOURS && size_of::<T::Wide>() == size_of::<f32>()
}

/// Whether four elements together may have left the range of f32 where the total does not: then they are taken one by one.
#[inline(always)]
pub fn has_overflowed<T: Float, R: Reduction>(total: f64) -> bool {
    by_fours::<T, R>() && !total.is_finite()
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
        let one = hidden_one();
        let total = ends::<T, R>(&R::lanes::<T, FMA>(x, one));
        if has_overflowed::<T, R>(total) { ends::<T, R>(&one_by_one::<T, R, FMA>(x, one)) } else { total }
    }
}

multiversion! {
    /// totals[i] = the reduction of the run of `length` elements that begins at places[i].
    pub fn runs<T: Float, R: Reduction>(totals: &mut [f64], x: &[T], places: &[usize], length: usize) {
        let one = hidden_one();
        let mut kept = [[R::Part::<T::Wide>::from_f64(R::START); KEPT]; SIDE_BY_SIDE];
        for (totals, places) in totals.chunks_mut(SIDE_BY_SIDE).zip(places.chunks(SIDE_BY_SIDE)) {
            for (lanes, place) in kept.iter_mut().zip(places) {
                *lanes = R::lanes::<T, FMA>(&x[*place..][..length], one);
            }
            for (total, lanes) in totals.iter_mut().zip(&kept) {
                *total = ends::<T, R>(lanes);
            }
            for (total, place) in totals.iter_mut().zip(places).filter(|(total, _)| has_overflowed::<T, R>(**total)) {
                *total = ends::<T, R>(&one_by_one::<T, R, FMA>(&x[*place..][..length], one));
            }
        }
    }
}

/// `lanes` combined with what is left of a run after its blocks.
#[inline(always)]
fn with_rest<T: Float, R: Reduction, const FMA: bool>(
    mut lanes: [R::Part<T::Wide>; KEPT],
    rest: &[T],
    one: R::Part<T::Wide>,
) -> [R::Part<T::Wide>; KEPT] {
    for part in rest.chunks(KEPT) {
        for (lane, value) in lanes.iter_mut().zip(part) {
            *lane = R::take::<T::Wide, FMA>(*lane, value.widen(), one);
        }
    }
    lanes
}

/// Lane i takes element i of every block.
#[inline(always)]
fn one_by_one<T: Float, R: Reduction, const FMA: bool>(x: &[T], one: R::Part<T::Wide>) -> [R::Part<T::Wide>; KEPT] {
    let (blocks, rest) = x.as_chunks::<BLOCK>();
    let mut lanes: [R::Part<T::Wide>; BLOCK] = [R::Part::<T::Wide>::from_f64(R::START); BLOCK];
    for block in blocks {
        for i in 0..BLOCK {
            lanes[i] = R::take::<T::Wide, FMA>(lanes[i], block[i].widen(), one);
        }
    }
    with_rest::<T, R, FMA>(folded::<R::Part<T::Wide>, R, BLOCK>(lanes), rest, one)
}

/// Lane i takes the sum of the elements i, i + 32, i + 64 and i + 96 of every 128.
#[inline(always)]
fn by_fours_in_lanes<T: Float, const FMA: bool>(x: &[T], one: f64) -> [f64; KEPT] {
    // With fewer lanes the compiler writes the loop out and finds shorter vectors in it.
    const LANES: usize = 32;
    let (blocks, rest) = x.as_chunks::<{ 4 * LANES }>();
    let mut lanes = [0.0; LANES];
    for block in blocks {
        for i in 0..LANES {
            lanes[i] = Sum::take::<T::Wide, FMA>(lanes[i], four([0, 1, 2, 3].map(|part| block[i + part * LANES].widen())), one);
        }
    }
    with_rest::<T, Sum, FMA>(folded::<f64, Sum, LANES>(lanes), rest, one)
}

/// Lanes folded in halves.
#[inline(always)]
fn folded<P: Real, R: Reduction, const N: usize>(mut lanes: [P; N]) -> [P; KEPT] {
    let mut half = N / 2;
    while half >= KEPT {
        for i in 0..half {
            lanes[i] = R::combine(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    std::array::from_fn(|i| lanes[i])
}

/// The last steps of a fold.
#[inline(always)]
fn ends<T: Float, R: Reduction>(lanes: &[R::Part<T::Wide>; KEPT]) -> f64 {
    let pair = |i: usize| R::combine(lanes[i], lanes[i + 4]);
    R::combine(R::combine(pair(0), pair(2)), R::combine(pair(1), pair(3))).to_f64()
}

multiversion! {
    /// totals[j] = totals[j] combined with x[places[0] + j], then with x[places[1] + j], and so on; by fours where `fours` says so.
    pub fn rows<T: Float, R: Reduction>(totals: &mut [R::Part<T::Wide>], x: &[T], places: &[usize], fours: bool) {
        let one = hidden_one();
        let (groups, rest) = places.as_chunks::<TOGETHER>();
        for group in groups {
            let rows = group.map(|place| &x[place..][..totals.len()]);
            if fours {
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
