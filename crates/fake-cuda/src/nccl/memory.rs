//! Memory that all ranks may reach, and its registration.

use super::{NCCL_INVALID_ARGUMENT, ask};
use crate::state::give;
use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_void;
use std::ptr;

const ALIGN: usize = 4096;

/// # Safety
/// As in NCCL, for all functions below.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclMemAlloc(place: *mut *mut c_void, bytes: usize) -> u32 {
    ask("ncclMemAlloc", 0, |state| {
        let Some(layout) = Layout::from_size_align(bytes, ALIGN).ok().filter(|_| bytes > 0) else { return NCCL_INVALID_ARGUMENT };
        // SAFETY: the layout is not empty.
        let found = unsafe { alloc(layout) };
        state.played.memory.insert(found.expose_provenance(), bytes);
        state.note(format!("memory of {bytes}"));
        // SAFETY: the caller's promise.
        unsafe { give(place, found.cast()) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclMemFree(place: *mut c_void) -> u32 {
    ask("ncclMemFree", 0, |state| {
        let Some(bytes) = state.played.memory.remove(&place.addr()) else { return NCCL_INVALID_ARGUMENT };
        let Ok(layout) = Layout::from_size_align(bytes, ALIGN) else { return NCCL_INVALID_ARGUMENT };
        state.note(format!("free memory of {bytes}"));
        // SAFETY: it came from `alloc` with this layout.
        unsafe { dealloc(place.cast(), layout) };
        0
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclCommRegister(comm: *mut c_void, _place: *mut c_void, bytes: usize, handle: *mut *mut c_void) -> u32 {
    ask("ncclCommRegister", comm.addr(), |state| {
        state.note(format!("register {bytes}"));
        // SAFETY: the caller's promise.
        unsafe { give(handle, ptr::without_provenance_mut(bytes)) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclCommDeregister(comm: *mut c_void, handle: *mut c_void) -> u32 {
    ask("ncclCommDeregister", comm.addr(), |state| {
        state.note(format!("deregister {}", handle.addr()));
        0
    })
}
