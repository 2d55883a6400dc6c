//! The functions of the library.

use super::check::{CONFIGURED, OF_GRAPH, check, graph_of_plan};
use super::descriptor::{Descriptor, Finished, Value, read};
use super::run::{carry_out, carry_out_again, prepare, workspace_of};
use super::{BAD_PARAM, NOT_SUPPORTED, Refusal, kind, of};
use crate::neighbour;
use crate::state::{State, call, give};
use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::Arc;

const RESULTS: u32 = 202;
const WORKSPACE: u32 = 402;
/// What is written instead of a handle.
const HANDLE: usize = 0x9000;

fn answer(state: &mut State, result: Result<(), Refusal>) -> u32 {
    let Err((status, words)) = result else { return 0 };
    state.note(format!("refused with {status}: {words}"));
    state.words = words;
    status
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnGetErrorString(status: u32) -> *const c_char {
    let name = match status {
        0 => c"CUDNN_STATUS_SUCCESS",
        1001 => c"CUDNN_STATUS_NOT_INITIALIZED",
        2000 => c"CUDNN_STATUS_BAD_PARAM",
        2004 => c"CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED",
        2008 => c"CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH",
        3000 => c"CUDNN_STATUS_NOT_SUPPORTED",
        5000 => c"CUDNN_STATUS_EXECUTION_FAILED",
        _ => return ptr::null(),
    };
    name.as_ptr()
}

/// # Safety
/// As in cuDNN, for all functions below.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnGetLastErrorString(place: *mut c_char, room: usize) {
    let mut state = crate::state::state();
    let words = std::mem::take(&mut state.words);
    let count = words.len().min(room.saturating_sub(1));
    // SAFETY: the caller's promise.
    unsafe {
        place.cast::<u8>().copy_from(words.as_ptr(), count);
        place.add(count).write(0);
    }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnCreate(handle: *mut *mut c_void) -> u32 {
    call("cudnnCreate", |state| {
        state.note("create".into());
        // SAFETY: the caller's promise.
        unsafe { give(handle, ptr::without_provenance_mut(HANDLE)) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnDestroy(_handle: *mut c_void) -> u32 {
    call("cudnnDestroy", |state| {
        let open = state.descriptors;
        state.note(format!("destroy with {open} descriptors"));
        0
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnSetStream(_handle: *mut c_void, stream: *mut c_void) -> u32 {
    call("cudnnSetStream", |state| {
        state.stream_of_handle = stream.addr();
        0
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnBackendCreateDescriptor(kind: u32, place: *mut *mut Descriptor) -> u32 {
    call("cudnnBackendCreateDescriptor", |state| {
        state.descriptors += 1;
        let made = Box::into_raw(Box::new(Descriptor { kind, attributes: BTreeMap::new(), finished: None }));
        _ = made.expose_provenance();
        // SAFETY: the caller's promise.
        unsafe { give(place, made) }
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnBackendDestroyDescriptor(descriptor: *mut Descriptor) -> u32 {
    call("cudnnBackendDestroyDescriptor", |state| {
        state.descriptors -= 1;
        // SAFETY: it came from `into_raw`.
        drop(unsafe { Box::from_raw(descriptor) });
        0
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnBackendSetAttribute(
    descriptor: *mut Descriptor,
    attribute: u32,
    of: u32,
    count: i64,
    place: *const c_void,
) -> u32 {
    call("cudnnBackendSetAttribute", |state| {
        // SAFETY: the caller's promise.
        let descriptor = unsafe { &mut *descriptor };
        if descriptor.finished.is_some() || count < 1 || place.is_null() {
            return answer(state, Err((BAD_PARAM, format!("attribute {attribute} is set to nothing, or too late"))));
        }
        // SAFETY: as above.
        let value = unsafe { read(of, count as usize, place) };
        answer(state, value.map(|value| _ = descriptor.attributes.insert(attribute, (of, value))))
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnBackendFinalize(descriptor: *mut Descriptor) -> u32 {
    call("cudnnBackendFinalize", |state| {
        // SAFETY: the caller's promise.
        let descriptor = unsafe { &mut *descriptor };
        let finished = Finished { kind: descriptor.kind, attributes: descriptor.attributes.clone() };
        let checked = check(&finished, state.settings.capability);
        if checked.is_ok() {
            if descriptor.kind == kind::PLAN {
                state.note("plan".into());
            }
            descriptor.finished = Some(Arc::new(finished));
        }
        answer(state, checked)
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnBackendGetAttribute(
    descriptor: *mut Descriptor,
    attribute: u32,
    of: u32,
    room: i64,
    count: *mut i64,
    place: *mut c_void,
) -> u32 {
    call("cudnnBackendGetAttribute", |state| {
        // SAFETY: the caller's promise.
        let Some(finished) = (unsafe { &*descriptor }).finished.clone() else { return BAD_PARAM };
        match (finished.kind, attribute, of) {
            (kind::PLAN, WORKSPACE, of::INT64) => {
                let Ok(graph) = graph_of_plan(&finished) else { return BAD_PARAM };
                // SAFETY: as above.
                unsafe { place.cast::<i64>().write(workspace_of(&graph) as i64) };
                0
            }
            (kind::HEURISTIC, RESULTS, of::DESCRIPTOR) => {
                let made = i64::from(state.settings.proposals).min(room);
                for at in 0..made.unsigned_abs() as usize {
                    // SAFETY: as above: the caller has written descriptors of configurations there.
                    let config = unsafe { &mut **place.cast::<*mut Descriptor>().add(at) };
                    let graph = finished.other(OF_GRAPH, kind::GRAPH).map(Arc::clone).ok().into_iter().collect();
                    config.attributes.insert(CONFIGURED, (of::DESCRIPTOR, Value::Descriptors(graph)));
                    config.finished = Some(Arc::new(Finished { kind: config.kind, attributes: config.attributes.clone() }));
                }
                // SAFETY: as above.
                unsafe { give(count, made) }
            }
            _ => answer(state, Err((NOT_SUPPORTED, format!("attribute {attribute} of kind {}", finished.kind)))),
        }
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnBackendExecute(_handle: *mut c_void, plan: *mut Descriptor, pack: *mut Descriptor) -> u32 {
    let mut waiting = None;
    let status = call("cudnnBackendExecute", |state| {
        let prepared = prepare(plan, pack);
        let stream = state.stream_of_handle;
        let prepared = prepared.map(|(ticket, line)| {
            state.note(format!("{line} in stream {stream}"));
            waiting = Some((ticket, stream));
        });
        answer(state, prepared)
    });
    // Without the lock: the driver may carry it out at once.
    if let Some((ticket, stream)) = waiting {
        let visit = if neighbour::is_captured(stream) { carry_out_again } else { carry_out };
        neighbour::enqueue(stream, visit, Box::into_raw(Box::new(ticket)).expose_provenance());
    }
    status
}
