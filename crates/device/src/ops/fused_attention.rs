//! Attention by cuDNN, where it does what is asked: 16-bit elements, causal masks and windows, shared key heads. Segments, a bias and dropout,
//! whose numbers must be ours, are left to our kernels, and so is what the library refuses.

use super::attention::{Gradients, Inputs, Saved};
use crate::accelerator::{Accelerator, told};
use crate::memory::part;
use cuda::{AttentionInputs, AttentionOutputs, AttentionSaved, AttentionShape, Outcome, Part, Pass};
use kernels::attention::Attention;
use storage::{DType, Span};

/// Channels of a head are a multiple of this: 16 bytes.
const CHANNELS: usize = 8;
/// Bytes that addresses are a multiple of.
const ALIGNMENT: u64 = 16;

/// What cuDNN computes an attention of, or why it is not asked.
struct Fused {
    shape: AttentionShape,
    inputs: AttentionInputs,
}

/// The same memory from an element on.
fn from(whole: &Part, element: usize) -> Result<Part, String> {
    whole.alias(element, whole.len().saturating_sub(element)).map_err(told)
}

/// q, k and v, or their gradients, as they lie in their buffers.
fn parts(shape: &Attention, q: &Span, kv: Option<&Span>) -> Result<[Part; 3], String> {
    let (q, kv) = (part(q)?, kv.map(part).transpose()?);
    let (of_keys, first) = kv.as_ref().map_or((&q, shape.heads), |kv| (kv, 0));
    let at = |head: usize| from(of_keys, head * shape.head_dim);
    let [key, value] = [at(first)?, at(first + shape.key_heads)?];
    Ok([q, key, value])
}

/// Why cuDNN is not asked for such an attention.
fn unasked(inputs: &Inputs, shape: &Attention) -> Option<&'static str> {
    let Attention { queries, keys, batch, heads, key_heads, head_dim, dropout, .. } = shape;
    let extents = [queries, keys, batch, heads, key_heads, head_dim];
    match inputs {
        _ if extents.contains(&&0) => Some("there is nothing to compute"),
        Inputs { q, .. } if q.dtype() == DType::F32 => Some("its elements are f32"),
        Inputs { bias: Some(_), .. } => Some("it has a bias"),
        Inputs { segments: [None, None], .. } => match dropout {
            Some(_) => Some("it drops weights by our own random numbers"),
            None => (!head_dim.is_multiple_of(CHANNELS)).then_some("its heads are no multiple of 8 channels"),
        },
        Inputs { .. } => Some("it has segments"),
    }
}

impl Fused {
    fn new(inputs: &Inputs, shape: &Attention) -> Result<Result<Fused, &'static str>, String> {
        if let Some(why) = unasked(inputs, shape) {
            return Ok(Err(why));
        }
        let [query, key, value] = parts(shape, &inputs.q, inputs.kv.as_ref())?;
        if [&query, &key, &value].iter().any(|part| !part.address().is_multiple_of(ALIGNMENT)) {
            return Ok(Err("its tensors do not begin at multiples of 16 bytes"));
        }
        let Attention { queries, keys, batch, heads, key_heads, head_dim, causal, window, scale, .. } = *shape;
        let rows = if inputs.kv.is_some() { [heads, 2 * key_heads] } else { [heads + 2 * key_heads; 2] };
        let (dtype, has_window) = (inputs.q.dtype(), window.is_some());
        let shape = AttentionShape { dtype, queries, keys, batch, heads, key_heads, head_dim, causal, has_window, rows };
        Ok(Ok(Fused { shape, inputs: AttentionInputs { query, key, value, scale, window: window.unwrap_or(0) } }))
    }
}

/// Whether cuDNN was asked for a pass; why not is noted.
fn ask(
    on: &Accelerator,
    inputs: &Inputs,
    shape: &Attention,
    outputs: impl FnOnce() -> Result<AttentionOutputs, String>,
) -> Result<bool, String> {
    let dnn = match on.attentions.dnn(&on.device)? {
        Ok(dnn) => dnn,
        Err(why) => return Ok(on.attentions.note(Some(why))),
    };
    let Fused { shape, inputs } = match Fused::new(inputs, shape)? {
        Ok(fused) => fused,
        Err(why) => return Ok(on.attentions.note(Some(why.into()))),
    };
    let outputs = outputs()?;
    let pass = match &outputs {
        AttentionOutputs::Forward { .. } => Pass::Forward,
        AttentionOutputs::Backward { .. } => match on.attentions.is_fixed(&on.device) {
            Ok(is_fixed) => Pass::Backward { is_fixed },
            Err(why) => return Ok(on.attentions.note(Some(why))),
        },
    };
    let outcome = dnn.run(&shape, &inputs, &outputs, pass).map_err(told)?;
    Ok(on.attentions.note(match outcome {
        Outcome::Asked => None,
        Outcome::Refused(why) => Some(why),
    }))
}

/// Writes out and lse; false where our kernels have to.
pub(super) fn forward(on: &Accelerator, inputs: &Inputs, shape: &Attention, [out, lse]: [&Span; 2]) -> Result<bool, String> {
    ask(on, inputs, shape, || Ok(AttentionOutputs::Forward { out: part(out)?, lse: part(lse)? }))
}

/// Writes the gradients of q and kv; false where our kernels have to.
pub(super) fn backward(on: &Accelerator, inputs: &Inputs, saved: &Saved, shape: &Attention, gradients: &Gradients) -> Result<bool, String> {
    let is_aligned = [saved.out, saved.lse, saved.grad].iter().all(|span| (span.as_ptr() as u64).is_multiple_of(ALIGNMENT));
    if !is_aligned {
        return Ok(on.attentions.note(Some("its tensors do not begin at multiples of 16 bytes".into())));
    }
    ask(on, inputs, shape, || {
        let saved = AttentionSaved { out: part(saved.out)?, lse: part(saved.lse)?, grad: part(saved.grad)? };
        Ok(AttentionOutputs::Backward { saved, gradients: parts(shape, &gradients.q, gradients.kv.as_ref())? })
    })
}
