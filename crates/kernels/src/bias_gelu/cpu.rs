use crate::exp::exp;
use crate::simd::{madd, multiversion};

/// 2 sqrt(2 / pi), and the same times 0.044715.
const LINEAR: f32 = 1.595_769_2;
const CUBIC: f32 = 0.071_354_814;

/// sigmoid(2 u) of the tanh form.
#[inline(always)]
fn gate<const FMA: bool>(v: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-v * madd::<FMA>(v * v, CUBIC, LINEAR)))
}

multiversion! {
    pub(super) fn forward(x: &[f32], bias: &[f32], y: &mut [f32]) {
        let cols = bias.len();
        for (x, y) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)) {
            for ((y, x), bias) in y.iter_mut().zip(x).zip(bias) {
                let v = *x + *bias;
                *y = v * gate::<FMA>(v);
            }
        }
    }
}

multiversion! {
    /// With s the gate: dy/dv = s + v s (1 - s) d(2 u)/dv. Adds the rows of dx to `sums`.
    pub(super) fn backward(x: &[f32], bias: &[f32], grad: &[f32], dx: &mut [f32], sums: &mut [f32]) {
        let cols = bias.len();
        for ((x, grad), dx) in x.chunks_exact(cols).zip(grad.chunks_exact(cols)).zip(dx.chunks_exact_mut(cols)) {
            for ((((dx, sum), x), grad), bias) in dx.iter_mut().zip(sums.iter_mut()).zip(x).zip(grad).zip(bias) {
                let v = *x + *bias;
                let s = gate::<FMA>(v);
                let slope = madd::<FMA>(v * v, 3.0 * CUBIC, LINEAR);
                *dx = *grad * madd::<FMA>(v * s * (1.0 - s), slope, s);
                *sum += *dx;
            }
        }
    }
}
