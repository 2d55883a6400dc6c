//! The lists of raw operations.

mod attention;
mod comm;
mod cross_entropy;
mod device;
mod dropout;
mod elementwise;
mod fused;
mod products;
mod results;
mod storage;

use crate::hot_op::HotOp;

pub use results::on_host;

/// Every raw operation.
pub fn all() -> impl Iterator<Item = &'static HotOp> {
    [
        storage::HOT_OPS,
        elementwise::HOT_OPS,
        fused::HOT_OPS,
        attention::HOT_OPS,
        cross_entropy::HOT_OPS,
        products::HOT_OPS,
        dropout::HOT_OPS,
        comm::HOT_OPS,
        device::HOT_OPS,
    ]
    .into_iter()
    .flatten()
}
