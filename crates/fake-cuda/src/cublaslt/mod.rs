//! cuBLASLt: descriptors are written down, and products are computed as its documentation says, column by column, on the host's memory.

mod descriptors;
mod matmul;
mod multiply;

pub const INVALID_VALUE: u32 = 7;
pub const NOT_SUPPORTED: u32 = 15;
