//! Processes: a kqueue tells when one ends.

use super::super::parent;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

/// Which processes can see each other: all of them.
pub fn process_namespace() -> u64 {
    1
}

/// A queue that will hold one event: the end of `pid`.
fn end_of(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes nothing.
    let queue = unsafe { libc::kqueue() };
    if queue < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel just made and nobody else owns.
    let queue = unsafe { OwnedFd::from_raw_fd(queue) };
    let wish = libc::kevent {
        ident: pid as libc::uintptr_t,
        filter: libc::EVFILT_PROC,
        flags: libc::EV_ADD,
        fflags: libc::NOTE_EXIT,
        data: 0,
        udata: null_mut(),
    };
    // SAFETY: one wish that outlives the call; room for no event.
    let status = unsafe { libc::kevent(queue.as_raw_fd(), &wish, 1, null_mut(), 0, null()) };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(queue) }
}

/// Whether the event of `queue` has come; waits for it where there is no limit.
fn has_come(queue: &OwnedFd, limit: Option<libc::timespec>) -> bool {
    let limit = limit.as_ref().map_or(null(), std::ptr::from_ref);
    // SAFETY: a zeroed kevent is valid; it and the limit outlive the call.
    unsafe {
        let mut event: libc::kevent = std::mem::zeroed();
        libc::kevent(queue.as_raw_fd(), null(), 0, &mut event, 1, limit) > 0
    }
}

/// A watch on another process.
pub struct ProcessWatch {
    queue: OwnedFd,
    /// The queue tells it once only.
    ended: AtomicBool,
}

/// A watch on `pid`; None when the kernel cannot, or when there is no such process.
pub fn watch(pid: u32) -> Option<ProcessWatch> {
    end_of(pid).ok().map(|queue| ProcessWatch { queue, ended: AtomicBool::new(false) })
}

impl ProcessWatch {
    /// Whether the process is still there.
    pub fn is_alive(&self) -> bool {
        if has_come(&self.queue, Some(libc::timespec { tv_sec: 0, tv_nsec: 0 })) {
            self.ended.store(true, Ordering::Release);
        }
        !self.ended.load(Ordering::Acquire)
    }
}

/// From now on this process is killed when its parent ends. `parent` is the parent's process id, if known; an error
/// when that one has ended already.
pub fn die_with_parent(parent: Option<u32>) -> Result<(), String> {
    // SAFETY: the call touches no memory.
    let current = || unsafe { libc::getppid() }.unsigned_abs();
    let expected = parent.unwrap_or_else(current);
    let queue = end_of(expected).map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH) => parent::ended(expected),
        _ => parent::refused(&error),
    })?;
    // Asked once the watch is set: from here on the queue tells.
    if current() != expected {
        return Err(parent::ended(expected));
    }
    let body = move || {
        while !has_come(&queue, None) {}
        // SAFETY: a signal to this very process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    };
    let thread = std::thread::Builder::new().name("megatron-parent".into()).spawn(body);
    thread.map(drop).map_err(|error| parent::refused(&error))
}
