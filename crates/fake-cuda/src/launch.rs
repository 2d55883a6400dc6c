//! Modules and launches: a module is the text that the fake NVRTC made, and holds every function whose name stands in it. A launch is
//! written down with its arguments, and done where the module has a library for the host.

use crate::arguments::Parameters;
use crate::graph::{self, Action};
use crate::queue;
use crate::state::{ILLEGAL_ADDRESS, INVALID_VALUE, NOT_FOUND, SUCCESS, call, give, state};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::sync::Arc;

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

/// What launches a kernel on the host; nothing where kernels are only written down.
#[cfg(target_os = "linux")]
type Launcher = Option<crate::host::Launcher>;
#[cfg(not(target_os = "linux"))]
type Launcher = ();

/// A function: its address is its handle, and it is never freed.
struct Function {
    name: String,
    parameters: Option<Parameters>,
    launcher: Launcher,
}

#[cfg(target_os = "linux")]
fn launcher_of(text: &str, name: &str) -> Launcher {
    let library = text.lines().nth(1).and_then(|line| line.strip_prefix("library "))?;
    crate::host::launcher(library, name)
}

#[cfg(not(target_os = "linux"))]
fn launcher_of(_text: &str, _name: &str) -> Launcher {}

#[cfg(target_os = "linux")]
fn does_run(launcher: &Launcher) -> bool {
    launcher.is_some()
}

#[cfg(not(target_os = "linux"))]
fn does_run(_launcher: &Launcher) -> bool {
    false
}

/// # Safety
/// The handle is that of a function.
unsafe fn seen<'a>(function: *mut c_void) -> &'a Function {
    // SAFETY: the caller's promise.
    unsafe { &*function.cast::<Function>() }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(function: *mut *mut c_void, module: *mut c_void, name: *const c_char) -> u32 {
    call("cuModuleGetFunction", |_| {
        // SAFETY: the module is a C string, and so is the name.
        let (text, name) = unsafe { (CStr::from_ptr(module.cast()).to_string_lossy(), CStr::from_ptr(name).to_string_lossy()) };
        if !text.contains(&*name) {
            return NOT_FOUND;
        }
        let (launcher, parameters) = (launcher_of(&text, &name), Parameters::of(&text, &name));
        let made = Function { launcher, parameters, name: name.into_owned() };
        // SAFETY: the caller's promise.
        unsafe { give(function, Box::into_raw(Box::new(made)).cast()) }
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncSetAttribute(function: *mut c_void, attribute: c_uint, value: c_int) -> u32 {
    call("cuFuncSetAttribute", |state| {
        // SAFETY: the handle is that of a function.
        let name = &unsafe { seen(function) }.name;
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
    arguments: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> u32 {
    // SAFETY: the handle is that of a function.
    let runs = does_run(unsafe { &seen(function).launcher });
    // The arguments live no longer than this call: a kernel that runs waits here until it is its turn.
    let point = runs.then(|| queue::turn_of(&mut state(), stream.addr())).flatten();
    point.iter().for_each(|point| queue::wait_for(point));
    call("cuLaunchKernel", |state| {
        if [grid_x, grid_y, grid_z, block_x, block_y, block_z].contains(&0) || block_x * block_y * block_z > 1024 {
            return INVALID_VALUE;
        }
        // SAFETY: the handle is that of a function.
        let Function { name, parameters, launcher } = unsafe { seen(function) };
        let (grid, block) = (format!("{grid_x}x{grid_y}x{grid_z}"), format!("{block_x}x{block_y}x{block_z}"));
        let mut line = format!("launch {name} grid {grid} block {block} shared {shared} in stream {}", stream.addr());
        if let Some(parameters) = parameters.as_ref().filter(|_| state.settings.tells_arguments) {
            // SAFETY: the caller's promise.
            line += &format!(" with {}", unsafe { parameters.tell(state, arguments) });
        }
        let is_captured = graph::has(state, stream.addr());
        // SAFETY: the caller's promise.
        let action = if is_captured { unsafe { captured(seen(function), [grid_x, block_x, shared], arguments) } } else { Action::Nothing };
        graph::ask(state, stream.addr(), line, action);
        if !is_captured {
            // SAFETY: the caller's promise: the arguments are those of the kernel.
            unsafe { run(launcher, [grid_x, block_x, shared], arguments) };
        }
        state.launches += 1;
        if state.launches == state.settings.sticky_at_launch {
            // As on a device: whoever launches is not told, whoever asks next is.
            state.sticky = Some(ILLEGAL_ADDRESS);
        }
        SUCCESS
    })
}

/// The kernel with a copy of its arguments: what a graph does at each launch. A kernel without a list of parameters does not run.
///
/// # Safety
/// The arguments are those of the kernel.
#[cfg(target_os = "linux")]
unsafe fn captured(function: &'static Function, extents: [c_uint; 3], arguments: *mut *mut c_void) -> Action {
    let (true, Some(parameters)) = (function.launcher.is_some(), &function.parameters) else { return Action::Nothing };
    // SAFETY: the caller's promise.
    let copies = unsafe { parameters.copies(arguments) };
    Action::Run(Arc::new(move || {
        let mut places: Vec<*mut c_void> = copies.iter().map(|words| words.as_ptr().cast_mut().cast()).collect();
        // SAFETY: the copies are arguments of the kernel, which only reads them.
        unsafe { run(&function.launcher, extents, places.as_mut_ptr()) };
    }))
}

/// # Safety
/// None is needed.
#[cfg(not(target_os = "linux"))]
unsafe fn captured(_function: &'static Function, _extents: [c_uint; 3], _arguments: *mut *mut c_void) -> Action {
    Action::Nothing
}

/// # Safety
/// The arguments are those of the kernel.
#[cfg(target_os = "linux")]
unsafe fn run(launcher: &Launcher, [grid, block, shared]: [c_uint; 3], arguments: *mut *mut c_void) {
    if let Some(launch) = launcher {
        // SAFETY: the caller's promise.
        unsafe { launch(grid, block, shared, arguments) };
    }
}

/// # Safety
/// None is needed.
#[cfg(not(target_os = "linux"))]
unsafe fn run(_launcher: &Launcher, _extents: [c_uint; 3], _arguments: *mut *mut c_void) {}
