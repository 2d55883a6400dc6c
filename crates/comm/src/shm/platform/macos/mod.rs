//! macOS: files of the user's temporary directory, shared waits on addresses, kqueues and open-file-description locks.

pub mod address;
mod memory;
mod process;

pub use super::coreless::core;
pub use super::unix::{Mapping, Memory, Name, name_of, place, room, supported, wait, wake};
pub use super::unreadable::{is_absence, is_refusal, read_process};
pub use memory::{ENLARGE, PAGE, PREFAULT, directory};
pub use process::{ProcessWatch, die_with_parent, process_namespace, watch};
