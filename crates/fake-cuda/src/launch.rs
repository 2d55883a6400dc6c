//! Modules and launches: a module is the text that the fake NVRTC made, and holds every function whose name stands in it.

use crate::graph::{self, Action};
use crate::state::{ILLEGAL_ADDRESS, INVALID_VALUE, NOT_FOUND, SUCCESS, call, give};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

/// # Safety
/// As in CUDA's driver.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadData(module: *mut *mut c_void, image: *const c_void) -> u32 {
    call("cuModuleLoadData", |state| {
        // SAFETY: what the fake NVRTC makes ends with a zero.
        let text = unsafe { CStr::from_ptr(image.cast()) }.to_owned();
        if !text.as_bytes().starts_with(b"fake cubin") {
            return INVALID_VALUE;
        }
        state.note("load module".into());
        // SAFETY: the caller's promise.
        unsafe { give(module, CString::into_raw(text).cast()) }
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleUnload(module: *mut c_void) -> u32 {
    call("cuModuleUnload", |state| {
        state.note("unload module".into());
        // SAFETY: the module came from `into_raw`.
        drop(unsafe { CString::from_raw(module.cast()) });
        SUCCESS
    })
}

/// The name of a function is its handle; it is never freed.
///
/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(function: *mut *mut c_void, module: *mut c_void, name: *const c_char) -> u32 {
    call("cuModuleGetFunction", |_| {
        // SAFETY: the module is a C string, and so is the name.
        let (text, name) = unsafe { (CStr::from_ptr(module.cast()), CStr::from_ptr(name)) };
        if !text.to_string_lossy().contains(&*name.to_string_lossy()) {
            return NOT_FOUND;
        }
        // SAFETY: the caller's promise.
        unsafe { give(function, name.to_owned().into_raw().cast()) }
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncSetAttribute(function: *mut c_void, attribute: c_uint, value: c_int) -> u32 {
    call("cuFuncSetAttribute", |state| {
        // SAFETY: the handle is a name.
        let name = unsafe { CStr::from_ptr(function.cast()) }.to_string_lossy();
        state.note(format!("attribute {attribute} of {name} is {value}"));
        SUCCESS
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: *mut c_void,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    stream: *mut c_void,
    _arguments: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> u32 {
    call("cuLaunchKernel", |state| {
        if [grid_x, grid_y, grid_z, block_x, block_y, block_z].contains(&0) || block_x * block_y * block_z > 1024 {
            return INVALID_VALUE;
        }
        // SAFETY: the handle is a name.
        let name = unsafe { CStr::from_ptr(function.cast()) }.to_string_lossy();
        let (grid, block) = (format!("{grid_x}x{grid_y}x{grid_z}"), format!("{block_x}x{block_y}x{block_z}"));
        let line = format!("launch {name} grid {grid} block {block} shared {shared} in stream {}", stream.addr());
        graph::ask(state, stream.addr(), line, Action::Nothing);
        state.launches += 1;
        if state.launches == state.settings.sticky_at_launch {
            // As on a device: whoever launches is not told, whoever asks next is.
            state.sticky = Some(ILLEGAL_ADDRESS);
        }
        SUCCESS
    })
}
