//! Processes: pidfds, and the signal that the kernel sends when a parent ends.

use super::super::parent;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Which processes can see each other: equal numbers share process ids.
pub fn process_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |data| data.ino())
}

/// A watch on another process.
pub struct ProcessWatch(OwnedFd);

/// A watch on `pid`; None when the kernel cannot.
pub fn watch(pid: u32) -> Option<ProcessWatch> {
    // SAFETY: the call takes two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    // SAFETY: a descriptor that the kernel just made and nobody else owns.
    (fd >= 0).then(|| ProcessWatch(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}

impl ProcessWatch {
    /// Whether the process is still there.
    pub fn is_alive(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd that outlives the call.
        unsafe { libc::poll(&mut poll, 1, 0) <= 0 }
    }
}

/// From now on this process is killed when its parent ends. `parent` is the parent's process id, if known; an error
/// when that one has ended already.
pub fn die_with_parent(parent: Option<u32>) -> Result<(), String> {
    // SAFETY: neither call touches memory.
    let (before, status, after) =
        unsafe { (libc::getppid(), libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong), libc::getppid()) };
    if status != 0 {
        return Err(parent::refused(&io::Error::last_os_error()));
    }
    let expected = parent.unwrap_or(before.unsigned_abs());
    if after.unsigned_abs() == expected { Ok(()) } else { Err(parent::ended(expected)) }
}
