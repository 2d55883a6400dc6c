//! The formulas, each written once for f32 and f64.

use crate::number::Real;
use crate::simd::multiversion;
use crate::stored::Float;

/// One row of the table.
pub trait Unary {
    fn forward<T: Real, const FMA: bool>(x: T) -> T;
    /// `s` is what the table saves, `g` the gradient of the result.
    fn backward<T: Real, const FMA: bool>(s: T, g: T) -> T;
    /// `forward` of an element as memory holds it.
    #[inline(always)]
    fn forward_stored<T: Float, const FMA: bool>(x: T) -> T {
        T::narrow(Self::forward::<T::Wide, FMA>(x.widen()))
    }
    /// `backward` of elements as memory holds them.
    #[inline(always)]
    fn backward_stored<T: Float, const FMA: bool>(s: T, g: T) -> T {
        T::narrow(Self::backward::<T::Wide, FMA>(s.widen(), g.widen()))
    }
}

#[inline(always)]
fn number<T: Real>(value: f64) -> T {
    T::from_f64(value)
}

#[inline(always)]
fn one<T: Real>() -> T {
    number(1.0)
}

#[inline(always)]
fn negative<T: Real>(x: T) -> T {
    number::<T>(-1.0).mul(x)
}

#[inline(always)]
fn sigmoid<T: Real, const FMA: bool>(x: T) -> T {
    one::<T>().div(one::<T>().add(negative(x).exp::<FMA>()))
}

/// 2 (2/π)^(1/2): twice the factor of u.
const GELU_SCALE: f64 = 1.595_769_121_605_730_7;
const GELU_CUBIC: f64 = 0.044_715;

/// sigmoid(2 u), which is (1 + tanh u) / 2 without the cancellation.
#[inline(always)]
fn gelu_gate<T: Real, const FMA: bool>(x: T) -> T {
    let slope = x.mul(x).madd::<FMA>(number(GELU_SCALE * GELU_CUBIC), number(GELU_SCALE));
    sigmoid::<T, FMA>(x.mul(slope))
}

macro_rules! ops {
    ($($(#[$attr:meta])* $name:ident($x:ident) $forward:expr, ($s:ident, $g:ident) $backward:expr $(, $stored:item)*;)+) => { $(
        $(#[$attr])*
        pub struct $name;
        impl Unary for $name {
            #[inline(always)]
            fn forward<T: Real, const FMA: bool>($x: T) -> T { $forward }
            #[inline(always)]
            fn backward<T: Real, const FMA: bool>($s: T, $g: T) -> T { $backward }
            $(#[inline(always)] $stored)*
        }
    )+ };
}
ops! {
    Neg(x) negative(x), (_s, g) negative(g),
        fn forward_stored<T: Float, const FMA: bool>(x: T) -> T { x.opposite() },
        fn backward_stored<T: Float, const FMA: bool>(_: T, g: T) -> T { g.opposite() };
    Exp(x) x.exp::<FMA>(), (y, g) g.mul(y);
    Log(x) x.ln::<FMA>(), (x, g) g.div(x);
    Sqrt(x) x.sqrt(), (y, g) g.div(y.add(y));
    Tanh(x) x.tanh::<FMA>(), (y, g) g.mul(negative(y).madd::<FMA>(y, one()));
    Sigmoid(x) sigmoid::<T, FMA>(x), (y, g) g.mul(y.mul(one::<T>().sub(y)));
    Abs(x) x.abs(), (x, g) if x > number(0.0) { g } else if x < number(0.0) { negative(g) } else { number(0.0) },
        fn forward_stored<T: Float, const FMA: bool>(x: T) -> T { x.magnitude() };
    /// NaN stays NaN.
    Relu(x) if x < number(0.0) { number(0.0) } else { x }, (y, g) if y <= number(0.0) { number(0.0) } else { g };
    Gelu(x) x.mul(gelu_gate::<T, FMA>(x)), (x, g) {
        let gate = gelu_gate::<T, FMA>(x);
        let slope = x.mul(x).madd::<FMA>(number(3.0 * GELU_SCALE * GELU_CUBIC), number(GELU_SCALE));
        let away = x.mul(gate.mul(one::<T>().sub(gate)));
        g.mul(away.madd::<FMA>(slope, gate))
    };
    GeluErf(x) x.mul(x.normal::<FMA>()[0]), (x, g) {
        let [below, bell] = x.normal::<FMA>();
        g.mul(x.madd::<FMA>(bell.mul(number(0.398_942_280_401_432_7)), below))
    };
    Square(x) x.mul(x), (x, g) g.mul(x.add(x));
    Reciprocal(x) one::<T>().div(x), (y, g) negative(g).mul(y.mul(y));
    Silu(x) x.mul(sigmoid::<T, FMA>(x)), (x, g) {
        let gate = sigmoid::<T, FMA>(x);
        g.mul(x.mul(gate).madd::<FMA>(one::<T>().sub(gate), gate))
    };
}

multiversion! {
    /// y[i] = f(x[i]).
    pub fn map<T: Float, O: Unary>(y: &mut [T], x: &[T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = O::forward_stored::<T, FMA>(x);
        }
    }
}

multiversion! {
    /// out[i] = f'(saved[i]) grad[i].
    pub fn map_backward<T: Float, O: Unary>(out: &mut [T], saved: &[T], grad: &[T]) {
        for ((out, &s), &g) in out.iter_mut().zip(saved).zip(grad) {
            *out = O::backward_stored::<T, FMA>(s, g);
        }
    }
}
