//! Memory of the host that devices copy from and to by themselves.

use crate::state::{INVALID_VALUE, OUT_OF_MEMORY, SUCCESS, State, call, give};
use std::alloc::{Layout, alloc, dealloc};
use std::ffi::{c_uint, c_void};

const ALIGN: usize = 4096;

/// Whether an address of the host lies in pinned memory.
pub fn is_pinned(state: &State, address: usize) -> bool {
    state.pinned.iter().any(|(&place, &bytes)| (place..place + bytes).contains(&address))
}

/// # Safety
/// As in CUDA's driver.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostAlloc(place: *mut *mut c_void, bytes: usize, flags: c_uint) -> u32 {
    call("cuMemHostAlloc", |state| {
        let Some(layout) = Layout::from_size_align(bytes, ALIGN).ok().filter(|_| bytes > 0) else { return INVALID_VALUE };
        if bytes > state.settings.memory {
            return OUT_OF_MEMORY;
        }
        // SAFETY: the layout is not empty.
        let found = unsafe { alloc(layout) };
        state.pinned.insert(found.addr(), bytes);
        state.note(format!("pin {bytes} flags {flags}"));
        // SAFETY: the caller's promise.
        unsafe { give(place, found.cast()) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeHost(place: *mut c_void) -> u32 {
    call("cuMemFreeHost", |state| {
        let Some(bytes) = state.pinned.remove(&place.addr()) else { return INVALID_VALUE };
        let Ok(layout) = Layout::from_size_align(bytes, ALIGN) else { return INVALID_VALUE };
        state.note(format!("unpin {bytes}"));
        // SAFETY: it came from `alloc` with this layout.
        unsafe { dealloc(place.cast(), layout) };
        SUCCESS
    })
}
