//! What Linux and macOS share: a file that all ranks map, locks on its bytes, and the choice of how to wait.

mod file;
mod lock;
mod mapping;
mod wait;

pub use file::{Memory, Name, name_of, place, room};
pub use mapping::Mapping;
pub use wait::{supported, wait, wake};
