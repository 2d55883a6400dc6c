//! Streams: queues that go on as far as they can, unless they are held.

use crate::graph::{self, UNSUPPORTED};
use crate::queue::{self, Task};
use crate::state::{INVALID_VALUE, SUCCESS, call, give, state};
use std::ffi::{c_int, c_uint, c_void};
use std::ptr;

/// # Safety
/// As in CUDA's driver.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreateWithPriority(stream: *mut *mut c_void, _flags: c_uint, priority: c_int) -> u32 {
    call("cuStreamCreateWithPriority", |state| {
        state.streams_made += 1;
        let handle = state.streams_made;
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
        // What is left in it is still done.
        if state.streams.remove(&stream.addr()) { SUCCESS } else { INVALID_VALUE }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(stream: *mut c_void) -> u32 {
    let mut held = state();
    let may_wait = held.sticky.is_none() && held.streams.contains(&stream.addr()) && !graph::has(&held, stream.addr());
    let point = may_wait.then(|| queue::mark(&mut held, stream.addr()));
    drop(held);
    point.iter().for_each(|point| queue::wait_for(point));
    call("cuStreamSynchronize", |state| {
        if !state.streams.contains(&stream.addr()) {
            return INVALID_VALUE;
        }
        if graph::has(state, stream.addr()) {
            return graph::spoil(state, UNSUPPORTED);
        }
        state.note(format!("synchronize stream {}", stream.addr()));
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, _flags: c_uint) -> u32 {
    call("cuStreamWaitEvent", |state| {
        let Some(point) = state.events.get(&event.addr()).filter(|_| state.streams.contains(&stream.addr())).cloned() else {
            return INVALID_VALUE;
        };
        let is_captured = graph::is_captured(state, event.addr());
        let line = format!("stream {} waits for event {}", stream.addr(), event.addr());
        state.note(if is_captured { format!("capture {line}") } else { line });
        let status = graph::joined(state, stream.addr(), event.addr());
        if status == SUCCESS && !graph::has(state, stream.addr()) {
            queue::push(state, stream.addr(), Task::Wait(point));
        }
        status
    })
}
