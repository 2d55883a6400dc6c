//! The seam to the operating system: nothing above it knows which one it runs on. Seven concerns, the same on every system:
//!
//! * **map**: [`Memory`] is what the ranks of a world share. One creates it and gives it a [`Name`], the others open it;
//!   parts of it are reserved, mapped and discarded. [`PAGE`], [`room`], [`place`], [`name_of`] and [`ENLARGE`] serve sizes and
//!   sentences.
//! * **wait**: [`wait`] sleeps while a word of the memory holds a value.
//! * **wake**: [`wake`] ends such sleeps, in every process.
//! * **is alive**: a rank holds a byte of the memory for as long as it lives ([`Memory::hold`], [`Memory::is_held`]), and a
//!   [`ProcessWatch`] sees a process end where ids of processes mean anything ([`process_namespace`]).
//! * **die with parent**: [`die_with_parent`].
//! * **read**: [`read_process`] reads the memory of another rank's process, where the system has that and allows it.
//! * **core**: [`core`] is the core on which a thread runs, where the system tells.
//!
//! | | Linux | macOS | Windows |
//! |---|---|---|---|
//! | map | a file of `/dev/shm` | a file of the user's temporary directory | a section backed by the page file |
//! | wait, wake | futexes | shared waits on addresses | `polling` |
//! | is alive | file locks, pidfds | file locks, kqueues | named objects, process handles |
//! | die with parent | the kernel's signal | a thread on a kqueue | a thread on the parent's handle |
//! | read | `process_vm_readv` | `unreadable` | `unreadable` |
//! | core | `sched_getcpu` | `coreless` | `coreless` |
//!
//! `unix` is what Linux and macOS share, `polling` does without the system's help, `coreless`, `unreadable` and `elsewhere` refuse.

#[cfg(not(target_os = "linux"))]
mod coreless;
#[cfg(any(target_os = "linux", target_os = "macos", target_os = "windows"))]
mod parent;
#[cfg(any(target_os = "linux", target_os = "macos", target_os = "windows"))]
mod polling;
#[cfg(any(target_os = "linux", target_os = "macos"))]
mod unix;
#[cfg(not(target_os = "linux"))]
mod unreadable;

#[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "windows")))]
#[path = "elsewhere.rs"]
mod system;
#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod system;
#[cfg(target_os = "macos")]
#[path = "macos/mod.rs"]
mod system;
#[cfg(target_os = "windows")]
#[path = "windows/mod.rs"]
mod system;

#[cfg(all(test, any(target_os = "linux", target_os = "macos", target_os = "windows")))]
mod tests;

pub use system::{
    ENLARGE, Mapping, Memory, Name, PAGE, ProcessWatch, core, die_with_parent, is_absence, is_refusal, name_of, place, process_namespace,
    read_process, room, supported, wait, wake, watch,
};
