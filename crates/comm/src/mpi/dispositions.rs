//! Signal handlers as they were: MPI libraries install their own over those of the program and its runtime, such as Open MPI's for a
//! trace at a crash.

/// Handlers at one time; restored when dropped.
#[cfg(unix)]
pub struct Dispositions(Vec<(libc::c_int, libc::sigaction)>);

/// Crashes, and requests to the program. Not SIGUSR1: MPICH's launcher tells the survivors by it that a rank has died.
#[cfg(unix)]
const SIGNALS: [libc::c_int; 11] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGCHLD,
    libc::SIGPIPE,
];

#[cfg(unix)]
impl Dispositions {
    pub fn keep() -> Self {
        let read = |signal| {
            // SAFETY: a zeroed sigaction is a valid one; the call only reads the handler.
            let (status, action) = unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                (libc::sigaction(signal, std::ptr::null(), &mut action), action)
            };
            (status == 0).then_some((signal, action))
        };
        Self(SIGNALS.into_iter().filter_map(read).collect())
    }
}

#[cfg(unix)]
impl Drop for Dispositions {
    fn drop(&mut self) {
        for (signal, action) in &self.0 {
            // SAFETY: a handler that was installed before.
            unsafe { libc::sigaction(*signal, action, std::ptr::null_mut()) };
        }
    }
}

/// Nothing to keep where libraries have no signals to take.
#[cfg(not(unix))]
pub struct Dispositions;

#[cfg(not(unix))]
impl Dispositions {
    pub fn keep() -> Self {
        Self
    }
}
