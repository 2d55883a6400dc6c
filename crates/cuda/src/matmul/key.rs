//! What a plan depends on.

use super::epilogue::Shape;
use super::product::{Layout, Precision, Product};
use crate::memory::Part;
use storage::DType;

/// The best alignment that algorithms ask for, in bytes.
const BEST: u64 = 256;

/// Products with the same key run by the same plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Left, right and target.
    pub layouts: [Layout; 3],
    pub is_transposed: [bool; 2],
    pub batches: usize,
    pub factors: DType,
    pub target: DType,
    pub precision: Precision,
    pub epilogue: Shape,
    /// Bytes that the addresses of left, right and target are multiples of.
    pub alignment: [u32; 3],
    /// The algorithm may leave the target unread.
    pub overwrites: bool,
}

impl Key {
    pub fn of(product: &Product) -> Key {
        let Product { left, right, target, batches, precision, epilogue, keep, .. } = product;
        Key {
            layouts: product.layouts(),
            is_transposed: [left.is_transposed, right.is_transposed],
            batches: *batches,
            factors: left.part.dtype(),
            target: target.part.dtype(),
            precision: *precision,
            epilogue: epilogue.shape(),
            alignment: [left.part, right.part, target.part].map(alignment),
            overwrites: *keep == 0.0,
        }
    }
}

/// The largest power of two, up to the best one, that the address is a multiple of.
fn alignment(part: &Part) -> u32 {
    1 << (part.address() | BEST).trailing_zeros()
}
