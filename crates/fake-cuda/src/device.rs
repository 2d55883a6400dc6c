//! Devices and their contexts.

use crate::state::{INVALID_CONTEXT, INVALID_DEVICE, INVALID_VALUE, NO_DEVICE, NOT_FOUND, SUCCESS, call, give, state};
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr;

const MULTIPROCESSORS: c_int = 16;
/// Where a device is plugged in.
const PCI_BUS: c_uint = 33;
const MAJOR: c_uint = 75;
const MINOR: c_uint = 76;
const CONTEXT: usize = 0x1000;

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(_flags: c_uint) -> u32 {
    call("cuInit", |state| if state.settings.devices == 0 { NO_DEVICE } else { SUCCESS })
}

/// # Safety
/// As in CUDA's driver, for all functions of this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> u32 {
    // SAFETY: the caller's promise.
    call("cuDriverGetVersion", |state| unsafe { give(version, state.settings.driver) })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> u32 {
    // SAFETY: the caller's promise.
    call("cuDeviceGetCount", |state| unsafe { give(count, state.settings.devices) })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> u32 {
    call("cuDeviceGet", |state| match (0..state.settings.devices).contains(&ordinal) {
        // SAFETY: the caller's promise.
        true => unsafe { give(device, ordinal) },
        false => INVALID_DEVICE,
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) -> u32 {
    call("cuDeviceGetName", |_| {
        let text = format!("Fake device {device}\0");
        let length = usize::try_from(length).unwrap_or(0);
        if text.len() > length {
            return INVALID_VALUE;
        }
        // SAFETY: the caller's promise; the text fits.
        unsafe { name.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len()) };
        SUCCESS
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _device: c_int) -> u32 {
    // SAFETY: the caller's promise.
    call("cuDeviceTotalMem_v2", |state| unsafe { give(bytes, state.settings.memory) })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, device: c_int) -> u32 {
    call("cuDeviceGetAttribute", |state| {
        let answer = match attribute {
            PCI_BUS => device + 1,
            MAJOR => state.settings.capability / 10,
            MINOR => state.settings.capability % 10,
            _ => MULTIPROCESSORS,
        };
        // SAFETY: the caller's promise.
        unsafe { give(value, answer) }
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, device: c_int) -> u32 {
    call("cuDevicePrimaryCtxRetain", |state| {
        state.contexts += 1;
        state.note(format!("context of device {device}"));
        // SAFETY: the caller's promise.
        unsafe { give(context, ptr::without_provenance_mut(CONTEXT)) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> u32 {
    let mut state = state();
    state.contexts = state.contexts.saturating_sub(1);
    state.note("context released".into());
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(context: *mut c_void) -> u32 {
    if context.addr() == CONTEXT { SUCCESS } else { INVALID_CONTEXT }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) -> u32 {
    // SAFETY: the caller's promise.
    call("cuCtxGetStreamPriorityRange", |_| unsafe { give(least, 0) | give(greatest, -5) })
}

/// The real NVRTC asks for this where it finds a driver; it does without.
#[unsafe(no_mangle)]
pub extern "C" fn cuGetExportTable(_table: *mut *const c_void, _identity: *const c_void) -> u32 {
    NOT_FOUND
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(status: u32, text: *mut *const c_char) -> u32 {
    let name = match status {
        0 => c"CUDA_SUCCESS",
        1 => c"CUDA_ERROR_INVALID_VALUE",
        2 => c"CUDA_ERROR_OUT_OF_MEMORY",
        100 => c"CUDA_ERROR_NO_DEVICE",
        101 => c"CUDA_ERROR_INVALID_DEVICE",
        500 => c"CUDA_ERROR_NOT_FOUND",
        700 => c"CUDA_ERROR_ILLEGAL_ADDRESS",
        900 => c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
        901 => c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
        904 => c"CUDA_ERROR_STREAM_CAPTURE_UNJOINED",
        905 => c"CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
        907 => c"CUDA_ERROR_CAPTURED_EVENT",
        _ => return INVALID_VALUE,
    };
    // SAFETY: the caller's promise.
    unsafe { give(text, name.as_ptr()) }
}
