//! The expressions and the loop along one run.

use crate::number::{Number, Real};
use crate::simd::multiversion;
use crate::stored::Stored;

/// One expression of two elements.
pub trait Binary<T, R> {
    fn apply(a: T, b: T) -> R;
}

macro_rules! ops {
    ($($name:ident<$bound:ident>($a:ident, $b:ident) $value:expr;)+) => { $(
        pub struct $name;
        impl<T: $bound> Binary<T, T> for $name {
            #[inline(always)]
            fn apply($a: T, $b: T) -> T { $value }
        }
    )+ };
}
ops! {
    Add<Number>(a, b) a.add(b);
    Sub<Number>(a, b) a.sub(b);
    Mul<Number>(a, b) a.mul(b);
    Div<Real>(a, b) a.div(b);
    Pow<Real>(a, b) a.pow(b);
    Maximum<Number>(a, b) if a > b || a.is_nan() { a } else { b };
    Minimum<Number>(a, b) if a < b || a.is_nan() { a } else { b };
}

multiversion! {
    /// c[i] = op(a[i a_stride], b[i b_stride]).
    pub fn run<A: Stored, B: Stored<Wide = A::Wide>, R: Stored, O: Binary<A::Wide, R::Wide>>(
        c: &mut [R],
        a: &[A],
        a_stride: usize,
        b: &[B],
        b_stride: usize,
    ) {
        match (a_stride, b_stride) {
            (1, 1) => {
                for ((c, a), b) in c.iter_mut().zip(a).zip(b) {
                    *c = R::narrow(O::apply(a.widen(), b.widen()));
                }
            }
            (1, 0) => {
                let b = b[0].widen();
                for (c, a) in c.iter_mut().zip(a) {
                    *c = R::narrow(O::apply(a.widen(), b));
                }
            }
            (0, 1) => {
                let a = a[0].widen();
                for (c, b) in c.iter_mut().zip(b) {
                    *c = R::narrow(O::apply(a, b.widen()));
                }
            }
            _ => {
                for (i, c) in c.iter_mut().enumerate() {
                    *c = R::narrow(O::apply(a[i * a_stride].widen(), b[i * b_stride].widen()));
                }
            }
        }
    }
}
