//! Who is alive: locks that belong to one opening of the file, so that ranks may also be threads of one process.

use super::Memory;
use std::io;
use std::os::fd::AsRawFd;

fn byte_lock(byte: u32) -> libc::flock {
    // SAFETY: a zeroed flock is valid.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = byte.into();
    lock.l_len = 1;
    lock
}

impl Memory {
    /// Holds `byte` until this opening is closed, at the latest when the process ends. False when another holds it.
    pub fn hold(&self, byte: u32) -> io::Result<bool> {
        let lock = byte_lock(byte);
        // SAFETY: the descriptor is open and the lock outlives the call.
        if unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &lock) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) { Ok(false) } else { Err(error) }
    }

    /// Whether another opening holds `byte`. Works across containers that share the directory.
    pub fn is_held(&self, byte: u32) -> bool {
        let mut lock = byte_lock(byte);
        // SAFETY: the descriptor is open and the lock outlives the call.
        let status = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_GETLK, &mut lock) };
        status != 0 || lock.l_type != libc::F_UNLCK as libc::c_short
    }
}
