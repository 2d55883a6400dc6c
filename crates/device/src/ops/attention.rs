//! Attention and its gradients: by cuDNN where it is there and does it, else by our kernels: on tensor cores where the elements have 16 bits, else in plain f32 arithmetic, which is also what f32 is
//! multiplied in where the CPU would be allowed to round to bf16.

use super::expect::{expect, expect_optional};
use super::fused_attention;
use crate::accelerator::Accelerator;
use crate::launch::{Argument, Call};
use crate::memory::{from_element, memory, optional};
use kernels::attention::{Attention, Lengths};
use kernels::cuda::AttentionShape;
use std::sync::Arc;
use storage::{DType, Span};

/// What an attention reads, as on the CPU.
pub struct Inputs {
    pub q: Span,
    pub kv: Option<Span>,
    pub segments: [Option<Span>; 2],
    pub bias: Option<Span>,
}

/// What the forward pass left and the gradient of its output.
pub struct Saved<'a> {
    pub out: &'a Span,
    pub lse: &'a Span,
    pub grad: &'a Span,
}

/// Heads that the kernels are compiled for.
const HEADS: [usize; 3] = [64, 128, 256];
/// The most channels of a head on tensor cores, and of what they are a multiple: 16 bytes.
const TENSOR_CORES: (usize, usize) = (128, 8);

/// A call's kernels and what all of them are told first.
struct Plan<'a> {
    on: &'a Arc<Accelerator>,
    inputs: &'a Inputs,
    shape: AttentionShape,
    /// Such as `bf16-64`.
    variant: String,
    is_plain: bool,
    draw: Option<Span>,
}

/// q, k and v, or their gradients, as they lie in their buffers.
fn parts(shape: &Attention, q: &Span, kv: Option<&Span>) -> [Argument; 3] {
    let (of_keys, first) = kv.map_or((q, shape.heads), |kv| (kv, 0));
    let at = |head: usize| from_element(of_keys, head * shape.head_dim);
    [memory(q), at(first), at(first + shape.key_heads)]
}

fn told(shape: &Attention, is_apart: bool) -> AttentionShape {
    let Attention { queries, keys, batch, heads, key_heads, head_dim, causal, window, scale, dropout, .. } = *shape;
    let strides = |rows: usize| [batch * rows * head_dim, rows * head_dim, head_dim].map(|stride| stride as u64);
    let [queries, keys, batch_count, head_count, channels] = [queries, keys, batch, heads, head_dim].map(|extent| extent as u32);
    let rows = if is_apart { [heads, 2 * key_heads] } else { [heads + 2 * key_heads; 2] };
    AttentionShape {
        queries,
        keys,
        batch: batch_count,
        heads: head_count,
        head_dim: channels,
        heads_per_key: (heads / key_heads.max(1)) as u32,
        causal: causal.into(),
        window: window.unwrap_or(0) as u32,
        threshold: dropout.map_or(0, |dropout| dropout.threshold()),
        scale,
        factor: dropout.map_or(1.0, |dropout| dropout.factor()),
        query: strides(rows[0]),
        key: strides(rows[1]),
        out: strides(heads),
    }
}

impl<'a> Plan<'a> {
    fn new(on: &'a Arc<Accelerator>, op: &str, inputs: &'a Inputs, shape: &Attention) -> Result<Plan<'a>, String> {
        let Inputs { q, kv, segments, bias } = inputs;
        let len = |span: &Option<Span>| span.as_ref().map(Span::len);
        let lengths = Lengths { q: q.len(), kv: len(kv), segments: segments.each_ref().map(len), bias: len(bias) };
        shape.check_lengths(op, &lengths)?;
        for (name, rows, segments) in [("querySegments", shape.queries, &segments[0]), ("keySegments", shape.keys, &segments[1])] {
            expect_optional(op, name, segments, DType::I32, &[rows, shape.batch])?;
        }
        expect_optional(op, "bias", bias, DType::F32, &[shape.heads, shape.queries, shape.keys])?;
        expect_optional(op, "kv", kv, q.dtype(), &[lengths.kv.unwrap_or(0)])?;
        let head = HEADS.into_iter().find(|&head| head >= shape.head_dim).ok_or_else(|| {
            let (d, most) = (shape.head_dim, HEADS[HEADS.len() - 1]);
            format!("{op}: heads of {d} channels have no kernel on a CUDA device. Use at most {most}, or the CPU.")
        })?;
        let is_whole = shape.head_dim <= TENSOR_CORES.0 && shape.head_dim.is_multiple_of(TENSOR_CORES.1);
        let is_aligned = [Some(q), kv.as_ref()].into_iter().flatten().all(|span| (span.as_ptr() as usize).is_multiple_of(16));
        let is_plain = q.dtype() == DType::F32 || bias.is_some() || !is_whole || !is_aligned;
        let draw = shape.dropout.map(|dropout| on.draw(&dropout)).transpose()?;
        let variant = format!("{}-{head}", q.dtype().name());
        Ok(Plan { on, inputs, shape: told(shape, kv.is_some()), variant, is_plain, draw })
    }

    fn unit(&self) -> &'static str {
        if self.is_plain { "attention_plain" } else { "attention" }
    }

    fn told(&self) -> Argument {
        Argument::shape(&self.shape)
    }

    /// What every kernel but that of delta is told before its tensors.
    fn held(&self) -> Vec<Argument> {
        let [query_segments, key_segments] = &self.inputs.segments;
        let mut held = vec![self.told(), optional(&self.draw), optional(query_segments), optional(key_segments)];
        if self.is_plain {
            held.push(optional(&self.inputs.bias));
        }
        held
    }

    fn launch(&self, unit: &'static str, kernel: &'static str, extents: &[usize], arguments: &[Argument]) -> Result<(), String> {
        self.on.launch(&Call { unit, variant: &self.variant, kernel, extents, arguments })
    }
}

/// out [queries, batch, heads, d] and lse [batch, heads, queries].
pub fn attention(on: &Arc<Accelerator>, inputs: &Inputs, shape: &Attention) -> Result<[Span; 2], String> {
    let plan = Plan::new(on, "attention", inputs, shape)?;
    let Attention { queries, batch, heads, head_dim, .. } = *shape;
    let (out, lse) = (on.empty(inputs.q.dtype(), queries * batch * heads * head_dim)?, on.empty(DType::F32, batch * heads * queries)?);
    if fused_attention::forward(on, inputs, shape, [&out, &lse])? {
        return Ok([out, lse]);
    }
    let mut arguments = plan.held();
    arguments.extend(parts(shape, &inputs.q, inputs.kv.as_ref()));
    arguments.extend([memory(&out), memory(&lse)]);
    let kernel = if plan.is_plain { "attention_plain" } else { "attention" };
    plan.launch(plan.unit(), kernel, &[queries, batch, heads], &arguments)?;
    Ok([out, lse])
}

/// The gradients of q (or of the fused buffer), of kv, and of the bias where it is wanted.
pub struct Gradients {
    pub q: Span,
    pub kv: Option<Span>,
    pub bias: Option<Span>,
}

/// From what the forward pass left and the gradient of its output.
pub fn attention_backward(
    on: &Arc<Accelerator>,
    inputs: &Inputs,
    saved: &Saved,
    shape: &Attention,
    wants_bias: bool,
) -> Result<Gradients, String> {
    let op = "attentionBackward";
    let plan = Plan::new(on, op, inputs, shape)?;
    let Attention { queries, keys, batch, heads, key_heads, head_dim, .. } = *shape;
    let (Saved { out, lse, grad }, dtype) = (saved, inputs.q.dtype());
    expect(op, "out", out, dtype, &[queries, batch, heads, head_dim])?;
    expect(op, "grad", grad, dtype, &[queries, batch, heads, head_dim])?;
    expect(op, "lse", lse, DType::F32, &[batch, heads, queries])?;
    if wants_bias && inputs.bias.is_none() {
        return Err(format!("{op}: the gradient of a bias is wanted that is not there. Pass the bias."));
    }
    let (q, kv) = (on.empty(dtype, inputs.q.len())?, inputs.kv.as_ref().map(|kv| on.empty(dtype, kv.len())).transpose()?);
    let mut made = Gradients { q, kv, bias: None };
    if fused_attention::backward(on, inputs, saved, shape, &made)? {
        return Ok(made);
    }
    let delta = on.scratch(DType::F32, lse.len())?;
    let extents = [queries, batch, heads];
    plan.launch("attention_plain", "attention_delta", &extents, &[plan.told(), memory(out), memory(grad), memory(&delta)])?;
    let [dq, dk, dv] = parts(shape, &made.q, made.kv.as_ref());
    let saved = || {
        let mut arguments = plan.held();
        arguments.extend(parts(shape, &inputs.q, inputs.kv.as_ref()));
        arguments.extend([memory(grad), memory(lse), memory(&delta)]);
        arguments
    };
    let names = match plan.is_plain {
        true => ["attention_plain_backward_q", "attention_plain_backward_kv"],
        false => ["attention_backward_q", "attention_backward_kv"],
    };
    plan.launch(plan.unit(), names[0], &extents, &saved().into_iter().chain([dq]).collect::<Vec<_>>())?;
    plan.launch(plan.unit(), names[1], &[keys, batch, key_heads], &saved().into_iter().chain([dk, dv]).collect::<Vec<_>>())?;
    if wants_bias {
        let bias = made.bias.insert(on.empty(DType::F32, heads * queries * keys)?);
        let arguments: Vec<Argument> = saved().into_iter().chain([memory(bias)]).collect();
        plan.launch(plan.unit(), "attention_plain_backward_bias", &[queries, heads], &arguments)?;
    }
    Ok(made)
}
