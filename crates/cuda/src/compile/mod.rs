//! Kernels from their text: compiled at run time for the device that is there, and kept on disk.

mod cache;
mod compiler;
mod nvrtc;

pub use cache::Cache;
pub use compiler::{Compiled, Compiler, Source};
pub(crate) use nvrtc::Nvrtc;
