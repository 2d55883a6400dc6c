//! Memory of tensors: element types, buffers from an arena, spans of them, and the handles that name them.

mod allocator;
mod arena;
mod buffer;
mod category;
mod dtype;
mod pages;
mod remote;
mod slab;
mod small_blocks;
mod span;
#[cfg(test)]
mod tests;

pub use allocator::{MemoryStats, Usage, is_out_of_memory, memory_stats, reset_peak, trim_cache};
pub use buffer::Buffer;
pub use category::Category;
pub use dtype::{DType, Element};
pub use pages::minor_faults_of_this_thread;
pub use remote::Remote;
pub use slab::{Slab, not_live};
pub use span::Span;
