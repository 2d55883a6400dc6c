//! The tensors that this thread's JavaScript holds, and how operations reach them.

use crate::dispatch::refused;
use device::Accelerator;
use kernels::cast;
use kernels::gemm::{Values, ValuesMut};
use std::cell::RefCell;
use std::sync::Arc;
use storage::{DType, Element, Slab, Span, not_live};

thread_local! {
    static SLAB: RefCell<Slab> = RefCell::default();
    static DEVICE: RefCell<Option<Arc<Accelerator>>> = const { RefCell::new(None) };
}

/// The span behind a handle; `op` is named in the sentence when it is not live.
pub fn span(op: &str, handle: u32) -> Result<Span, String> {
    SLAB.with_borrow(|slab| slab.get(handle).cloned()).ok_or_else(|| not_live(op, handle))
}

/// The span behind a handle, None for handle 0.
pub fn optional(op: &str, handle: u32) -> Result<Option<Span>, String> {
    if handle == 0 { Ok(None) } else { span(op, handle).map(Some) }
}

/// Where this thread's new tensors lie; None for the CPU.
pub fn current_device() -> Option<Arc<Accelerator>> {
    DEVICE.with_borrow(Clone::clone)
}

/// Lets this thread's new tensors lie there from now on.
pub fn set_current_device(device: Option<Arc<Accelerator>>) {
    DEVICE.set(device);
}

/// A handle for a span.
pub fn insert(span: Span) -> Result<u32, String> {
    SLAB.with_borrow_mut(|slab| slab.insert(span))
}

/// Ends a handle; false when it was not live.
pub fn remove(handle: u32) -> bool {
    let span = SLAB.with_borrow_mut(|slab| slab.remove(handle));
    span.is_some()
}

/// How many handles of this thread are live.
pub fn live() -> usize {
    SLAB.with_borrow(Slab::live)
}

/// A handle for a new tensor, after `write` has filled it.
pub fn build(dtype: DType, len: usize, write: impl FnOnce(&Span) -> Result<(), String>) -> Result<u32, String> {
    let span = Span::new(dtype, len)?;
    write(&span)?;
    insert(span)
}

/// `source`, or a copy of it when it shares memory with `target`, so that one may be read while the other is written.
pub fn apart(target: &Span, source: Span) -> Result<Span, String> {
    if !source.overlaps(target) {
        return Ok(source);
    }
    if target.is_remote() {
        return device::apart(target, source);
    }
    let copy = Span::new(source.dtype(), source.len())?;
    // SAFETY: the copy is new: nobody else reads or writes it.
    unsafe { copy.bytes_mut() }.copy_from_slice(source.bytes());
    Ok(copy)
}

/// The one type of several operands.
pub fn same_dtype(spans: &[&Span]) -> Result<DType, String> {
    let dtype = spans[0].dtype();
    match spans.iter().find(|span| span.dtype() != dtype) {
        Some(other) => Err(format!("tensors of {} and {} do not mix. Cast one of them.", dtype.name(), other.dtype().name())),
        None => Ok(dtype),
    }
}

/// The elements of a tensor that need not be there.
pub fn slice<T: Element>(span: &Option<Span>) -> Result<Option<&[T]>, String> {
    span.as_ref().map(Span::slice).transpose()
}

/// A tensor of f32 or bf16 to read.
pub fn values(span: &Span) -> Result<Values<'_>, String> {
    match span.dtype() {
        DType::F32 => Ok(Values::F32(span.slice()?)),
        DType::BF16 => Ok(Values::Bf16(span.slice()?)),
        dtype => Err(refused(dtype, "f32 or bf16")),
    }
}

/// A tensor of f32 or bf16 to write.
///
/// # Safety
/// As [`Span::slice_mut`].
pub unsafe fn values_mut(span: &Span) -> Result<ValuesMut<'_>, String> {
    // SAFETY: the caller's promise, handed on.
    unsafe {
        match span.dtype() {
            DType::F32 => Ok(ValuesMut::F32(span.slice_mut()?)),
            DType::BF16 => Ok(ValuesMut::Bf16(span.slice_mut()?)),
            dtype => Err(refused(dtype, "f32 or bf16")),
        }
    }
}

/// A vector that goes with every row: itself in f32, or widened from bf16. Operations of a device do that themselves.
pub fn vector(span: Span) -> Result<Span, String> {
    match span.dtype() {
        _ if span.is_remote() => Ok(span),
        DType::F32 => Ok(span),
        DType::BF16 => {
            let wide = Span::new(DType::F32, span.len())?;
            cast::cast(&wide, &span)?;
            Ok(wide)
        }
        dtype => Err(refused(dtype, "f32 or bf16")),
    }
}

/// A whole number from 0 on that JavaScript passed as a double.
pub fn whole(name: &str, value: f64) -> Result<usize, String> {
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    if (0.0..=LARGEST).contains(&value) && value.fract() == 0.0 {
        return Ok(value as usize);
    }
    Err(format!("{name} is {value}. Pass a whole number from 0 to 2^53."))
}
