//! The version functions of the libraries that nothing else is asked of.

use crate::state::state;
use std::ffi::c_int;

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtGetVersion() -> usize {
    usize::try_from(state().settings.cublas).unwrap_or(0)
}

/// Property 0 is the major version, 1 the minor, 2 the patch.
///
/// # Safety
/// `value` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasGetProperty(property: u32, value: *mut c_int) -> u32 {
    let version = state().settings.cublas;
    let answer = [version / 10_000, version / 100 % 100, version % 100][property as usize % 3];
    // SAFETY: the caller's promise.
    unsafe { value.write(answer) };
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnGetVersion() -> usize {
    usize::try_from(state().settings.cudnn).unwrap_or(0)
}

/// # Safety
/// `version` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclGetVersion(version: *mut c_int) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { version.write(state().settings.nccl) };
    0
}
