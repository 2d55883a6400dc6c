//! NCCL: collectives between devices, in the communication stream of each.

mod batch;
mod calls;
mod collectives;
mod communicator;
mod config;
mod library;
mod memory;
mod queue;
mod reduction;

pub use batch::Batch;
pub use communicator::Communicator;
pub use config::Config;
pub use library::{Nccl, UniqueId};
pub use memory::Registration;
pub use queue::{Landing, Mark, Queue};
pub use reduction::Reduction;
