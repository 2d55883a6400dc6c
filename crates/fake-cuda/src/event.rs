//! Events.

use crate::graph::{self, CAPTURED_EVENT};
use crate::queue::{self, Point};
use crate::state::{INVALID_VALUE, NOT_READY, SUCCESS, call, give, state};
use std::ffi::{c_uint, c_void};
use std::ptr;
use std::sync::Arc;

/// # Safety
/// As in CUDA's driver.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: *mut *mut c_void, _flags: c_uint) -> u32 {
    call("cuEventCreate", |state| {
        let handle = state.next_handle();
        state.events.insert(handle, Point::new(0, true));
        // SAFETY: the caller's promise.
        unsafe { give(event, ptr::without_provenance_mut(handle)) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(event: *mut c_void, stream: *mut c_void) -> u32 {
    call("cuEventRecord", |state| {
        let (handle, stream) = (event.addr(), stream.addr());
        if !state.events.contains_key(&handle) {
            return INVALID_VALUE;
        }
        let is_captured = graph::recorded(state, handle, stream);
        let point = if is_captured { Point::new(stream, true) } else { queue::mark(state, stream) };
        state.events.insert(handle, point);
        let line = format!("event {handle} in stream {stream}");
        state.note(if is_captured { format!("capture {line}") } else { line });
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventQuery(event: *mut c_void) -> u32 {
    call("cuEventQuery", |state| {
        let Some(point) = state.events.get(&event.addr()).map(Arc::clone) else { return INVALID_VALUE };
        if state.capture.is_some() {
            // As the driver does in the mode that is used, also for events of other streams.
            return graph::spoil(state, CAPTURED_EVENT);
        }
        if !state.settings.is_busy {
            queue::press(state, &point, false);
        }
        if point.is_passed() { SUCCESS } else { NOT_READY }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(event: *mut c_void) -> u32 {
    let held = state();
    let point = held.events.get(&event.addr()).filter(|_| held.sticky.is_none()).map(Arc::clone);
    drop(held);
    point.iter().for_each(|point| queue::wait_for(point));
    call("cuEventSynchronize", |state| {
        if graph::is_captured(state, event.addr()) {
            return graph::spoil(state, CAPTURED_EVENT);
        }
        if !state.events.contains_key(&event.addr()) {
            return INVALID_VALUE;
        }
        state.note(format!("synchronize event {}", event.addr()));
        SUCCESS
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventElapsedTime_v2(passed: *mut f32, _begin: *mut c_void, _end: *mut c_void) -> u32 {
    call("cuEventElapsedTime_v2", |state| {
        let times = &mut state.settings.elapsed;
        let time = if times.is_empty() { 1.0 } else { times.remove(0) };
        // SAFETY: the caller's promise.
        unsafe { give(passed, time) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(event: *mut c_void) -> u32 {
    call("cuEventDestroy_v2", |state| if state.events.remove(&event.addr()).is_some() { SUCCESS } else { INVALID_VALUE })
}
