//! Reading the memory of another process.

use std::io;

/// Reads up to `length` bytes at `address` of process `pid` into `target`; returns how many were read.
///
/// # Safety
/// `target` is good for `length` bytes, which nobody else uses.
pub unsafe fn read_process(pid: u32, address: u64, target: *mut u8, length: usize) -> io::Result<usize> {
    let local = libc::iovec { iov_base: target.cast(), iov_len: length };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(address as usize), iov_len: length };
    // SAFETY: writes only into `target`; the kernel checks the other process's addresses.
    let read = unsafe { libc::process_vm_readv(pid as libc::pid_t, &local, 1, &remote, 1, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Whether the system does not allow this reading, now or ever.
pub fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSYS)) || error.kind() == io::ErrorKind::Unsupported
}

/// Whether the process has ended.
pub fn is_absence(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}
