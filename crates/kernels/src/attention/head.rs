//! Where the heads of queries, keys and values lie.

use super::Attention;
use crate::gemm::Operand;
use crate::stored::Value;

/// The first rows of queries and of keys, with their strides: those of a token are of the operand.
#[derive(Clone, Copy)]
pub(super) struct Buffers<T> {
    q: Operand<T>,
    k: Operand<T>,
    /// From one sample to the next.
    q_sample: usize,
    k_sample: usize,
}

impl<T: Value> Buffers<T> {
    /// Of a fused buffer, or of one for queries and one for keys and values.
    pub fn of(shape: &Attention, q: *const T, kv: Option<*const T>) -> Buffers<T> {
        let (queries, pairs) = (shape.heads * shape.head_dim, 2 * shape.key_heads * shape.head_dim);
        let [q_sample, k_sample] = if kv.is_none() { [queries + pairs; 2] } else { [queries, pairs] };
        let k = kv.unwrap_or(q.wrapping_add(queries));
        let [q, k] = [(q, q_sample), (k, k_sample)].map(|(start, sample)| Operand { start, row: shape.batch * sample, col: 1 });
        Buffers { q, k, q_sample, k_sample }
    }
}

/// The places of one head of one sample: q, k and v as `[rows, d]`.
#[derive(Clone, Copy)]
pub(super) struct Head<T> {
    pub sample: usize,
    /// Among this rank's heads.
    pub number: usize,
    pub q: Operand<T>,
    pub k: Operand<T>,
    pub v: Operand<T>,
    /// From the start of out to this head.
    pub out: usize,
    /// From one token to the next in out.
    pub out_row: usize,
    /// From the start of lse to this head.
    pub lse: usize,
}

impl<T: Value> Head<T> {
    pub fn new(shape: &Attention, buffers: &Buffers<T>, sample: usize, number: usize) -> Head<T> {
        let (d, width) = (shape.head_dim, shape.heads * shape.head_dim);
        let k = buffers.k.at(0, sample * buffers.k_sample + number / shape.group() * d);
        Head {
            sample,
            number,
            q: buffers.q.at(0, sample * buffers.q_sample + number * d),
            k,
            v: k.at(0, shape.key_heads * d),
            out: sample * width + number * d,
            out_row: shape.batch * width,
            lse: (sample * shape.heads + number) * shape.queries,
        }
    }
}

/// A place that several items write in disjoint, interleaved parts.
#[derive(Clone, Copy)]
pub(super) struct Place<T>(pub *mut T);

// SAFETY: items write the columns of their own head and the rows of their own strip.
unsafe impl<T: Value> Sync for Place<T> {}

impl<T> Place<T> {
    pub fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}
