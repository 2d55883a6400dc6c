//! Where the operands of an operation lie.

use crate::accelerator::{Accelerator, STREAM, told};
use crate::memory::{held_of, part};
use std::sync::Arc;
use storage::Span;

/// The device on which a tensor lies; None for the CPU.
#[inline(always)]
pub fn accelerator_of(span: &Span) -> Option<&Arc<Accelerator>> {
    if span.is_remote() { device_of(span) } else { None }
}

#[cold]
#[inline(never)]
fn device_of(span: &Span) -> Option<&Arc<Accelerator>> {
    held_of(span).map(|(held, _)| &held.on)
}

/// The device on which all of these lie; None where all lie on the CPU.
#[inline]
pub fn common<'a, I: IntoIterator<Item = &'a Span> + Clone>(spans: I) -> Result<Option<&'a Arc<Accelerator>>, String> {
    // One branch for all of them: the CPU pays for it in every operation.
    let is_remote = spans.clone().into_iter().fold(false, |is_remote, span| is_remote | span.is_remote());
    if is_remote { one_device(spans.into_iter()) } else { Ok(None) }
}

/// The one device of several tensors, of which one lies on some device.
#[cold]
#[inline(never)]
fn one_device<'a>(mut spans: impl Iterator<Item = &'a Span>) -> Result<Option<&'a Arc<Accelerator>>, String> {
    let first = spans.next().and_then(accelerator_of);
    for other in spans.map(accelerator_of) {
        let is_same = match (first, other) {
            (Some(first), Some(other)) => Arc::ptr_eq(first, other),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            let name = |place: Option<&Arc<Accelerator>>| place.map_or_else(|| "the CPU".to_owned(), |place| place.name());
            return Err(format!("one tensor lies on {}, another on {}. Copy one to where the other is.", name(first), name(other)));
        }
    }
    Ok(first)
}

/// `source`, or a copy of it when it shares memory with `target`, so that one may be read while the other is written.
pub fn apart(target: &Span, source: Span) -> Result<Span, String> {
    match accelerator_of(target).filter(|_| source.overlaps(target)) {
        None => Ok(source),
        Some(on) => {
            let copy = on.scratch(source.dtype(), source.len())?;
            part(&copy)?.copy_from(STREAM, &part(&source)?).map_err(told)?;
            Ok(copy)
        }
    }
}
