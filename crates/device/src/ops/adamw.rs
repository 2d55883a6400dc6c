//! A step of Adam over flat runs.

use super::expect::expect;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::{memory, optional};
use kernels::sum_squares::LIMBS;
use storage::{DType, Span};

/// Numbers of a step in memory.
const HYPER: usize = 9;
/// What is known of a step afterwards.
const OUTCOME: usize = 3;

/// One run: p, g, m, v and hyper of f32, model of 16 bits.
pub struct Run<'a> {
    pub p: &'a Span,
    pub g: &'a Span,
    pub m: &'a Span,
    pub v: &'a Span,
    pub hyper: Span,
    pub model: &'a Option<Span>,
}

/// What a step is chosen from.
pub struct Choice<'a> {
    /// What brings the norm down; infinite for nothing.
    pub max_norm: f64,
    /// The exact sum of the squares of all gradients.
    pub limbs: &'a Span,
    /// An f32 with the bits of the number of updates (u32) that the first set is for, then sets [groups, 9].
    pub choices: &'a Span,
    /// [norm, whether the step is left out, updates] of f64, kept from step to step.
    pub outcome: &'a Span,
    /// [groups, 9] of f32, written.
    pub hyper: &'a Span,
}

/// The numbers of the step for all groups, chosen on the device by the norm and by how many updates were made.
pub fn adamw_numbers(on: &Accelerator, choice: &Choice) -> Result<(), String> {
    let Choice { max_norm, limbs, choices, outcome, hyper } = *choice;
    let groups = hyper.len() / HYPER;
    let sets = choices.len().saturating_sub(1) / hyper.len().max(1);
    expect("adamWNumbers", "limbs", limbs, DType::I64, &[LIMBS])?;
    expect("adamWNumbers", "hyper", hyper, DType::F32, &[groups.max(1), HYPER])?;
    expect("adamWNumbers", "choices", choices, DType::F32, &[1 + sets.max(1) * hyper.len()])?;
    expect("adamWNumbers", "outcome", outcome, DType::F64, &[OUTCOME])?;
    let numbers = [Argument::U32(groups as u32), Argument::U32(sets as u32), Argument::F64(max_norm)];
    let arguments: Vec<Argument> = numbers.into_iter().chain([limbs, choices, outcome, hyper].map(memory)).collect();
    on.launch(&Call { unit: "adamw", variant: "f32", kernel: "adamw_numbers", extents: &[], arguments: &arguments })
}

/// One step of a run. Its numbers are read on the device: the host never looks at them.
pub fn adamw(on: &Accelerator, run: Run) -> Result<(), String> {
    let Run { p, g, m, v, hyper, model } = run;
    let len = p.len();
    for (name, span) in [("p", p), ("g", g), ("m", m), ("v", v)] {
        expect("adamW", name, span, DType::F32, &[len])?;
    }
    expect("adamW", "hyper", &hyper, DType::F32, &[HYPER])?;
    if let Some(model) = model {
        expect("adamW", "the model's weights", model, model.dtype(), &[len])?;
    }
    let variant = model.as_ref().map_or(DType::F32, Span::dtype).name();
    let arguments = [Argument::count(len), memory(&hyper), memory(g), memory(p), memory(m), memory(v), optional(model)];
    on.launch(&Call { unit: "adamw", variant, kernel: "adamw", extents: &[len], arguments: &arguments })
}
