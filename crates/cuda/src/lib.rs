//! CUDA, found at run time: the libraries, the devices, streams and memory of one of them, and the compiler for its kernels.
//! No type of CUDA's own leaves this crate.

mod attention;
mod compile;
mod doctor;
mod driver;
mod error;
mod graph;
mod library;
mod matmul;
mod memory;
mod nccl;
mod work;

pub use attention::{
    AttentionInputs, AttentionOutputs, AttentionSaved, AttentionSetting, AttentionShape, Dnn, Outcome, Pass, plan_without_device,
};
pub use compile::{Cache, Compiled, Compiler, Source};
pub use doctor::{DeviceReport, Diagnosis, doctor};
pub use driver::{Argument, Device, Event, Kernel, Launch, Module, Stream, Toolkit};
pub use error::{Code, Error};
pub use graph::{Capture, Graph};
pub use library::{Environment, LibraryReport, LibraryState, Version};
pub use matmul::{Blas, Choice, Epilogue, Factor, Precision, Product, Target};
pub use memory::{Block, Download, Part, PinnedStats, PoolStats};
pub use nccl::{Batch, Communicator, Config, Landing, Mark, Nccl, Queue, Reduction, Registration, UniqueId};
pub use work::Work;
