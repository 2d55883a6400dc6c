//! Sleeping on an address: futexes, which find each other across processes.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

pub fn wait(word: &AtomicU32, expected: u32, limit: Duration) {
    let time = libc::timespec { tv_sec: limit.as_secs() as libc::time_t, tv_nsec: limit.subsec_nanos().into() };
    // SAFETY: the word and the time outlive the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, &time as *const libc::timespec) };
}

pub fn wake(word: &AtomicU32) {
    // SAFETY: the word outlives the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}
