//! Signals set a flag, so that the step under way can finish; a second one ends the process at once. Process groups, to which they are sent.

use std::sync::atomic::{AtomicI32, Ordering};

static STOP: AtomicI32 = AtomicI32::new(0);

/// The signal that asked this process to stop; 0 when none did.
pub fn stop_requested() -> u32 {
    STOP.load(Ordering::Acquire).unsigned_abs()
}

/// Forgets the request, so that the next signal counts as the first.
pub fn clear_stop() {
    STOP.store(0, Ordering::Release);
}

#[cfg(unix)]
extern "C" fn on_signal(signal: libc::c_int) {
    if STOP.swap(signal, Ordering::AcqRel) != 0 {
        // SAFETY: `_exit` is async-signal-safe and does not return.
        unsafe { libc::_exit(128 + signal) };
    }
}

/// From now on SIGTERM and SIGINT set the flag.
#[cfg(unix)]
pub fn install_signal_handlers() -> Result<(), String> {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: a zeroed sigaction is a valid one; the handler only touches an atomic and `_exit`.
        let status = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, std::ptr::null_mut())
        };
        if status != 0 {
            let reason = std::io::Error::last_os_error();
            return Err(format!("installSignalHandlers: signal {signal} cannot be caught: {reason}. Run without it."));
        }
    }
    Ok(())
}

/// From now on a request to stop sets the flag.
#[cfg(not(unix))]
pub fn install_signal_handlers() -> Result<(), String> {
    Err("installSignalHandlers: this system has no POSIX signals. Stop the program by its own means.".into())
}

/// From now on this process leads a process group, so that what it starts ends with it. It stays in its session, since Linux divides cores
/// among sessions first: a thread that offers its core (`sched_yield`) offers it to threads of its own session only.
#[cfg(unix)]
pub fn lead_process_group() -> Result<(), String> {
    // SAFETY: neither call touches memory.
    let (status, group, process) = unsafe { (libc::setpgid(0, 0), libc::getpgrp(), libc::getpid()) };
    // Who leads a session is refused, and leads a group already.
    if status == 0 || group == process {
        return Ok(());
    }
    Err(format!("leadProcessGroup: the system refused: {}. Run without it.", std::io::Error::last_os_error()))
}

/// Nothing: this system ends processes one by one.
#[cfg(not(unix))]
pub fn lead_process_group() -> Result<(), String> {
    Ok(())
}
