//! Types and lengths of operands, which a kernel does not look at.

use kernels::extent;
use storage::{DType, Span};

/// Refuses a tensor of another type or length.
pub fn expect(op: &str, name: &str, span: &Span, dtype: DType, shape: &[usize]) -> Result<(), String> {
    if span.dtype() != dtype {
        let (have, want) = (span.dtype().name(), dtype.name());
        return Err(format!("{op}: {name} is of {have} where {want} is needed. Cast it first."));
    }
    extent::expect(op, name, span.len(), shape)
}

/// The same for a tensor that need not be there.
pub fn expect_optional(op: &str, name: &str, span: &Option<Span>, dtype: DType, shape: &[usize]) -> Result<(), String> {
    span.as_ref().map_or(Ok(()), |span| expect(op, name, span, dtype, shape))
}
