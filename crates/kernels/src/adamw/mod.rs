//! Adam with decoupled weight decay (Loshchilov and Hutter 2019), or with L2 regularisation, in one pass over
//! any number of flat runs:
//!
//! g = gradScale g (not stored); decoupled: p = p (1 - lr wd), else g = g + wd p; m = beta1 m + (1 - beta1) g;
//! v = beta2 v + (1 - beta2) g^2; p = p - lr / bc1 * m / (sqrt(v) / sqrt(bc2) + eps).
//!
//! Where p are the f32 main weights of a bf16 model, the model gets them rounded in the same pass. A gradScale that is NaN leaves
//! everything as it is.

mod cpu;

use crate::disjoint::{CHUNK, Disjoint, chunk_range};
use crate::extent::expect;
use crate::pool;

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

/// A run of parameters that a step updates: `p`, `m` and `v` change.
pub struct Run<'a> {
    pub p: &'a mut [f32],
    pub g: &'a [f32],
    pub m: &'a mut [f32],
    pub v: &'a mut [f32],
    /// The bf16 weights that p stands for.
    pub model: Option<&'a mut [u16]>,
    pub hyper: Hyper,
}

/// Elements whose new values are still in the first-level cache when they are rounded.
const BLOCK: usize = 1 << 10;

/// A run that the items of the pool share.
struct Shared<'a> {
    /// Number of its first item.
    first: usize,
    len: usize,
    g: &'a [f32],
    written: [Disjoint<'a, f32>; 3],
    model: Option<Disjoint<'a, u16>>,
    hyper: Hyper,
}

/// One step of all runs: each gradient is read once, scaled on the way and left as it is, since the next backward overwrites it.
pub fn adamw(runs: Vec<Run>) -> Result<(), String> {
    let mut items = 0;
    let mut shared = Vec::with_capacity(runs.len());
    for Run { p, g, m, v, model, hyper } in runs {
        let len = p.len();
        if hyper.grad_scale.is_nan() {
            continue;
        }
        expect("adamW", "g", g.len(), &[len])?;
        expect("adamW", "m", m.len(), &[len])?;
        expect("adamW", "v", v.len(), &[len])?;
        model.as_ref().map_or(Ok(()), |model| expect("adamW", "the model's weights", model.len(), &[len]))?;
        shared.push(Shared { first: items, len, g, written: [p, m, v].map(Disjoint::new), model: model.map(Disjoint::new), hyper });
        items += len.div_ceil(CHUNK);
    }
    pool::run(items, &|item| {
        let run = &shared[shared.partition_point(|run| run.first <= item) - 1];
        let range = chunk_range(run.len, CHUNK, item - run.first);
        let step = if run.hyper.decoupled { cpu::decoupled } else { cpu::regularised };
        let block = if run.model.is_some() { BLOCK } else { CHUNK };
        for start in range.clone().step_by(block) {
            let range = start..range.end.min(start + block);
            // SAFETY: chunks are disjoint.
            let [p, m, v] = run.written.map(|slice| unsafe { slice.part(range.clone()) });
            step(p, &run.g[range.clone()], m, v, &run.hyper);
            if let Some(model) = &run.model {
                // SAFETY: as above.
                cpu::round(unsafe { model.part(range) }, p);
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests;
