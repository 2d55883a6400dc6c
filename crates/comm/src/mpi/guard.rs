//! What MPI libraries do when the connection to a rank breaks: Open MPI aborts the job, MPICH exits, or runs into a null pointer as it
//! starts a message. All of this would end the process before it has said which rank was lost. Here the thread that called MPI stays
//! where it is instead; the other threads find out, tell, and end the process.

#[cfg(unix)]
pub use unix::{calling, install};

/// How Open MPI is told never to abort: the thread that wants to sleeps for ever.
pub const NEVER_ABORT: (&str, &str) = ("OMPI_MCA_opal_abort_delay", "-1");

#[cfg(not(unix))]
pub fn install() {}

#[cfg(not(unix))]
pub fn calling<T>(call: impl FnOnce() -> T) -> T {
    call()
}

#[cfg(unix)]
mod unix {
    use std::cell::Cell;
    use std::ffi::{c_int, c_void};
    use std::sync::OnceLock;

    /// How often, and for how many milliseconds each time, a thread sleeps before the library has its way.
    const NAPS: (u32, libc::c_int) = (150, 100);

    /// The handler there was before.
    static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

    thread_local! {
        /// This thread is in a function of MPI.
        static CALLING: Cell<bool> = const { Cell::new(false) };
    }

    /// Calls MPI: a fault or an exit in it leaves the others time to tell what is known.
    pub fn calling<T>(call: impl FnOnce() -> T) -> T {
        CALLING.set(true);
        let result = call();
        CALLING.set(false);
        result
    }

    /// From now on faults and exits in `calling` are delayed. All other faults go to the handler there was before.
    pub fn install() {
        // SAFETY: a zeroed sigaction is a valid one; the calls only read and write whole handlers.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGSEGV, std::ptr::null(), &mut before);
            if BEFORE.set(before).is_err() {
                return;
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut());
            libc::atexit(on_exit);
        }
    }

    /// Keeps a thread that is in a function of MPI.
    fn stay() {
        if CALLING.get() {
            (0..NAPS.0).for_each(|_| {
                // SAFETY: `poll` without descriptors only sleeps, and may be called in a signal handler.
                unsafe { libc::poll(std::ptr::null_mut(), 0, NAPS.1) };
            });
        }
    }

    extern "C" fn on_exit() {
        stay();
    }

    extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        stay();
        let Some(before) = BEFORE.get() else { return };
        if before.sa_flags & libc::SA_SIGINFO != 0 && before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN {
            // SAFETY: a handler of this kind was installed with this address.
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = unsafe { std::mem::transmute(before.sa_sigaction) };
            return handler(signal, info, context);
        }
        // The fault comes again, and takes its usual way.
        // SAFETY: the handler that was installed before.
        unsafe { libc::sigaction(libc::SIGSEGV, before, std::ptr::null_mut()) };
    }
}
