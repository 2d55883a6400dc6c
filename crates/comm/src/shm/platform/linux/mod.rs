//! Linux: tmpfs files, futexes, pidfds and open-file-description locks.

pub mod address;
mod core;
mod memory;
mod process;
mod reading;

pub use super::unix::{Mapping, Memory, Name, name_of, place, room, supported, wait, wake};
pub use core::core;
pub use memory::{ENLARGE, PAGE, PREFAULT, directory};
pub use process::{ProcessWatch, die_with_parent, process_namespace, watch};
pub use reading::{is_absence, is_refusal, read_process};
