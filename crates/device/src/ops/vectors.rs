//! Vectors that go with every row, beside activations of another type.

use super::cast::cast;
use crate::accelerator::Accelerator;
use crate::variants::pair;
use std::sync::Arc;
use storage::{DType, Span};

/// The variant for these vectors, and the vectors in its type: as they are where all are of the activations' type or all of f32, else
/// widened to f32.
pub fn vectors<const N: usize>(
    on: &Arc<Accelerator>,
    activations: DType,
    vectors: [Option<Span>; N],
) -> Result<(String, [Option<Span>; N]), String> {
    let all_of = |dtype: DType| vectors.iter().flatten().all(|vector| vector.dtype() == dtype);
    if all_of(activations) {
        return Ok((activations.name().to_owned(), vectors));
    }
    let mut wide = vectors;
    for vector in wide.iter_mut().flatten().filter(|vector| vector.dtype() != DType::F32) {
        *vector = cast(on, vector, DType::F32)?;
    }
    Ok((pair(activations, DType::F32), wide))
}
