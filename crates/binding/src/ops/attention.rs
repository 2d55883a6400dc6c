//! Raw operations of attention and of rotary embeddings.

use super::results::{made, made_all, put_all};
use crate::dispatch::for_values;
use crate::hot_op::hot_ops;
use crate::tensors::{insert, optional, same_dtype, slice, span};
use device::{Accelerator, common, ops};
use kernels::attention::{self, Attention, Gradients, Inputs, Saved};
use kernels::gemm::Precision;
use kernels::random::Dropout;
use kernels::rotary::{self, Angles, Rotary};
use std::sync::Arc;
use storage::{DType, Element, Span};

/// An attention as JavaScript passes it.
fn attention_of(settings: &[u32], dropout: f64, scale: f64) -> Result<Attention, String> {
    let [queries, keys, batch, heads, key_heads, head_dim, causal, window, bf16, key0, key1, first_sample, first_head] = *settings else {
        return Err(format!("settings has {} numbers, not 13. Pass [queries, keys, batch, heads, keyHeads, headDim, …].", settings.len()));
    };
    let dropped = (dropout != 0.0).then(|| Dropout::new(dropout, [key0, key1], [first_sample, first_head]));
    let [queries, keys, batch, heads, key_heads, head_dim] =
        [queries, keys, batch, heads, key_heads, head_dim].map(|extent| extent as usize);
    let (causal, window, scale) = (causal != 0, (window != 0).then_some(window as usize), scale as f32);
    let precision = if bf16 != 0 { Precision::Bf16 } else { Precision::F32 };
    Ok(Attention { queries, keys, batch, heads, key_heads, head_dim, causal, window, scale, dropout: dropped.transpose()?, precision })
}

/// What an attention reads.
struct Operands {
    q: Span,
    kv: Option<Span>,
    segments: [Option<Span>; 2],
    bias: Option<Span>,
}

impl Operands {
    fn read(op: &str, operands: &[u32]) -> Result<Operands, String> {
        let [q, kv, query_segments, key_segments, bias] = *operands else {
            return Err(format!("operands has {} handles, not 5. Pass 0 for those that are not there.", operands.len()));
        };
        let segments = [optional(op, query_segments)?, optional(op, key_segments)?];
        let read = Operands { q: span(op, q)?, kv: optional(op, kv)?, segments, bias: optional(op, bias)? };
        same_dtype(&[&read.q, read.kv.as_ref().unwrap_or(&read.q)])?;
        Ok(read)
    }

    fn all(&self) -> impl Iterator<Item = &Span> + Clone {
        [&self.q].into_iter().chain(&self.kv).chain(&self.segments[0]).chain(&self.segments[1]).chain(&self.bias)
    }

    /// The same for a device.
    fn there(self) -> ops::attention::Inputs {
        let Operands { q, kv, segments, bias } = self;
        ops::attention::Inputs { q, kv, segments, bias }
    }

    fn inputs<T: Element>(&self) -> Result<Inputs<'_, T>, String> {
        let segments = [slice(&self.segments[0])?, slice(&self.segments[1])?];
        Ok(Inputs { q: self.q.slice()?, kv: slice(&self.kv)?, segments, bias: slice(&self.bias)? })
    }
}

/// The gradients on a device, in the order of the handles.
fn backward_there(
    on: &Arc<Accelerator>,
    operands: Operands,
    saved: [&Span; 3],
    shape: &Attention,
    wants_bias: bool,
) -> Result<Vec<Span>, String> {
    let [out, lse, grad] = saved;
    let saved = ops::attention::Saved { out, lse, grad };
    let made = ops::attention::attention_backward(on, &operands.there(), &saved, shape, wants_bias)?;
    Ok([Some(made.q), made.kv, made.bias].into_iter().flatten().collect())
}

hot_ops! {
    /// Attention of operands [q [queries, batch, heads * headDim], kv [keys, batch, 2 * keyHeads * headDim], querySegments [queries,
    /// batch], keySegments [keys, batch], bias [heads, queries, keys]], 0 for those that are not there; without kv, q holds all of
    /// them. outs: out [queries, batch, heads * headDim] and lse [batch, heads, queries]. settings [queries, keys, batch, heads,
    /// keyHeads, headDim, causal, window (0 for none), bf16 products of f32, key0, key1, firstSample, firstHead]; `dropout` is the
    /// share of probabilities left out, drawn by the key and the place in the whole model; `scale` multiplies the scores.
    attention(operands: &[u32], settings: &[u32], dropout: f64, scale: f64, outs: &mut [u32]) -> () {
        let (operands, shape) = (Operands::read("attention", operands)?, attention_of(settings, dropout, scale)?);
        let [queries, batch, heads, head_dim] = [settings[0], settings[2], settings[3], settings[5]];
        let dtype = operands.q.dtype();
        if let Some(on) = common(operands.all())?.cloned() {
            return put_all(outs, ops::attention::attention(&on, &operands.there(), &shape)?.into());
        }
        made_all(outs, [(dtype, &[queries, batch, heads, head_dim]), (DType::F32, &[batch, heads, queries])], |outs| for_values!(dtype, T => {
            // SAFETY: the targets are new: nobody else reads or writes them.
            let (out, lse) = unsafe { (outs[0].slice_mut()?, outs[1].f32s_mut()?) };
            attention::attention::<T>(&operands.inputs()?, &shape, out, lse)
        }))
    }

    /// The gradients of the same operands; saved [out, lse, grad]. outs: dq, then dkv where there is kv, then dBias where it is
    /// wanted.
    attentionBackward(
        operands: &[u32],
        saved: &[u32],
        settings: &[u32],
        dropout: f64,
        scale: f64,
        wants_bias: bool,
        outs: &mut [u32],
    ) -> () {
        let op = "attentionBackward";
        let (operands, shape) = (Operands::read(op, operands)?, attention_of(settings, dropout, scale)?);
        let [out, lse, grad] = *saved else {
            return Err(format!("saved has {} handles, not 3. Pass [out, lse, grad].", saved.len()));
        };
        let (out, lse, grad) = (span(op, out)?, span(op, lse)?, span(op, grad)?);
        let dtype = same_dtype(&[&operands.q, &out, &grad])?;
        if let Some(on) = common(operands.all().chain([&out, &lse, &grad]))?.cloned() {
            return put_all(outs, backward_there(&on, operands, [&out, &lse, &grad], &shape, wants_bias)?);
        }
        let [queries, keys, batch, heads, key_heads, head_dim] = *settings.first_chunk::<6>().ok_or("settings are missing")?;
        let run = |outs: &[Span]| for_values!(dtype, T => {
            let mut outs = outs.iter();
            let mut next = || outs.next().ok_or("a gradient has no place. Please report it.");
            let (q, kv) = (next()?, operands.kv.as_ref().map(|_| next()).transpose()?);
            let bias = wants_bias.then(next).transpose()?;
            // SAFETY: the targets are new: nobody else reads or writes them.
            let (q, kv) = unsafe { (q.slice_mut()?, kv.map(|kv| kv.slice_mut()).transpose()?) };
            // SAFETY: as above.
            let bias = bias.map(|bias| unsafe { bias.f32s_mut() }).transpose()?;
            let gradients = Gradients { q, kv, bias };
            let saved = Saved { out: out.slice()?, lse: lse.f32s()?, grad: grad.slice()? };
            attention::attention_backward::<T>(&operands.inputs()?, &saved, &shape, gradients)
        });
        let kv_heads = 2 * u64::from(key_heads);
        let fused_heads = if operands.kv.is_some() { u64::from(heads) } else { u64::from(heads) + kv_heads };
        let heads_of = |count: u64| u32::try_from(count).map_err(|_| format!("{count} heads are beyond any memory. Pass fewer."));
        let d_q: (DType, &[u32]) = (dtype, &[queries, batch, heads_of(fused_heads)?, head_dim]);
        let d_kv: (DType, &[u32]) = (dtype, &[keys, batch, heads_of(kv_heads)?, head_dim]);
        let d_bias: (DType, &[u32]) = (DType::F32, &[heads, queries, keys]);
        match (operands.kv.is_some(), wants_bias) {
            (false, false) => made_all(outs, [d_q], run),
            (true, false) => made_all(outs, [d_q, d_kv], run),
            (false, true) => made_all(outs, [d_q, d_bias], run),
            (true, true) => made_all(outs, [d_q, d_kv, d_bias], run),
        }
    }

    /// Turns the q and k heads of x [seq, batch, (heads + 2 keyHeads) * headDim] by the rows of table [positions, rotated], cosines
    /// then sines, that positions [seq, batch] (i32, 0 for those of the sequence) name. settings [seq, batch, heads, keyHeads,
    /// headDim, rotated, interleaved, back].
    rotary(x: u32, table: u32, positions: u32, settings: &[u32]) -> u32 {
        let op = "rotary";
        let (x, table, positions) = (span(op, x)?, span(op, table)?, optional(op, positions)?);
        let [seq, batch, heads, key_heads, head_dim, rotated, interleaved, back] = *settings else {
            return Err(format!("settings has {} numbers, not 8. Pass [seq, batch, heads, keyHeads, headDim, …].", settings.len()));
        };
        let [seq_len, samples, q_heads, kv_heads, dim, turned] = [seq, batch, heads, key_heads, head_dim, rotated].map(|n| n as usize);
        let (interleaved, back) = (interleaved != 0, back != 0);
        let shape = Rotary { seq: seq_len, batch: samples, heads: q_heads, key_heads: kv_heads, head_dim: dim, rotated: turned, interleaved, back };
        if let Some(on) = common([&x, &table].into_iter().chain(&positions))? {
            return insert(ops::rotary::rotary(on, &x, &table, &positions, &shape)?);
        }
        let all = u32::try_from(u64::from(heads) + 2 * u64::from(key_heads)).map_err(|_| "these heads are beyond any memory. Pass fewer.")?;
        made(x.dtype(), &[seq, batch, all, head_dim], |y| for_values!(x.dtype(), T => {
            let angles = Angles { table: table.slice()?, positions: slice(&positions)? };
            // SAFETY: the target is new: nobody else reads or writes it.
            rotary::rotary::<T>(x.slice()?, &angles, &shape, unsafe { y.slice_mut()? })
        }))
    }
}
