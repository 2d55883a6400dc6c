use crate::exp::exp;
use crate::simd::{madd, multiversion};
use crate::stored::Value;

/// 2 sqrt(2 / pi), and the same times 0.044715.
const LINEAR: f32 = 1.595_769_2;
const CUBIC: f32 = 0.071_354_814;

/// sigmoid(2 u) of the tanh form.
#[inline(always)]
fn gate<const FMA: bool>(v: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-v * madd::<FMA>(v * v, CUBIC, LINEAR)))
}

multiversion! {
    pub(super) fn forward<T: Value>(x: &[T], bias: &[f32], y: &mut [T]) {
        let cols = bias.len();
        for (x, y) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)) {
            for ((y, x), bias) in y.iter_mut().zip(x).zip(bias) {
                let v = x.widen() + *bias;
                *y = T::narrow(v * gate::<FMA>(v));
            }
        }
    }
}

multiversion! {
    /// With s the gate: dy/dv = s + v s (1 - s) d(2 u)/dv. Adds the rows of dx to `sums`.
    pub(super) fn backward<T: Value>(x: &[T], bias: &[f32], grad: &[T], dx: &mut [T], sums: &mut [f32]) {
        let cols = bias.len();
        for ((x, grad), dx) in x.chunks_exact(cols).zip(grad.chunks_exact(cols)).zip(dx.chunks_exact_mut(cols)) {
            for ((((dx, sum), x), grad), bias) in dx.iter_mut().zip(sums.iter_mut()).zip(x).zip(grad).zip(bias) {
                let v = x.widen() + *bias;
                let s = gate::<FMA>(v);
                let slope = madd::<FMA>(v * v, 3.0 * CUBIC, LINEAR);
                let d = grad.widen() * madd::<FMA>(v * s * (1.0 - s), slope, s);
                *dx = T::narrow(d);
                *sum += d;
            }
        }
    }
}
