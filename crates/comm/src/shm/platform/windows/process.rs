//! Processes: a handle pins a process, so that its id cannot pass to another while it is watched.

use super::super::parent;
use super::object::own;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use windows_sys::Win32::Foundation::{ERROR_INVALID_PARAMETER, FILETIME, HANDLE, INVALID_HANDLE_VALUE, WAIT_OBJECT_0};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessTimes, INFINITE, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, TerminateProcess,
    WaitForSingleObject,
};

/// What this process's exit code says after its parent has ended: as if it had been killed.
const KILLED: u32 = 137;

/// Which processes can see each other: all of them.
pub fn process_namespace() -> u64 {
    1
}

fn open(pid: u32) -> io::Result<OwnedHandle> {
    // SAFETY: the call takes numbers; the handle is new.
    unsafe { own(OpenProcess(PROCESS_SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION, 0, pid)) }
}

fn has_ended(process: &OwnedHandle, milliseconds: u32) -> bool {
    // SAFETY: the handle is open.
    unsafe { WaitForSingleObject(process.as_raw_handle(), milliseconds) == WAIT_OBJECT_0 }
}

/// A watch on another process.
pub struct ProcessWatch(OwnedHandle);

/// A watch on `pid`; None when the system refuses, or when there is no such process.
pub fn watch(pid: u32) -> Option<ProcessWatch> {
    open(pid).ok().map(ProcessWatch)
}

impl ProcessWatch {
    /// Whether the process is still there.
    pub fn is_alive(&self) -> bool {
        !has_ended(&self.0, 0)
    }
}

/// When a process was started, in the system's units.
fn started(process: HANDLE) -> io::Result<u64> {
    let mut times = [FILETIME { dwLowDateTime: 0, dwHighDateTime: 0 }; 4];
    let [created, exited, kernel, user] = &mut times;
    // SAFETY: the handle is open and the times outlive the call.
    if unsafe { GetProcessTimes(process, created, exited, kernel, user) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(created.dwHighDateTime) << 32 | u64::from(created.dwLowDateTime))
}

/// The id of the process that started this one; it may have ended since.
fn parent_id() -> io::Result<u32> {
    // SAFETY: a zeroed entry is valid once it says its size; it outlives the calls, and the snapshot is new.
    unsafe {
        let snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
        if snapshot == INVALID_HANDLE_VALUE {
            return Err(io::Error::last_os_error());
        }
        let snapshot = OwnedHandle::from_raw_handle(snapshot);
        let mut entry: PROCESSENTRY32W = std::mem::zeroed();
        entry.dwSize = size_of::<PROCESSENTRY32W>() as u32;
        let mut found = Process32FirstW(snapshot.as_raw_handle(), &mut entry);
        while found != 0 {
            if entry.th32ProcessID == std::process::id() {
                return Ok(entry.th32ParentProcessID);
            }
            found = Process32NextW(snapshot.as_raw_handle(), &mut entry);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// From now on this process is killed when its parent ends. `parent` is the parent's process id, if known; an error
/// when that one has ended already.
pub fn die_with_parent(parent: Option<u32>) -> Result<(), String> {
    let refused = |error: io::Error| parent::refused(&error);
    let own_parent = parent_id().map_err(refused)?;
    let expected = parent.unwrap_or(own_parent);
    let process = open(expected).map_err(|error| match error.raw_os_error() {
        Some(code) if code == ERROR_INVALID_PARAMETER as i32 => parent::ended(expected),
        _ => parent::refused(&error),
    })?;
    // SAFETY: the call takes nothing.
    let this = unsafe { GetCurrentProcess() };
    // A process that began later than this one has only taken over its parent's id.
    let is_parent = expected == own_parent && started(process.as_raw_handle()).map_err(refused)? <= started(this).map_err(refused)?;
    if !is_parent || has_ended(&process, 0) {
        return Err(parent::ended(expected));
    }
    let body = move || {
        if has_ended(&process, INFINITE) {
            // SAFETY: the call ends this very process.
            unsafe { TerminateProcess(GetCurrentProcess(), KILLED) };
        }
    };
    let thread = std::thread::Builder::new().name("megatron-parent".into()).spawn(body);
    thread.map(drop).map_err(|error| parent::refused(&error))
}
