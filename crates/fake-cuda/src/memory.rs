//! Device memory: the host's, with a pool that keeps what is freed until it is trimmed.

use crate::graph::{self, Action};
use crate::pinned::is_pinned;
use crate::queue::{self, Task};
use crate::state::{INVALID_VALUE, OUT_OF_MEMORY, Piece, SUCCESS, call, give};
use std::alloc::{Layout, alloc};
use std::ffi::{c_int, c_uint, c_void};
use std::{ptr, slice};

const ALIGN: usize = 256;
const POOL: usize = 0x2000;
const RELEASE_THRESHOLD: c_uint = 4;
const RESERVED: c_uint = 5;
const USED: c_uint = 7;

/// # Safety
/// As in CUDA's driver.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: *mut c_void) -> u32 {
    call("cuMemAllocAsync", |state| {
        if graph::has(state, stream.addr()) {
            // SAFETY: the caller's promise.
            return graph::allocate(state, stream.addr(), bytes).map_or(INVALID_VALUE, |found| unsafe { give(address, found) });
        }
        let Some(layout) = Layout::from_size_align(bytes, ALIGN).ok().filter(|_| bytes > 0) else { return INVALID_VALUE };
        if bytes <= state.cached {
            state.cached -= bytes;
        } else if state.used + state.cached + bytes > state.settings.memory {
            return OUT_OF_MEMORY;
        }
        // SAFETY: the layout is not empty.
        let found = unsafe { alloc(layout) };
        state.used += bytes;
        state.allocations += 1;
        let number = state.allocations;
        state.pieces.insert(found.expose_provenance() as u64, Piece { number, bytes });
        state.note(format!("allocate #{number} of {bytes} in stream {}", stream.addr()));
        // SAFETY: the caller's promise.
        unsafe { give(address, found.expose_provenance() as u64) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeAsync(address: u64, stream: *mut c_void) -> u32 {
    call("cuMemFreeAsync", |state| {
        if graph::has(state, stream.addr()) {
            return graph::free(state, stream.addr(), address);
        }
        if graph::free_after(state, address) {
            state.note(format!("free what a graph left in stream {}", stream.addr()));
            return SUCCESS;
        }
        let Some(Piece { number, bytes }) = state.pieces.remove(&address) else { return INVALID_VALUE };
        let Ok(layout) = Layout::from_size_align(bytes, ALIGN) else { return INVALID_VALUE };
        queue::push(state, stream.addr(), Task::Free { address, layout });
        state.used -= bytes;
        state.cached += bytes;
        state.note(format!("free #{number} in stream {}", stream.addr()));
        SUCCESS
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> u32 {
    // SAFETY: the caller's promise.
    call("cuMemGetInfo_v2", |state| unsafe {
        give(free, state.settings.memory - state.used - state.cached) | give(total, state.settings.memory)
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetDefaultMemPool(pool: *mut *mut c_void, _device: c_int) -> u32 {
    // SAFETY: the caller's promise.
    call("cuDeviceGetDefaultMemPool", |_| unsafe { give(pool, ptr::without_provenance_mut(POOL)) })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemPoolSetAttribute(_pool: *mut c_void, attribute: c_uint, value: *mut c_void) -> u32 {
    call("cuMemPoolSetAttribute", |state| {
        if attribute != RELEASE_THRESHOLD {
            return INVALID_VALUE;
        }
        // SAFETY: the value of this attribute has 64 bits.
        let threshold = unsafe { value.cast::<u64>().read() };
        state.note(format!("release threshold {threshold}"));
        SUCCESS
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemPoolGetAttribute(_pool: *mut c_void, attribute: c_uint, value: *mut c_void) -> u32 {
    call("cuMemPoolGetAttribute", |state| {
        let answer = match attribute {
            RESERVED => state.used + state.cached,
            USED => state.used,
            _ => return INVALID_VALUE,
        };
        // SAFETY: the values of these attributes have 64 bits.
        unsafe { give(value.cast::<u64>(), answer as u64) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolTrimTo(_pool: *mut c_void, keep: usize) -> u32 {
    call("cuMemPoolTrimTo", |state| {
        state.cached = state.cached.min(keep);
        state.note(format!("trim pool to {keep}"));
        SUCCESS
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: *mut c_void) -> u32 {
    call("cuMemcpyHtoDAsync_v2", |state| {
        let line = format!("copy {bytes} to the device in stream {}", stream.addr());
        if is_pinned(state, from.addr()) || graph::has(state, stream.addr()) {
            return graph::ask(state, stream.addr(), line, Action::Copy { to, from: from.expose_provenance() as u64, bytes });
        }
        // As the driver does: it has taken them when this returns.
        // SAFETY: the caller's promise.
        let bytes = unsafe { slice::from_raw_parts(from.cast::<u8>(), bytes) }.to_vec();
        state.note(line);
        queue::push(state, stream.addr(), Task::Bring { to, bytes });
        SUCCESS
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: *mut c_void) -> u32 {
    let mut point = None;
    let status = call("cuMemcpyDtoHAsync_v2", |state| {
        let line = format!("copy {bytes} to the host in stream {}", stream.addr());
        let status = graph::ask(state, stream.addr(), line, Action::Copy { to: to.expose_provenance() as u64, from, bytes });
        let returns_at_once = is_pinned(state, to.addr()) || graph::has(state, stream.addr());
        point = (!returns_at_once).then(|| queue::mark(state, stream.addr()));
        status
    });
    // As the driver does: memory that is not pinned is written before this returns.
    point.iter().for_each(|point| queue::wait_for(point));
    status
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: *mut c_void) -> u32 {
    call("cuMemcpyDtoDAsync_v2", |state| {
        let line = format!("copy {bytes} within the device in stream {}", stream.addr());
        graph::ask(state, stream.addr(), line, Action::Copy { to, from, bytes })
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemsetD8Async(to: u64, value: u8, bytes: usize, stream: *mut c_void) -> u32 {
    call("cuMemsetD8Async", |state| {
        let line = format!("fill {bytes} with {value} in stream {}", stream.addr());
        graph::ask(state, stream.addr(), line, Action::Fill { to, value, bytes })
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemsetD32Async(to: u64, value: c_uint, words: usize, stream: *mut c_void) -> u32 {
    call("cuMemsetD32Async", |state| {
        let line = format!("fill {words} words with {value} in stream {}", stream.addr());
        graph::ask(state, stream.addr(), line, Action::FillWords { to, value, words })
    })
}
