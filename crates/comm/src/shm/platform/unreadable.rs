//! Systems on which ranks do not read each other's memory.

use std::io;

/// Reads nothing.
///
/// # Safety
/// None is needed.
pub unsafe fn read_process(_pid: u32, _address: u64, _target: *mut u8, _length: usize) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether the system does not allow this reading, now or ever.
pub fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

/// Whether the process has ended.
pub fn is_absence(_error: &io::Error) -> bool {
    false
}
