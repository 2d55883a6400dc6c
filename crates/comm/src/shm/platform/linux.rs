//! Linux: tmpfs files, futexes, pidfds and open-file-description locks.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Where segments live.
pub const DIRECTORY: &str = "/dev/shm";
/// What regions of a segment are aligned to.
pub const PAGE: usize = 4096;

/// Why ranks cannot meet here.
pub fn supported() -> Result<(), String> {
    Ok(())
}

/// A new file that only this user can open.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// An existing segment.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Reads from the start of a file; an error when it is shorter.
pub fn read_start(file: &File, bytes: &mut [u8]) -> io::Result<()> {
    file.read_exact_at(bytes, 0)
}

/// What tells this file from any other under the same name.
pub fn identity(file: &File) -> io::Result<u64> {
    file.metadata().map(|data| data.ino())
}

/// What tells the file under `path` from any other.
pub fn identity_at(path: &Path) -> io::Result<u64> {
    std::fs::symlink_metadata(path).map(|data| data.ino())
}

/// Takes memory for a part of the file now, so that touching it later cannot fail.
pub fn reserve(file: &File, offset: u64, length: usize) -> io::Result<()> {
    let length = i64::try_from(length).map_err(|_| io::Error::from_raw_os_error(libc::ENOSPC))?;
    loop {
        // SAFETY: the descriptor is open; the call touches no memory of ours.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), offset as i64, length) } {
            0 => return Ok(()),
            libc::EINTR => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Gives the memory of a part of the file back; its bytes read as zero afterwards.
pub fn discard(file: &File, offset: u64, length: usize) {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: the descriptor is open; failure only leaves the memory in use.
    unsafe { libc::fallocate(file.as_raw_fd(), mode, offset as i64, length as i64) };
}

/// Bytes free and in all on the file system of `DIRECTORY`.
pub fn room() -> (u64, u64) {
    let Ok(path) = CString::new(DIRECTORY) else { return (0, 0) };
    // SAFETY: a zeroed statvfs is valid and outlives the call; the path ends with a zero.
    unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &mut stat) != 0 {
            return (0, 0);
        }
        let unit = stat.f_frsize as u64;
        (stat.f_bavail as u64 * unit, stat.f_blocks as u64 * unit)
    }
}

/// A shared, writable mapping of a part of a file.
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

/// Maps `length` reserved bytes from `offset` on.
pub fn map(file: &File, offset: u64, length: usize) -> io::Result<Mapping> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, file.as_raw_fd(), offset as i64) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).map(|base| Mapping { base, length }).ok_or_else(|| io::Error::other("mapped at address zero"))
}

/// Sleeps while `word` holds `expected`, at most for `limit`. May return early.
pub fn wait(word: &AtomicU32, expected: u32, limit: Duration) {
    let time = libc::timespec { tv_sec: limit.as_secs() as libc::time_t, tv_nsec: limit.subsec_nanos().into() };
    // SAFETY: the word and the time outlive the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, &time as *const libc::timespec) };
}

/// Wakes every process and thread that sleeps on `word`.
pub fn wake(word: &AtomicU32) {
    // SAFETY: the word outlives the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

fn byte_lock(byte: u32) -> libc::flock {
    // SAFETY: a zeroed flock is valid.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = byte.into();
    lock.l_len = 1;
    lock
}

/// Holds `byte` of the file until this opening of it is closed, at the latest when the process ends. False when another holds it.
pub fn hold(file: &File, byte: u32) -> io::Result<bool> {
    let lock = byte_lock(byte);
    // SAFETY: the descriptor is open and the lock outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) { Ok(false) } else { Err(error) }
}

/// Whether another opening of the file holds `byte`. Works across containers that share the directory.
pub fn is_held(file: &File, byte: u32) -> bool {
    let mut lock = byte_lock(byte);
    // SAFETY: the descriptor is open and the lock outlives the call.
    let status = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut lock) };
    status != 0 || i32::from(lock.l_type) != libc::F_UNLCK
}

/// Which processes can see each other: equal numbers share process ids.
pub fn process_namespace() -> u64 {
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
        let reason = io::Error::last_os_error();
        return Err(format!("dieWithParent: the kernel refused: {reason}. Run without it."));
    }
    let expected = parent.unwrap_or(before.unsigned_abs());
    if after.unsigned_abs() == expected {
        return Ok(());
    }
    Err(format!("dieWithParent: the parent, process {expected}, has ended already. Start this rank from a launcher that stays."))
}
