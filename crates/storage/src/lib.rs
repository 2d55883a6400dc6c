//! Memory of tensors: element types, buffers from a caching allocator, spans of them, and the handles that name them.

mod allocator;
mod buffer;
mod dtype;
mod slab;
mod span;
#[cfg(test)]
mod tests;

pub use allocator::{MemoryStats, is_out_of_memory, memory_stats, reset_peak, trim_cache};
pub use buffer::Buffer;
pub use dtype::{DType, Element};
pub use slab::{Slab, not_live};
pub use span::Span;
