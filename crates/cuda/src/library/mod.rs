//! The libraries of CUDA: where they are looked for, which of them will do, and a sentence for each that will not.

mod find;
mod open;
mod places;
mod report;
mod specification;
mod version;

pub(crate) use find::{Scan, scan};
pub(crate) use open::Shared;
pub use places::Environment;
pub use report::{LibraryReport, LibraryState};
pub(crate) use specification::Kind;
pub use version::Version;
