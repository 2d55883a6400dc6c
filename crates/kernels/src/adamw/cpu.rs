use super::Hyper;
use crate::half::f32_to_bf16;
use crate::simd::{madd, multiversion};

#[inline(always)]
fn step<const FMA: bool, const DECOUPLED: bool>(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], hyper: &Hyper) {
    let Hyper { lr, beta1, beta2, eps, weight_decay, grad_scale, .. } = *hyper;
    let (rate, root) = (lr / hyper.bias_correction1, hyper.bias_correction2.sqrt());
    let (rest1, rest2, kept) = (1.0 - beta1, 1.0 - beta2, 1.0 - lr * weight_decay);
    for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
        let mut g = *g * grad_scale;
        let mut new = *p;
        if DECOUPLED {
            new *= kept;
        } else {
            g = madd::<FMA>(weight_decay, *p, g);
        }
        *m = madd::<FMA>(beta1, *m, rest1 * g);
        *v = madd::<FMA>(beta2, *v, rest2 * g * g);
        *p = new - rate * (*m / (v.sqrt() / root + eps));
    }
}

multiversion! {
    pub(super) fn decoupled(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], hyper: &Hyper) {
        step::<FMA, true>(p, g, m, v, hyper);
    }
}

multiversion! {
    pub(super) fn regularised(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], hyper: &Hyper) {
        step::<FMA, false>(p, g, m, v, hyper);
    }
}

multiversion! {
    /// The parameters as bf16, to nearest even.
    pub(super) fn round(bits: &mut [u16], p: &[f32]) {
        for (bits, p) in bits.iter_mut().zip(p) {
            *bits = f32_to_bf16(*p);
        }
    }
}
