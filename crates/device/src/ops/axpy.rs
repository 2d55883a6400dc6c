//! dst += alpha src and dst *= alpha.

use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use crate::variants::pair;
use kernels::extent::expect;
use std::sync::Arc;
use storage::Span;

fn run(on: &Arc<Accelerator>, kernel: &'static str, alpha: f64, src: &Span, dst: &Span) -> Result<(), String> {
    expect(kernel, "src", src.len(), &[dst.len()])?;
    let alpha = on.words(&[(alpha as f32).to_bits()])?;
    let arguments = [Argument::count(dst.len()), memory(&alpha), memory(src), memory(dst)];
    on.launch(&Call { unit: "axpy", variant: &pair(src.dtype(), dst.dtype()), kernel, extents: &[dst.len()], arguments: &arguments })
}

/// dst += alpha src, in place; src is of the type of dst, or of 16 bits beside a dst of f32.
pub fn axpy(on: &Arc<Accelerator>, dst: &Span, alpha: f64, src: &Span) -> Result<(), String> {
    run(on, "axpy", alpha, src, dst)
}

/// target *= alpha, in place.
pub fn scale(on: &Arc<Accelerator>, target: &Span, alpha: f64) -> Result<(), String> {
    run(on, "scale", alpha, target, target)
}
