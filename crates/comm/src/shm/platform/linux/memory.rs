//! Memory of the shared tmpfs.

use super::Memory;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// What regions of the memory are aligned to: the largest page of the architecture.
pub const PAGE: usize = if cfg!(target_arch = "x86_64") { 4 << 10 } else { 64 << 10 };
/// What helps when there is no room.
pub const ENLARGE: &str = "Enlarge it, in a container with --shm-size.";
/// Mapped pages are there at once: they have been reserved.
pub const PREFAULT: libc::c_int = libc::MAP_POPULATE;

/// Where worlds live.
pub fn directory() -> &'static Path {
    Path::new("/dev/shm")
}

impl Memory {
    /// Takes memory for a part now, so that touching it later cannot fail.
    pub fn reserve(&self, offset: u64, length: usize) -> io::Result<()> {
        let length = i64::try_from(length).map_err(|_| io::Error::from_raw_os_error(libc::ENOSPC))?;
        loop {
            // SAFETY: the descriptor is open; the call touches no memory of ours.
            match unsafe { libc::posix_fallocate(self.file.as_raw_fd(), offset as i64, length) } {
                0 => return Ok(()),
                libc::EINTR => {}
                code => return Err(io::Error::from_raw_os_error(code)),
            }
        }
    }

    /// Gives the memory of a part back.
    pub fn discard(&self, offset: u64, length: usize) {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: the descriptor is open; failure only leaves the memory in use.
        unsafe { libc::fallocate(self.file.as_raw_fd(), mode, offset as i64, length as i64) };
    }
}
