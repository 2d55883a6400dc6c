//! Attention per head: out = dropout(softmax(scale q k^T + bias)) v. Queries, keys and values lie in one fused buffer
//! `[seq, batch, q heads | k heads | v heads, d]`, or queries in one and keys and values in another. Query heads share key heads
//! in groups of equal size: query head i uses key head i / (heads / key heads), rounded down. A causal query i sees keys 0..=i,
//! with a window of w only the last w of them, and where segments are given only keys of its own segment. A query that sees no
//! key gives zeros, and lse -inf.
//!
//! Queries are taken in strips: the scores of a strip live in a small buffer, so memory is linear in seq. The forward pass saves
//! lse = ln sum exp of each row; the backward pass computes the probabilities again, P = exp(scale q k^T + bias - lse), and the
//! factors F of dropout (0 or 1 / (1 - p)), and with delta = sum(out grad) of each row: dV = (P F)^T grad,
//! dS = P (F grad V^T - delta), dQ = scale dS K, dK = scale dS^T Q; dS summed over the samples is the gradient of bias. A key
//! head's strips are taken in one order, so its sums over strips have the same bits whatever the threads.
//!
//! q, k, v, out and their gradients are f32 or bf16, everything between is f32. bf16 tensors are multiplied in bf16; dK and dV
//! then grow in f32 memory of the head and are rounded once.

mod backward;
mod cpu;
mod forward;
mod head;
mod scores;
mod sight;

use crate::extent::expect;
use crate::gemm::Precision;
use crate::random::Dropout;
use crate::stored::Value;

pub use backward::attention_backward;
pub use forward::attention;

/// The extents of an attention and what is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    pub queries: usize,
    /// As many as queries where all lie in one buffer.
    pub keys: usize,
    pub batch: usize,
    pub heads: usize,
    /// Heads of keys and values; a divisor of `heads`.
    pub key_heads: usize,
    pub head_dim: usize,
    pub causal: bool,
    /// Keys that a row of a causal attention sees, its own the last.
    pub window: Option<usize>,
    /// Factor of the scores, above 0.
    pub scale: f32,
    pub dropout: Option<Dropout>,
    /// What products of f32 tensors are computed in.
    pub precision: Precision,
}

/// What an attention reads.
#[derive(Clone, Copy)]
pub struct Inputs<'a, T> {
    /// `[queries, batch, heads, d]`; without `kv` the fused buffer.
    pub q: &'a [T],
    /// `[keys, batch, k heads | v heads, d]`.
    pub kv: Option<&'a [T]>,
    /// The segments of queries, `[queries, batch]`, and of keys, `[keys, batch]`: a query sees only keys of its own, and negative
    /// numbers see nothing and are not seen. Where one is left out, all its rows are of segment 0.
    pub segments: [Option<&'a [i32]>; 2],
    /// Added to the scaled scores of every sample: `[heads, queries, keys]`.
    pub bias: Option<&'a [f32]>,
}

/// How many elements each of them has, wherever it lies.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    pub q: usize,
    pub kv: Option<usize>,
    pub segments: [Option<usize>; 2],
    pub bias: Option<usize>,
}

/// What the forward pass left and the gradient of its output.
#[derive(Clone, Copy)]
pub struct Saved<'a, T> {
    pub out: &'a [T],
    pub lse: &'a [f32],
    pub grad: &'a [T],
}

/// Where the gradients go, in the layouts of the inputs.
pub struct Gradients<'a, T> {
    pub q: &'a mut [T],
    pub kv: Option<&'a mut [T]>,
    /// None where it is not wanted.
    pub bias: Option<&'a mut [f32]>,
}

/// Queries whose scores are computed together: what the product keeps in the second-level cache.
const STRIP: usize = 96;

impl Attention {
    fn check<T>(&self, op: &str, inputs: &Inputs<T>) -> Result<(), String> {
        let Inputs { q, kv, segments, bias } = inputs;
        let segments = segments.map(|segments| segments.map(<[i32]>::len));
        self.check_lengths(op, &Lengths { q: q.len(), kv: kv.map(<[T]>::len), segments, bias: bias.map(<[f32]>::len) })
    }

    /// Refuses what does not fit.
    pub fn check_lengths(&self, op: &str, inputs: &Lengths) -> Result<(), String> {
        if self.window == Some(0) || (self.window.is_some() && !self.causal) {
            return Err(format!("{op}: a window belongs to a causal attention and has at least 1 key. Leave it out, or set causal."));
        }
        if (self.causal || inputs.kv.is_none()) && self.queries != self.keys {
            let (queries, keys) = (self.queries, self.keys);
            return Err(format!("{op}: {queries} queries and {keys} keys are not those of one sequence. Pass kv and no causal mask."));
        }
        if self.key_heads == 0 && self.heads != 0 || self.key_heads != 0 && !self.heads.is_multiple_of(self.key_heads) {
            let (heads, key_heads) = (self.heads, self.key_heads);
            return Err(format!("{op}: {heads} heads do not share {key_heads} key heads evenly. Use a divisor of {heads}."));
        }
        if !(self.scale > 0.0 && self.scale.is_finite()) {
            return Err(format!("{op}: the scale {} is not a number above 0. Use one, such as 1 / sqrt(d).", self.scale));
        }
        expect(op, "q", inputs.q, &self.q_shape(inputs.kv.is_none()))?;
        inputs.kv.map_or(Ok(()), |kv| expect(op, "kv", kv, &self.kv_shape()))?;
        for (name, segments, rows) in [("querySegments", inputs.segments[0], self.queries), ("keySegments", inputs.segments[1], self.keys)]
        {
            segments.map_or(Ok(()), |segments| expect(op, name, segments, &[rows, self.batch]))?;
        }
        inputs.bias.map_or(Ok(()), |bias| expect(op, "bias", bias, &self.bias_shape()))
    }

    fn q_shape(&self, is_fused: bool) -> [usize; 4] {
        let key_heads = if is_fused { self.key_heads.saturating_mul(2) } else { 0 };
        [self.queries, self.batch, self.heads.saturating_add(key_heads), self.head_dim]
    }

    fn kv_shape(&self) -> [usize; 5] {
        [self.keys, self.batch, 2, self.key_heads, self.head_dim]
    }

    fn bias_shape(&self) -> [usize; 3] {
        [self.heads, self.queries, self.keys]
    }

    fn out_shape(&self) -> [usize; 4] {
        self.q_shape(false)
    }

    fn lse_shape(&self) -> [usize; 3] {
        [self.batch, self.heads, self.queries]
    }

    /// Query heads that share a key head.
    fn group(&self) -> usize {
        self.heads / self.key_heads
    }

    fn precision_of<T: Value>(&self) -> Precision {
        if T::IS_BF16 { Precision::Bf16 } else { self.precision }
    }

    fn strips(&self) -> usize {
        self.queries.div_ceil(STRIP)
    }
}

#[cfg(test)]
mod tests;
