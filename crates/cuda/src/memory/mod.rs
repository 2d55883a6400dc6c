//! Memory of a device: blocks from the driver's stream-ordered pool, counted as those of the CPU are.

mod block;
mod copy;
mod part;
mod pinned;
mod pool;
mod transfer;
mod usage;

pub use block::Block;
pub(crate) use block::Lender;
pub use part::Part;
pub use pinned::PinnedStats;
pub(crate) use pinned::{Buffer, Pinned};
pub(crate) use pool::Pool;
pub use transfer::Download;
pub use usage::PoolStats;
