//! Adam with decoupled weight decay (Loshchilov and Hutter 2019), or with L2 regularisation, in one pass over flat spans:
//!
//! g = gradScale g (not stored); decoupled: p = p (1 - lr wd), else g = g + wd p; m = beta1 m + (1 - beta1) g;
//! v = beta2 v + (1 - beta2) g^2; p = p - lr / bc1 * m / (sqrt(v) / sqrt(bc2) + eps).

mod cpu;

use crate::disjoint::{CHUNK, Disjoint, for_chunks};
use crate::extent::expect;

/// The numbers of a step, in the order in which the hyper span holds them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    pub lr: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    pub weight_decay: f32,
    pub bias_correction1: f32,
    pub bias_correction2: f32,
    pub grad_scale: f32,
    pub decoupled: bool,
}

impl Hyper {
    /// Reads `[lr, beta1, beta2, eps, weightDecay, biasCorrection1, biasCorrection2, gradScale, decoupled]`.
    pub fn read(values: &[f32]) -> Result<Hyper, String> {
        let [lr, beta1, beta2, eps, weight_decay, bias_correction1, bias_correction2, grad_scale, decoupled] = *values else {
            return Err(format!("adamW: hyper has {} values, not 9. Pass lr, beta1, … decoupled.", values.len()));
        };
        let decoupled = decoupled != 0.0;
        Ok(Hyper { lr, beta1, beta2, eps, weight_decay, bias_correction1, bias_correction2, grad_scale, decoupled })
    }
}

/// One step: changes `p`, `m` and `v`.
pub fn adamw(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], hyper: &Hyper) -> Result<(), String> {
    let len = p.len();
    expect("adamW", "g", g.len(), &[len])?;
    expect("adamW", "m", m.len(), &[len])?;
    expect("adamW", "v", v.len(), &[len])?;
    let (p, m, v) = (Disjoint::new(p), Disjoint::new(m), Disjoint::new(v));
    for_chunks(len, CHUNK, |range| {
        let g = &g[range.clone()];
        // SAFETY: chunks are disjoint.
        let (p, m, v) = unsafe { (p.part(range.clone()), m.part(range.clone()), v.part(range)) };
        if hyper.decoupled {
            cpu::decoupled(p, g, m, v, hyper);
        } else {
            cpu::regularised(p, g, m, v, hyper);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests;
