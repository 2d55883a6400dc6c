//! Windows: a section backed by the page file, named objects, process handles. Waits on addresses end at the borders of a
//! process here, so ranks poll.

mod memory;
mod object;
mod presence;
mod process;

pub use super::coreless::core;
pub use super::polling::{wait, wake};
pub use super::unreadable::{is_absence, is_refusal, read_process};
pub use memory::{ENLARGE, Mapping, Memory, Name, PAGE, name_of, place, room};
pub use process::{ProcessWatch, die_with_parent, process_namespace, watch};

/// Why ranks cannot meet here.
pub fn supported() -> Result<(), String> {
    Ok(())
}
