//! Streams: everything is done as soon as it is asked for, but in a held stream events do not complete.

use crate::event;
use crate::graph::{self, UNSUPPORTED};
use crate::state::{INVALID_VALUE, SUCCESS, call, give};
use std::ffi::{c_int, c_uint, c_void};
use std::ptr;

/// # Safety
/// As in CUDA's driver.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreateWithPriority(stream: *mut *mut c_void, _flags: c_uint, priority: c_int) -> u32 {
    call("cuStreamCreateWithPriority", |state| {
        let handle = state.streams.len() + 1;
        state.streams.insert(handle);
        state.note(format!("stream {handle} priority {priority}"));
        // SAFETY: the caller's promise.
        unsafe { give(stream, ptr::without_provenance_mut(handle)) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamDestroy_v2(stream: *mut c_void) -> u32 {
    call("cuStreamDestroy_v2", |state| {
        state.note(format!("stream {} destroyed", stream.addr()));
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(stream: *mut c_void) -> u32 {
    event::once_idle(
        "cuStreamSynchronize",
        |_| Some(stream.addr()),
        |state| {
            if !state.streams.contains(&stream.addr()) {
                return INVALID_VALUE;
            }
            if graph::has(state, stream.addr()) {
                return graph::spoil(state, UNSUPPORTED);
            }
            state.note(format!("synchronize stream {}", stream.addr()));
            event::complete(state, stream.addr());
            SUCCESS
        },
    )
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, _flags: c_uint) -> u32 {
    call("cuStreamWaitEvent", |state| {
        if !state.streams.contains(&stream.addr()) || !state.events.contains_key(&event.addr()) {
            return INVALID_VALUE;
        }
        let is_captured = graph::is_captured(state, event.addr());
        let line = format!("stream {} waits for event {}", stream.addr(), event.addr());
        state.note(if is_captured { format!("capture {line}") } else { line });
        graph::joined(state, stream.addr(), event.addr())
    })
}
