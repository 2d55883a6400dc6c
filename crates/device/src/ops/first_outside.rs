//! Indices that are not there.

use super::compare::compare_scalar;
use super::expect::expect;
use super::fill::filled;
use super::indices::note_outside;
use super::select::select;
use crate::accelerator::Accelerator;
use crate::refusals::Refusal;
use kernels::layout::Layout;
use std::sync::Arc;
use storage::{DType, Span};

/// Notes the first index outside 0..extent that is not `ignored`; it is refused where the host next reads something.
pub fn first_outside(on: &Arc<Accelerator>, index: &Span, extent: usize, ignored: Option<i32>) -> Result<(), String> {
    expect("firstOutside", "index", index, DType::I32, &[index.len()])?;
    let Some(ignored) = ignored else { return note_outside(on, index, extent, Refusal::Token) };
    // What is ignored becomes a 0; 0 is equality.
    let is_ignored = compare_scalar(on, 0, index, &Span::from_slice(DType::I32, &[ignored])?)?;
    let zero = filled(on, DType::I32, 1, 0.0)?;
    let layout = Layout::new(&[index.len()], [&[1], &[0], &[1]], [0, 0, 0])?;
    note_outside(on, &select(on, [&is_ignored, &zero, index], &layout)?, extent, Refusal::Token)
}
