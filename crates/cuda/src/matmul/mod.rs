//! Matrix products by cuBLASLt: row-major matrices, what may follow a product in the same kernel, and a cache of plans.

mod blas;
mod cache;
mod calls;
mod choice;
mod descriptor;
mod epilogue;
mod key;
mod plan;
mod product;

pub use blas::Blas;
pub(crate) use calls::Calls;
pub use choice::Choice;
pub use epilogue::Epilogue;
pub use product::{Factor, Precision, Product, Target};
