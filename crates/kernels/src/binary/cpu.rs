//! The expressions and the loop along one run.

use crate::number::{Number, Real};
use crate::simd::multiversion;

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
    pub fn run<T: Number, R: Copy, O: Binary<T, R>>(c: &mut [R], a: &[T], a_stride: usize, b: &[T], b_stride: usize) {
        match (a_stride, b_stride) {
            (1, 1) => {
                for ((c, &a), &b) in c.iter_mut().zip(a).zip(b) {
                    *c = O::apply(a, b);
                }
            }
            (1, 0) => {
                let b = b[0];
                for (c, &a) in c.iter_mut().zip(a) {
                    *c = O::apply(a, b);
                }
            }
            (0, 1) => {
                let a = a[0];
                for (c, &b) in c.iter_mut().zip(b) {
                    *c = O::apply(a, b);
                }
            }
            _ => {
                for (i, c) in c.iter_mut().enumerate() {
                    *c = O::apply(a[i * a_stride], b[i * b_stride]);
                }
            }
        }
    }
}
