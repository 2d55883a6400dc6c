//! NVRTC: what it makes is the text that it was given. A text with `#error` does not compile.

use crate::state::state;
use std::ffi::{CStr, c_char, c_int};
use std::ptr;

const COMPILATION_FAILED: u32 = 6;

/// A program and what came of it.
pub struct Program {
    name: String,
    text: String,
    cubin: Vec<u8>,
    log: String,
}

/// # Safety
/// The program lives, and nobody changes it meanwhile.
unsafe fn seen<'a>(program: *const Program) -> &'a Program {
    // SAFETY: the caller's promise.
    unsafe { &*program }
}

/// # Safety
/// As in NVRTC, for all functions below.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcVersion(major: *mut c_int, minor: *mut c_int) -> u32 {
    let version = state().settings.nvrtc;
    // SAFETY: the caller's promise.
    unsafe {
        major.write(version / 1000);
        minor.write(version % 1000 / 10);
    }
    0
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcCreateProgram(
    program: *mut *mut Program,
    text: *const c_char,
    name: *const c_char,
    _headers: c_int,
    _header_texts: *const *const c_char,
    _header_names: *const *const c_char,
) -> u32 {
    // SAFETY: the caller's promise.
    let read = |text: *const c_char| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    let made = Program { name: read(name), text: read(text), cubin: Vec::new(), log: String::new() };
    // SAFETY: as above.
    unsafe { program.write(Box::into_raw(Box::new(made))) };
    0
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcCompileProgram(program: *mut Program, count: c_int, options: *const *const c_char) -> u32 {
    // SAFETY: the caller's promise.
    let program = unsafe { &mut *program };
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: as above.
    let words = (0..count).map(|at| unsafe { CStr::from_ptr(options.add(at).read()) }.to_string_lossy()).collect::<Vec<_>>().join(" ");
    state().note(format!("compile {} {words}", program.name));
    if program.text.contains("#error") {
        program.log = format!("{}(1): error: #error directive\n", program.name);
        return COMPILATION_FAILED;
    }
    match library_of(program, &words) {
        Ok(library) => {
            program.cubin = format!("fake cubin {words}\n{library}{}\0", program.text).into_bytes();
            0
        }
        Err(log) => {
            program.log = log;
            COMPILATION_FAILED
        }
    }
}

/// A line that names the program for the host, where programs shall run; otherwise nothing.
#[cfg(target_os = "linux")]
fn library_of(program: &Program, words: &str) -> Result<String, String> {
    let folder = state().settings.run.clone();
    let options: Vec<&str> = words.split_whitespace().collect();
    if folder.is_empty() {
        return Ok(String::new());
    }
    crate::host::compile(&folder, &program.name, &program.text, &options).map(|library| format!("library {library}\n"))
}

#[cfg(not(target_os = "linux"))]
fn library_of(_program: &Program, _words: &str) -> Result<String, String> {
    Ok(String::new())
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetCUBINSize(program: *mut Program, bytes: *mut usize) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { bytes.write(seen(program).cubin.len()) };
    0
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetCUBIN(program: *mut Program, cubin: *mut c_char) -> u32 {
    // SAFETY: the caller's promise: there is room for what `nvrtcGetCUBINSize` said.
    unsafe {
        let made = &seen(program).cubin;
        cubin.cast::<u8>().copy_from_nonoverlapping(made.as_ptr(), made.len());
    }
    0
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetProgramLogSize(program: *mut Program, bytes: *mut usize) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { bytes.write(seen(program).log.len() + 1) };
    0
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcGetProgramLog(program: *mut Program, log: *mut c_char) -> u32 {
    // SAFETY: the caller's promise: there is room for what `nvrtcGetProgramLogSize` said.
    unsafe {
        let text = &seen(program).log;
        log.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len());
        log.add(text.len()).write(0);
    }
    0
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvrtcDestroyProgram(program: *mut *mut Program) -> u32 {
    // SAFETY: the program came from `into_raw`.
    unsafe {
        drop(Box::from_raw(program.read()));
        program.write(ptr::null_mut());
    }
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn nvrtcGetErrorString(status: u32) -> *const c_char {
    if status == COMPILATION_FAILED { c"NVRTC_ERROR_COMPILATION".as_ptr() } else { c"NVRTC_ERROR".as_ptr() }
}
