//! Parts of the file as memory.

use super::super::system::PREFAULT;
use super::Memory;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// A shared, writable mapping of a part of the memory.
pub struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is plain memory; whoever dereferences pointers into it answers for races.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and length come from mmap; nobody holds a pointer any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}

impl Memory {
    /// Maps `length` reserved bytes from `offset` on, a multiple of `PAGE`.
    pub fn map(&self, offset: u64, length: usize) -> io::Result<Mapping> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | PREFAULT);
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, self.file.as_raw_fd(), offset as i64) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(base.cast()).map(|base| Mapping { base, length }).ok_or_else(|| io::Error::other("mapped at address zero"))
    }
}
