//! A step of Adam over flat runs.

use super::expect::expect;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::{memory, optional};
use storage::{DType, Span};

/// Numbers of a step in memory.
const HYPER: usize = 9;

/// One run: p, g, m, v and hyper of f32, model of 16 bits.
pub struct Run<'a> {
    pub p: &'a Span,
    pub g: &'a Span,
    pub m: &'a Span,
    pub v: &'a Span,
    pub hyper: Span,
    pub model: &'a Option<Span>,
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
