//! Pages by VirtualAlloc.

use super::count;
use std::ptr::{NonNull, null};
use windows_sys::Win32::System::Memory::{MEM_COMMIT, MEM_RELEASE, MEM_RESERVE, PAGE_READWRITE, VirtualAlloc, VirtualFree};
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};

/// Aligned to 64 KiB, which is what the system grants.
pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
    count(1);
    // SAFETY: new pages at a place that the system chooses.
    let start = unsafe { VirtualAlloc(null(), bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) };
    NonNull::new(start.cast())
}

/// # Safety
/// As [`super::unmap`].
pub(super) unsafe fn unmap(start: NonNull<u8>, _bytes: usize) {
    count(1);
    // SAFETY: the caller's promise; pages of one VirtualAlloc go back as a whole.
    unsafe { VirtualFree(start.as_ptr().cast(), 0, MEM_RELEASE) };
}

/// What the machine's commit limit leaves; mapped pages are part of it whether filled or not.
pub(super) fn available(_reserved: usize) -> Option<usize> {
    // SAFETY: all zeros is a value of this plain struct.
    let mut status: MEMORYSTATUSEX = unsafe { std::mem::zeroed() };
    status.dwLength = size_of::<MEMORYSTATUSEX>() as u32;
    // SAFETY: the struct says its own size and outlives the call.
    let told = unsafe { GlobalMemoryStatusEx(&mut status) };
    if told == 0 { None } else { usize::try_from(status.ullAvailPageFile).ok() }
}

pub(super) fn minor_faults_of_this_thread() -> u64 {
    0
}
