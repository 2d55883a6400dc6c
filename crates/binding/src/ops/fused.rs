//! Raw operations of layers.

use crate::hot_op::hot_ops;
use crate::tensors::{apart, build, insert, optional, remove, span};
use kernels::attention::{self, Shape};
use kernels::cross_entropy::{self, Shard};
use kernels::embedding::{self, Table};
use kernels::layer_norm::{self, Gradients};
use kernels::linear::{self, Sizes};
use kernels::matmul::{self, Layout};
use kernels::{adamw, bias_gelu, sum_rows};
use storage::{DType, Span};

/// Elements of a tensor of these dims.
fn numel(dims: &[u32]) -> Result<usize, String> {
    let product = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim as usize));
    product.ok_or_else(|| format!("a tensor of {dims:?} is beyond any memory. Pass smaller dims."))
}

/// A new f32 tensor of `dims` that `write` fills.
fn made(dims: &[u32], write: impl FnOnce(&mut [f32]) -> Result<(), String>) -> Result<u32, String> {
    // SAFETY: the span is new: nobody else reads or writes it.
    build(DType::F32, numel(dims)?, |target| write(unsafe { target.f32s_mut()? }))
}

/// Two new f32 tensors that `write` fills; their handles go to `outs`.
fn made_pair(
    outs: &mut [u32],
    [first, second]: [&[u32]; 2],
    write: impl FnOnce(&mut [f32], &mut [f32]) -> Result<(), String>,
) -> Result<(), String> {
    let [out_first, out_second] = outs else {
        return Err(format!("outs has room for {} handles, not for 2. Pass a Uint32Array of 2.", outs.len()));
    };
    let (first, second) = (Span::new(DType::F32, numel(first)?)?, Span::new(DType::F32, numel(second)?)?);
    // SAFETY: both spans are new: nobody else reads or writes them.
    unsafe { write(first.f32s_mut()?, second.f32s_mut()?)? };
    let handle = insert(first)?;
    *out_second = insert(second).inspect_err(|_| {
        remove(handle);
    })?;
    *out_first = handle;
    Ok(())
}

/// Refuses tensors that are written in the same call and share memory.
fn all_apart(written: &[&Span]) -> Result<(), String> {
    for (index, one) in written.iter().enumerate() {
        if written[..index].iter().any(|other| other.overlaps(one)) {
            return Err("two of the tensors that are written share memory. Pass tensors of their own.".to_owned());
        }
    }
    Ok(())
}

/// The layout of a matmul as JavaScript passes it.
fn matmul_layout(layout: &[u32]) -> Result<Layout, String> {
    let [batch, m, n, k, a_batch_stride, b_batch_stride, trans_a, trans_b] = *layout else {
        return Err(format!(
            "layout has {} numbers, not 8. Pass [batch, m, n, k, aBatchStride, bBatchStride, transA, transB].",
            layout.len()
        ));
    };
    Ok(Layout {
        batch: batch as usize,
        m: m as usize,
        n: n as usize,
        k: k as usize,
        a_batch_stride: a_batch_stride as usize,
        b_batch_stride: b_batch_stride as usize,
        trans_a: trans_a != 0,
        trans_b: trans_b != 0,
    })
}

/// The extents of an attention as JavaScript passes them.
fn attention_shape(seq: u32, batch: u32, heads: u32, head_dim: u32, causal: bool) -> Shape {
    Shape { seq: seq as usize, batch: batch as usize, heads: heads as usize, head_dim: head_dim as usize, causal }
}

hot_ops! {
    /// `batch` products: a [m, k] or [k, m] times b [k, n] or [n, k] gives [batch, m, n];
    /// layout [batch, m, n, k, aBatchStride, bBatchStride, transA, transB].
    matmul(a: u32, b: u32, layout: &[u32]) -> u32 {
        let (a, b) = (span("matmul", a)?, span("matmul", b)?);
        let sizes = matmul_layout(layout)?;
        made(&layout[..3], |c| matmul::matmul(a.f32s()?, b.f32s()?, &sizes, c, false))
    }

    /// The same into `dst`, overwritten or added to.
    matmulInto(dst: u32, a: u32, b: u32, layout: &[u32], accumulate: bool) -> () {
        let dst = span("matmulInto", dst)?;
        let (a, b) = (apart(&dst, span("matmulInto", a)?)?, apart(&dst, span("matmulInto", b)?)?);
        // SAFETY: a and b share no memory with dst.
        matmul::matmul(a.f32s()?, b.f32s()?, &matmul_layout(layout)?, unsafe { dst.f32s_mut()? }, accumulate)
    }

    /// x [rows, in] times the transpose of w [out, in], plus bias [out] or 0 for none.
    linear(x: u32, w: u32, bias: u32, rows: u32, in_size: u32, out_size: u32) -> u32 {
        let (x, w, bias) = (span("linear", x)?, span("linear", w)?, optional("linear", bias)?);
        let bias = bias.as_ref().map(Span::f32s).transpose()?;
        let sizes = Sizes { rows: rows as usize, input: in_size as usize, output: out_size as usize };
        made(&[rows, out_size], |y| linear::linear(x.f32s()?, w.f32s()?, bias, sizes, y))
    }

    /// The column sums of x [rows, cols] into dst [cols].
    sumRows(x: u32, rows: u32, cols: u32, dst: u32, accumulate: bool) -> () {
        let dst = span("sumRows", dst)?;
        let x = apart(&dst, span("sumRows", x)?)?;
        // SAFETY: x shares no memory with dst.
        sum_rows::sum_rows(x.f32s()?, rows as usize, cols as usize, unsafe { dst.f32s_mut()? }, accumulate)
    }

    /// gelu(x + bias), tanh form; x [rows, cols], bias [cols].
    biasGelu(x: u32, bias: u32, rows: u32, cols: u32) -> u32 {
        let (x, bias) = (span("biasGelu", x)?, span("biasGelu", bias)?);
        made(&[rows, cols], |y| bias_gelu::bias_gelu(x.f32s()?, bias.f32s()?, rows as usize, cols as usize, y))
    }

    /// The gradient of x; that of bias goes to dBias [cols], or 0 for none.
    biasGeluBackward(x: u32, bias: u32, grad: u32, rows: u32, cols: u32, d_bias: u32, accumulate: bool) -> u32 {
        let op = "biasGeluBackward";
        let mut read = [span(op, x)?, span(op, bias)?, span(op, grad)?];
        let d_bias = optional(op, d_bias)?;
        if let Some(d_bias) = &d_bias {
            read = apart_all(d_bias, read)?;
        }
        let [x, bias, grad] = &read;
        // SAFETY: what is read shares no memory with the sums.
        let sums = d_bias.as_ref().map(|sums| unsafe { sums.f32s_mut() }).transpose()?;
        made(&[rows, cols], |dx| {
            bias_gelu::bias_gelu_backward([x.f32s()?, bias.f32s()?, grad.f32s()?], [rows as usize, cols as usize], dx, sums, accumulate)
        })
    }

    /// Rows of x [rows, cols] normalised, times w, plus b; outs: y and stats [rows, 2] = (mean, 1 / sqrt(variance + eps)).
    layerNorm(x: u32, w: u32, b: u32, rows: u32, cols: u32, eps: f64, outs: &mut [u32]) -> () {
        let (x, w, b) = (span("layerNorm", x)?, span("layerNorm", w)?, span("layerNorm", b)?);
        made_pair(outs, [&[rows, cols], &[rows, 2]], |y, stats| {
            layer_norm::layer_norm([x.f32s()?, w.f32s()?, b.f32s()?], [rows as usize, cols as usize], eps as f32, y, stats)
        })
    }

    /// The gradient of x; those of w and b go to dW and dB [cols], or 0 for none.
    layerNormBackward(
        grad: u32, x: u32, w: u32, stats: u32, rows: u32, cols: u32, d_w: u32, d_b: u32, accumulate_w: bool, accumulate_b: bool
    ) -> u32 {
        let op = "layerNormBackward";
        let mut read = [span(op, grad)?, span(op, x)?, span(op, w)?, span(op, stats)?];
        let (d_w, d_b) = (optional(op, d_w)?, optional(op, d_b)?);
        let written: Vec<&Span> = d_w.iter().chain(&d_b).collect();
        all_apart(&written)?;
        for target in written {
            read = apart_all(target, read)?;
        }
        let [grad, x, w, stats] = &read;
        let gradients = Gradients {
            // SAFETY: the two are apart and share no memory with what is read.
            d_w: d_w.as_ref().map(|sums| unsafe { sums.f32s_mut() }).transpose()?,
            // SAFETY: as above.
            d_b: d_b.as_ref().map(|sums| unsafe { sums.f32s_mut() }).transpose()?,
            accumulate_w,
            accumulate_b,
        };
        let read = [grad.f32s()?, x.f32s()?, w.f32s()?, stats.f32s()?];
        made(&[rows, cols], |dx| layer_norm::layer_norm_backward(read, [rows as usize, cols as usize], dx, gradients))
    }

    /// Attention over qkv [seq, batch, 3 * heads * headDim]; outs: out [seq, batch, heads * headDim] and lse [batch, heads, seq].
    attention(qkv: u32, seq: u32, batch: u32, heads: u32, head_dim: u32, causal: bool, outs: &mut [u32]) -> () {
        let qkv = span("attention", qkv)?;
        let shape = attention_shape(seq, batch, heads, head_dim, causal);
        made_pair(outs, [&[seq, batch, heads, head_dim], &[batch, heads, seq]], |out, lse| {
            attention::attention(qkv.f32s()?, &shape, out, lse)
        })
    }

    /// The gradient of qkv.
    attentionBackward(
        qkv: u32, out: u32, lse: u32, grad: u32, seq: u32, batch: u32, heads: u32, head_dim: u32, causal: bool
    ) -> u32 {
        let op = "attentionBackward";
        let (qkv, out, lse, grad) = (span(op, qkv)?, span(op, out)?, span(op, lse)?, span(op, grad)?);
        let read = [qkv.f32s()?, out.f32s()?, lse.f32s()?, grad.f32s()?];
        let shape = attention_shape(seq, batch, heads, head_dim, causal);
        made(&[seq, batch, 3, heads, head_dim], |dqkv| attention::attention_backward(read, &shape, dqkv))
    }

    /// The rows of weight [rows, cols] that index (i32) names, counted from token `start` on; tokens outside give zeros when
    /// partial, else they are refused.
    embedding(weight: u32, index: u32, start: u32, rows: u32, cols: u32, partial: bool) -> u32 {
        let (weight, index) = (span("embedding", weight)?, span("embedding", index)?);
        let (index, table) = (index.slice::<i32>()?, Table { start: start as usize, rows: rows as usize, cols: cols as usize, partial });
        let len = index.len().checked_mul(cols as usize).ok_or("the result is beyond any memory. Pass fewer tokens.")?;
        // SAFETY: the span is new: nobody else reads or writes it.
        build(DType::F32, len, |y| embedding::embedding(weight.f32s()?, index, table, unsafe { y.f32s_mut()? }))
    }

    /// Adds the rows of grad to the rows of dst [rows, cols] that index names, in order.
    embeddingBackward(index: u32, grad: u32, dst: u32, start: u32, rows: u32, cols: u32, partial: bool, accumulate: bool) -> () {
        let op = "embeddingBackward";
        let dst = span(op, dst)?;
        let [index, grad] = apart_all(&dst, [span(op, index)?, span(op, grad)?])?;
        let table = Table { start: start as usize, rows: rows as usize, cols: cols as usize, partial };
        // SAFETY: index and grad share no memory with dst.
        embedding::embedding_backward(index.slice()?, grad.f32s()?, table, unsafe { dst.f32s_mut()? }, accumulate)
    }

    /// The largest logit of each row of [rows, cols].
    ceRowMax(logits: u32, rows: u32, cols: u32) -> u32 {
        let logits = span("ceRowMax", logits)?;
        let shard = Shard { start: 0, rows: rows as usize, cols: cols as usize };
        made(&[rows], |max| cross_entropy::row_max(logits.f32s()?, shard, max))
    }

    /// outs: exp(logits - max) [rows, cols], and stats [2, rows]: the sums of the rows, and each target's logit less the
    /// maximum, 0 for targets (i32) outside start..start + cols.
    ceExpSum(logits: u32, max: u32, targets: u32, start: u32, rows: u32, cols: u32, outs: &mut [u32]) -> () {
        let (logits, max, targets) = (span("ceExpSum", logits)?, span("ceExpSum", max)?, span("ceExpSum", targets)?);
        let shard = Shard { start: start as usize, rows: rows as usize, cols: cols as usize };
        made_pair(outs, [&[rows, cols], &[2, rows]], |exp, stats| {
            cross_entropy::exp_sum([logits.f32s()?, max.f32s()?], targets.slice()?, shard, exp, stats)
        })
    }

    /// In place: exp becomes (softmax - onehot(target)) * grad[row]; stats are summed over the ranks already.
    ceBackward(exp: u32, stats: u32, targets: u32, start: u32, rows: u32, cols: u32, grad: u32) -> () {
        let op = "ceBackward";
        let exp = span(op, exp)?;
        let [stats, targets, grad] = apart_all(&exp, [span(op, stats)?, span(op, targets)?, span(op, grad)?])?;
        let shard = Shard { start: start as usize, rows: rows as usize, cols: cols as usize };
        // SAFETY: nothing that is read shares memory with exp.
        cross_entropy::backward(unsafe { exp.f32s_mut()? }, stats.f32s()?, targets.slice()?, shard, grad.f32s()?)
    }

    /// One step of AdamW on flat tensors; hyper [lr, beta1, beta2, eps, weightDecay, biasCorrection1, biasCorrection2,
    /// gradScale, decoupled].
    adamW(p: u32, g: u32, m: u32, v: u32, hyper: u32) -> () {
        let hyper = adamw::Hyper::read(span("adamW", hyper)?.f32s()?)?;
        let (p, m, v) = (span("adamW", p)?, span("adamW", m)?, span("adamW", v)?);
        let written = [&p, &m, &v];
        all_apart(&written)?;
        let mut g = span("adamW", g)?;
        for target in written {
            g = apart(target, g)?;
        }
        // SAFETY: the three are apart, and g shares no memory with them.
        unsafe { adamw::adamw(p.f32s_mut()?, g.f32s()?, m.f32s_mut()?, v.f32s_mut()?, &hyper) }
    }
}

/// `sources`, copied where they share memory with `target`.
fn apart_all<const N: usize>(target: &Span, sources: [Span; N]) -> Result<[Span; N], String> {
    let mut sources = sources;
    for source in &mut sources {
        *source = apart(target, source.clone())?;
    }
    Ok(sources)
}
