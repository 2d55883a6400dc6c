//! What a plan depends on.

use crate::error::{Code, Error};
use storage::DType;

/// An attention in cuDNN's terms. Attentions of one shape run by one plan: the factor of the scores, the window's width and the addresses
/// are told with each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionShape {
    /// bf16 or f16; all sums are f32.
    pub dtype: DType,
    pub queries: usize,
    pub keys: usize,
    pub batch: usize,
    pub heads: usize,
    /// A divisor of `heads`.
    pub key_heads: usize,
    /// A multiple of 8.
    pub head_dim: usize,
    /// Query i sees keys 0..=i.
    pub causal: bool,
    /// Of these only the last ones, as many as the run says.
    pub has_window: bool,
    /// Heads that lie between two positions of a sample in the buffer of the queries, and in that of keys and values.
    pub rows: [usize; 2],
}

/// Which half of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    Forward,
    /// `is_fixed` sums the gradient of the queries in one order, in memory for all scores; otherwise in that in which they come.
    Backward {
        is_fixed: bool,
    },
}

/// Dims or strides: batch, head, position, channel.
pub(super) type Four = [i64; 4];

/// How a tensor lies.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub dims: Four,
    pub strides: Four,
}

impl Form {
    /// Rows that follow each other.
    pub fn dense(dims: Four) -> Form {
        Form { dims, strides: [dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1] }
    }

    /// With its last two dims swapped.
    pub fn transposed(self) -> Form {
        let swap = |[a, b, c, d]: Four| [a, b, d, c];
        Form { dims: swap(self.dims), strides: swap(self.strides) }
    }
}

impl AttentionShape {
    /// Refuses what no tensor can hold.
    pub(super) fn check(&self) -> Result<(), Error> {
        let AttentionShape { queries, keys, batch, heads, key_heads, head_dim, rows, .. } = *self;
        let extents = [queries, keys, batch, heads, key_heads, head_dim, rows[0], rows[1]];
        let is_16_bits = matches!(self.dtype, DType::BF16 | DType::F16);
        let is_told = is_16_bits && extents.iter().all(|&extent| (1..=1 << 31).contains(&extent));
        if !is_told || heads % key_heads != 0 || head_dim % 8 != 0 || rows[0] < heads || rows[1] < key_heads {
            let told =
                format!("attention by cuDNN: {self:?} is none. Use 16-bit elements, heads of a multiple of 8 channels and whole groups.");
            return Err(Error::new(Code::Refused, told));
        }
        Ok(())
    }

    fn lying(&self, positions: usize, heads: usize, row: usize) -> Form {
        let [positions, heads, row, batch, channels] = [positions, heads, row, self.batch, self.head_dim].map(|extent| extent as i64);
        Form { dims: [batch, heads, positions, channels], strides: [row * channels, channels, batch * row * channels, 1] }
    }

    /// Queries and their gradients.
    pub(super) fn query(&self) -> Form {
        self.lying(self.queries, self.heads, self.rows[0])
    }

    /// Keys or values and their gradients.
    pub(super) fn key(&self) -> Form {
        self.lying(self.keys, self.key_heads, self.rows[1])
    }

    /// The output and its gradient.
    pub(super) fn out(&self) -> Form {
        self.lying(self.queries, self.heads, self.heads)
    }

    /// One number for each query.
    pub(super) fn rows_form(&self) -> Form {
        Form::dense([self.batch, self.heads, self.queries, 1].map(|extent| extent as i64))
    }

    /// One number for each pair of a query and a key.
    pub(super) fn scores(&self) -> Form {
        Form::dense([self.batch, self.heads, self.queries, self.keys].map(|extent| extent as i64))
    }

    /// Each query head's queries, dense.
    pub(super) fn dense_query(&self) -> Form {
        Form::dense(self.query().dims)
    }

    /// Each query head's share of the gradients of its keys, dense.
    pub(super) fn dense_key(&self) -> Form {
        Form::dense([self.batch, self.heads, self.keys, self.head_dim].map(|extent| extent as i64))
    }

    /// The elements from a tensor's first to its last.
    pub(super) fn span(form: &Form) -> usize {
        let last: i64 = form.dims.iter().zip(&form.strides).map(|(dim, stride)| (dim - 1) * stride).sum();
        usize::try_from(last).unwrap_or(usize::MAX).saturating_add(1)
    }
}
