//! Random numbers of a key and of an element's place in the whole tensor.

use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::memory;
use kernels::layout::Layout;
use kernels::random::Distribution;
use storage::Span;

/// Fills the places of a layout: operand 0 is the place, operand 1 the global index.
pub fn fill_random(on: &Accelerator, target: &Span, distribution: Distribution, places: &Layout<2>, key: [u32; 2]) -> Result<(), String> {
    let (kind, a, b) = match distribution {
        Distribution::Uniform { from, to } => (0, from, to),
        Distribution::Normal { mean, std } => (1, mean, std),
    };
    places.check([target.len(), usize::MAX])?;
    let (length, walk) = (Argument::count(places.numel()), Argument::walk(places));
    let numbers = [Argument::U32(kind), Argument::F64(a), Argument::F64(b), Argument::U32(key[0]), Argument::U32(key[1])];
    let arguments: Vec<Argument> = [length, walk].into_iter().chain(numbers).chain([memory(target)]).collect();
    let variant = target.dtype().name();
    on.launch(&Call { unit: "random", variant, kernel: "fill_random", extents: &[places.numel()], arguments: &arguments })
}
