//! New tensors that operations fill, and which tensors may share memory with what is written.

use crate::tensors::{apart, build, insert, remove};
use storage::{DType, Span};

/// Elements of a tensor of these dims.
fn numel(dims: &[u32]) -> Result<usize, String> {
    let product = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim as usize));
    product.ok_or_else(|| format!("a tensor of {dims:?} is beyond any memory. Pass smaller dims."))
}

/// A new tensor of `dims` that `write` fills: nobody else reads or writes it meanwhile.
pub fn made(dtype: DType, dims: &[u32], write: impl FnOnce(&Span) -> Result<(), String>) -> Result<u32, String> {
    build(dtype, numel(dims)?, write)
}

/// New tensors that `write` fills, as [`made`]; their handles go to the first places of `outs`.
pub fn made_all<const N: usize>(
    outs: &mut [u32],
    dims: [(DType, &[u32]); N],
    write: impl FnOnce(&[Span]) -> Result<(), String>,
) -> Result<(), String> {
    if outs.len() < N {
        return Err(format!("outs has room for {} handles, not for {N}. Pass a Uint32Array of {N}.", outs.len()));
    }
    let spans: Vec<Span> = dims.iter().map(|(dtype, dims)| Span::new(*dtype, numel(dims)?)).collect::<Result<_, String>>()?;
    write(&spans)?;
    put_all(outs, spans)
}

/// The tensor itself where it lies on the CPU, else a copy of it, for which this thread waits.
pub fn on_host(span: Span) -> Result<Span, String> {
    let Some(on) = device::accelerator_of(&span) else { return Ok(span) };
    let copy = Span::new(span.dtype(), span.len())?;
    // SAFETY: the copy is new: nobody else reads or writes it.
    on.read(&span, unsafe { copy.bytes_mut() })?;
    Ok(copy)
}

/// Handles of tensors that an operation has made; they go to the first places of `outs`.
pub fn put_all(outs: &mut [u32], spans: Vec<Span>) -> Result<(), String> {
    let count = spans.len();
    if outs.len() < count {
        return Err(format!("outs has room for {} handles, not for {count}. Pass a Uint32Array of {count}.", outs.len()));
    }
    for (number, span) in spans.into_iter().enumerate() {
        outs[number] = insert(span).inspect_err(|_| {
            outs[..number].iter().for_each(|&handle| {
                remove(handle);
            });
        })?;
    }
    Ok(())
}

/// Refuses tensors that are written in the same call and share memory.
pub fn all_apart(written: &[&Span]) -> Result<(), String> {
    for (index, one) in written.iter().enumerate() {
        if written[..index].iter().any(|other| other.overlaps(one)) {
            return Err("two of the tensors that are written share memory. Pass tensors of their own.".to_owned());
        }
    }
    Ok(())
}

/// `sources`, copied where they share memory with `target`.
pub fn apart_all<const N: usize>(target: &Span, sources: [Span; N]) -> Result<[Span; N], String> {
    let mut sources = sources;
    for source in &mut sources {
        *source = apart(target, source.clone())?;
    }
    Ok(sources)
}

/// Refuses spans of which one is written and shares memory with another.
pub fn written_apart<'a>(spans: impl Iterator<Item = (&'a Span, bool)>) -> Result<(), String> {
    let mut sorted: Vec<(usize, usize, bool)> =
        spans.map(|(span, written)| (span.as_ptr() as usize, span.as_ptr() as usize + span.byte_len(), written)).collect();
    sorted.sort_unstable();
    let (mut end, mut written_end) = (0, 0);
    for (start, stop, written) in sorted {
        if start < written_end || (written && start < end) {
            return Err("a tensor that is written shares memory with another. Pass tensors of their own.".to_owned());
        }
        end = end.max(stop);
        written_end = if written { written_end.max(stop) } else { written_end };
    }
    Ok(())
}
