//! CUDA graphs: a sequence that was captured once, and is launched with one call.

mod capture;
mod captured;

pub use capture::{Capture, Graph};
pub(crate) use captured::Captured;
