//! Memory of a file: this system's own shared memory can neither be locked by bytes nor grow.

use super::{Memory, room};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// What regions of the memory are aligned to: the largest page of the architecture.
pub const PAGE: usize = 16 << 10;
/// What helps when there is no room.
pub const ENLARGE: &str = "Make room on that disk.";
/// Reserving has brought the pages in.
pub const PREFAULT: libc::c_int = 0;

/// Where worlds live: a directory of this user's, whatever the environment says, so that all ranks agree on it.
pub fn directory() -> PathBuf {
    user_directory().unwrap_or_else(std::env::temp_dir)
}

fn user_directory() -> Option<PathBuf> {
    let mut bytes = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is good for its length and outlives the call.
    let length = unsafe { libc::confstr(libc::_CS_DARWIN_USER_TEMP_DIR, bytes.as_mut_ptr().cast(), bytes.len()) };
    // The length counts the zero at the end; 0 says that there is no such directory.
    if length <= 1 || length > bytes.len() {
        return None;
    }
    bytes.truncate(length - 1);
    Some(OsString::from_vec(bytes).into())
}

impl Memory {
    /// Takes room for a part now, so that touching it later cannot fail: by writing zeros, since then several ranks may let
    /// the file grow at once without agreeing on its length.
    pub fn reserve(&self, offset: u64, length: usize) -> io::Result<()> {
        static ZEROS: [u8; 1 << 18] = [0; 1 << 18];
        if length as u64 > room().0 {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let mut done = 0;
        while done < length {
            let block = &ZEROS[..ZEROS.len().min(length - done)];
            if let Err(error) = self.file.write_all_at(block, offset + done as u64) {
                self.discard(offset, done.next_multiple_of(PAGE));
                return Err(error);
            }
            done += block.len();
        }
        Ok(())
    }

    /// Gives the room of a part back.
    pub fn discard(&self, offset: u64, length: usize) {
        let hole = libc::fpunchhole_t { fp_flags: 0, reserved: 0, fp_offset: offset as i64, fp_length: length as i64 };
        // SAFETY: the descriptor is open and the hole outlives the call; failure only leaves the room in use.
        unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_PUNCHHOLE, &hole) };
    }
}
