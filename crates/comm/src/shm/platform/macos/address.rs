//! Sleeping on an address that several processes map: by the calls of macOS 14.4, by those beneath them, or by polling.

use super::super::polling;
use std::ffi::{CStr, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

type WaitOnAddress = unsafe extern "C" fn(*mut c_void, u64, usize, u32, u32, u64) -> c_int;
type WakeByAddress = unsafe extern "C" fn(*mut c_void, usize, u32) -> c_int;
type LockWait = unsafe extern "C" fn(u32, *mut c_void, u64, u32) -> c_int;
type LockWake = unsafe extern "C" fn(u32, *mut c_void, u64) -> c_int;

/// The only clock of `os_sync_wait_on_address_with_timeout`; its limits are nanoseconds.
const ABSOLUTE_TIME: u32 = 32;
/// The word is compared with 32 bits and found by its memory, not by its address.
const COMPARE_AND_WAIT_SHARED: u32 = 3;
const WAKE_ALL: u32 = 0x100;

/// What this system offers.
enum Calls {
    Sync(WaitOnAddress, WakeByAddress),
    Lock(LockWait, LockWake),
    None,
}

/// The function `name` of the system, if there is one.
///
/// # Safety
/// `F` is the type of a pointer to that function.
unsafe fn find<F: Copy>(name: &CStr) -> Option<F> {
    // SAFETY: the name ends with a zero.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: the caller's promise; pointers to functions are as large as pointers to data.
    (!address.is_null()).then(|| unsafe { std::mem::transmute_copy(&address) })
}

fn calls() -> &'static Calls {
    static CALLS: OnceLock<Calls> = OnceLock::new();
    CALLS.get_or_init(|| {
        // SAFETY: the types are those of the system's headers, and of its sources for the second pair.
        unsafe {
            if let (Some(wait), Some(wake)) = (find(c"os_sync_wait_on_address_with_timeout"), find(c"os_sync_wake_by_address_all")) {
                return Calls::Sync(wait, wake);
            }
            match (find(c"__ulock_wait"), find(c"__ulock_wake")) {
                (Some(wait), Some(wake)) => Calls::Lock(wait, wake),
                _ => Calls::None,
            }
        }
    })
}

pub fn wait(word: &AtomicU32, expected: u32, limit: Duration) {
    let address = word.as_ptr().cast();
    match *calls() {
        // A limit of zero is an error to the one call and none at all to the other.
        Calls::Sync(wait, _) => {
            let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1);
            // SAFETY: the word outlives the call.
            unsafe { wait(address, expected.into(), size_of::<u32>(), libc::OS_SYNC_WAIT_ON_ADDRESS_SHARED, ABSOLUTE_TIME, limit) };
        }
        Calls::Lock(wait, _) => {
            let limit = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX).max(1);
            // SAFETY: as above.
            unsafe { wait(COMPARE_AND_WAIT_SHARED, address, expected.into(), limit) };
        }
        Calls::None => polling::wait(word, expected, limit),
    }
}

pub fn wake(word: &AtomicU32) {
    let address = word.as_ptr().cast();
    match *calls() {
        // SAFETY: the word outlives the call.
        Calls::Sync(_, wake) => drop(unsafe { wake(address, size_of::<u32>(), libc::OS_SYNC_WAKE_BY_ADDRESS_SHARED) }),
        // SAFETY: as above.
        Calls::Lock(_, wake) => drop(unsafe { wake(COMPARE_AND_WAIT_SHARED | WAKE_ALL, address, 0) }),
        Calls::None => polling::wake(word),
    }
}
