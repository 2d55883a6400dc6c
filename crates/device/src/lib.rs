//! Operations on tensors of a CUDA device: memory, copies, and for each operation how its kernels are launched. What a kernel computes
//! stands beside the CPU's version in the crate `kernels`; how the driver is asked, in `cuda`.

mod accelerator;
mod attentions;
mod capture;
mod host_copy;
mod launch;
mod loaded;
mod memory;
pub mod ops;
mod place;
mod refusals;
mod variants;

pub use accelerator::{Accelerator, Stats};
pub use capture::{Capture, Graph};
pub use host_copy::HostCopy;
pub use memory::part;
pub use place::{accelerator_of, apart, common};
