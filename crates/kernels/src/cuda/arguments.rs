//! What kernels take by value and is more than a number, as the text declares it.

use crate::layout::{Layout, MAX_RANK};

/// Extents, and for each of up to three operands its strides in elements and its first element.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    rank: u64,
    dims: [u64; MAX_RANK],
    strides: [[u64; MAX_RANK]; 3],
    offsets: [u64; 3],
}

impl Walk {
    /// The walk of a layout of at most three operands.
    pub fn of<const N: usize>(layout: &Layout<N>) -> Walk {
        const { assert!(N <= 3) };
        let mut walk = Walk { rank: layout.dims().len() as u64, dims: [1; MAX_RANK], strides: [[0; MAX_RANK]; 3], offsets: [0; 3] };
        let put = |to: &mut [u64], from: &[usize]| to.iter_mut().zip(from).for_each(|(to, from)| *to = *from as u64);
        put(&mut walk.dims, layout.dims());
        for operand in 0..N {
            put(&mut walk.strides[operand], layout.strides(operand));
            walk.offsets[operand] = layout.offset(operand) as u64;
        }
        walk
    }

    /// Where element `number` lies in an operand, as the kernels compute it.
    pub fn place(&self, operand: usize, mut number: u64) -> u64 {
        let mut place = self.offsets[operand];
        for dim in (0..self.rank as usize).rev() {
            place += number % self.dims[dim] * self.strides[operand][dim];
            number /= self.dims[dim];
        }
        place
    }
}

/// What the attention kernels are told. Strides are in elements: of tokens, of samples, of heads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    pub queries: u32,
    pub keys: u32,
    pub batch: u32,
    pub heads: u32,
    pub head_dim: u32,
    /// Query heads that share a key head.
    pub heads_per_key: u32,
    /// 0 or 1.
    pub causal: u32,
    /// Keys that a row of a causal attention sees; 0 for all.
    pub window: u32,
    /// Of a dropout: words below it are left out.
    pub threshold: u32,
    pub scale: f32,
    /// Of a dropout: 1 / (1 - p).
    pub factor: f32,
    pub query: [u64; 3],
    pub key: [u64; 3],
    pub out: [u64; 3],
}

/// Bytes of numbers, one after the other.
fn put<const N: usize>(to: &mut [u8], numbers: impl Iterator<Item = [u8; N]>) {
    to.chunks_exact_mut(N).zip(numbers).for_each(|(to, number)| to.copy_from_slice(&number));
}

impl Walk {
    /// Its size.
    pub const BYTES: usize = size_of::<Walk>();

    /// As it stands in the parameter list.
    pub fn to_bytes(&self) -> [u8; Walk::BYTES] {
        let mut bytes = [0; Walk::BYTES];
        let words = [self.rank].into_iter().chain(self.dims).chain(self.strides.into_iter().flatten()).chain(self.offsets);
        put(&mut bytes, words.map(u64::to_ne_bytes));
        bytes
    }
}

impl AttentionShape {
    /// Its size.
    pub const BYTES: usize = size_of::<AttentionShape>();
    /// Where its strides begin.
    const STRIDES: usize = std::mem::offset_of!(AttentionShape, query);

    /// As it stands in the parameter list, with zeros between numbers and strides.
    pub fn to_bytes(&self) -> [u8; AttentionShape::BYTES] {
        let Self { queries, keys, batch, heads, head_dim, heads_per_key, causal, window, threshold, scale, factor, query, key, out } =
            *self;
        let words = [queries, keys, batch, heads, head_dim, heads_per_key, causal, window, threshold, scale.to_bits(), factor.to_bits()];
        let mut bytes = [0; AttentionShape::BYTES];
        put(&mut bytes[..4 * words.len()], words.into_iter().map(u32::to_ne_bytes));
        put(&mut bytes[AttentionShape::STRIDES..], [query, key, out].into_iter().flatten().map(u64::to_ne_bytes));
        bytes
    }
}
