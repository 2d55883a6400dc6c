//! Handles, and the names by which processes of one session find each other's objects.

use std::io;
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use windows_sys::Win32::Foundation::{ERROR_ALREADY_EXISTS, HANDLE};

/// A name as the system takes it, unique to this session.
pub fn wide(name: &str) -> Vec<u16> {
    format!("Local\\{name}").encode_utf16().chain([0]).collect()
}

/// The handle that a call of the system just returned, or why it returned none.
///
/// # Safety
/// Nobody else owns `handle`.
pub unsafe fn own(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// As `own`, for a call that makes an object; an error when there was one of that name.
///
/// # Safety
/// As for `own`; no other call of the system was made since.
pub unsafe fn own_new(handle: HANDLE) -> io::Result<OwnedHandle> {
    let error = io::Error::last_os_error();
    // SAFETY: the caller's promise.
    let handle = unsafe { own(handle) }?;
    if error.raw_os_error() == Some(ERROR_ALREADY_EXISTS as i32) { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(handle) }
}
