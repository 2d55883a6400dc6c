//! Events.

use crate::graph::{self, CAPTURED_EVENT};
use crate::state::{Event, INVALID_VALUE, NOT_READY, SUCCESS, State, call, give, state};
use std::ffi::{c_uint, c_void};
use std::ptr;
use std::time::Duration;

/// Completes the events of a stream, as the passing of time would.
pub fn complete(state: &mut State, stream: usize) {
    if is_busy(state, stream) {
        return;
    }
    state.events.values_mut().filter(|event| event.stream == stream).for_each(|event| event.is_done = true);
}

/// Whether another library has something under way in a stream.
pub fn is_busy(state: &State, stream: usize) -> bool {
    state.under_way.get(&stream).is_some_and(|&count| count > 0)
}

/// Runs `body` once nothing is under way in the stream that `of` tells: what a call that waits does.
pub fn once_idle(name: &str, of: impl Fn(&State) -> Option<usize>, body: impl FnOnce(&mut State) -> u32) -> u32 {
    loop {
        let held = state();
        if !of(&held).is_some_and(|stream| is_busy(&held, stream)) {
            break;
        }
        drop(held);
        std::thread::sleep(Duration::from_micros(200));
    }
    call(name, body)
}

/// Counts what another library has under way in a stream; its events complete when there is nothing.
#[unsafe(no_mangle)]
pub extern "C" fn fake_cuda_pend(stream: usize, by: isize) {
    let mut state = state();
    let count = state.under_way.entry(stream).or_default();
    *count += by;
    if *count == 0 && !state.held.contains(&stream) {
        complete(&mut state, stream);
    }
}

/// # Safety
/// As in CUDA's driver.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: *mut *mut c_void, _flags: c_uint) -> u32 {
    call("cuEventCreate", |state| {
        let handle = state.next_handle();
        state.events.insert(handle, Event { stream: 0, is_done: true });
        // SAFETY: the caller's promise.
        unsafe { give(event, ptr::without_provenance_mut(handle)) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(event: *mut c_void, stream: *mut c_void) -> u32 {
    call("cuEventRecord", |state| {
        let (handle, stream) = (event.addr(), stream.addr());
        let is_captured = graph::recorded(state, handle, stream);
        let is_done = !state.held.contains(&stream) && !is_busy(state, stream);
        let Some(event) = state.events.get_mut(&handle) else { return INVALID_VALUE };
        *event = Event { stream, is_done };
        let line = format!("event {handle} in stream {stream}");
        state.note(if is_captured { format!("capture {line}") } else { line });
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventQuery(event: *mut c_void) -> u32 {
    call("cuEventQuery", |state| match state.events.get(&event.addr()) {
        // As the driver does in the mode that is used, also for events of other streams.
        Some(_) if state.capture.is_some() => graph::spoil(state, CAPTURED_EVENT),
        Some(event) if event.is_done => SUCCESS,
        Some(_) => NOT_READY,
        None => INVALID_VALUE,
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(event: *mut c_void) -> u32 {
    let stream = |state: &State| state.events.get(&event.addr()).filter(|found| !found.is_done).map(|found| found.stream);
    once_idle("cuEventSynchronize", stream, |state| {
        if graph::is_captured(state, event.addr()) {
            return graph::spoil(state, CAPTURED_EVENT);
        }
        let Some(found) = state.events.get_mut(&event.addr()) else { return INVALID_VALUE };
        found.is_done = true;
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
