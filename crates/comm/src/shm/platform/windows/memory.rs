//! A world's memory as a section that the page file backs. It goes when the last rank has closed it, whatever befell them.
//!
//! The section has a random name. Ranks find that through a second, small section, the door: it is named for the job and
//! only rank 0 keeps it open, so closing it takes the world's name away.

use super::object::{own, own_new, wide};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr::{NonNull, null};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, MEM_COMMIT, MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile, OpenFileMappingW,
    PAGE_PROTECTION_FLAGS, PAGE_READWRITE, SEC_COMMIT, SEC_RESERVE, UnmapViewOfFile, VirtualAlloc,
};
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};

/// What regions of the memory are aligned to: views begin at multiples of this.
pub const PAGE: usize = 64 << 10;
/// What helps when there is no room.
pub const ENLARGE: &str = "Enlarge the page file.";
/// Addresses of a world: only what is reserved of them costs memory.
const CAPACITY: u64 = 1 << 40;
const ACCESS: u32 = FILE_MAP_READ | FILE_MAP_WRITE;

/// Where the memory lies, for sentences.
pub fn place() -> String {
    "memory and page file".into()
}

/// What the world of `job` is called, for sentences.
pub fn name_of(job: &str) -> String {
    format!("megatron-{job}-world")
}

/// Bytes free and in all of what the system can promise.
pub fn room() -> (u64, u64) {
    // SAFETY: a zeroed status is valid once it says its size, and outlives the call.
    unsafe {
        let mut status: MEMORYSTATUSEX = std::mem::zeroed();
        status.dwLength = size_of::<MEMORYSTATUSEX>() as u32;
        if GlobalMemoryStatusEx(&mut status) == 0 {
            return (0, 0);
        }
        (status.ullAvailPageFile, status.ullTotalPageFile)
    }
}

fn create_section(name: &str, bytes: u64, kind: PAGE_PROTECTION_FLAGS) -> io::Result<OwnedHandle> {
    let name = wide(name);
    // SAFETY: the name ends with a zero and outlives the call; the handle is new.
    unsafe {
        own_new(CreateFileMappingW(INVALID_HANDLE_VALUE, null(), PAGE_READWRITE | kind, (bytes >> 32) as u32, bytes as u32, name.as_ptr()))
    }
}

fn open_section(name: &str) -> io::Result<OwnedHandle> {
    let name = wide(name);
    // SAFETY: the name ends with a zero and outlives the call; the handle is new.
    unsafe { own(OpenFileMappingW(ACCESS, 0, name.as_ptr())) }
}

fn section_name(id: u64) -> String {
    format!("megatron-{id:016x}")
}

/// A shared, writable view of a part of a section.
pub struct Mapping {
    base: NonNull<u8>,
}

// SAFETY: the view is plain memory; whoever dereferences pointers into it answers for races.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn of(section: &OwnedHandle, offset: u64, length: usize) -> io::Result<Self> {
        // SAFETY: a fresh view at an address of the system's choice.
        let view = unsafe { MapViewOfFile(section.as_raw_handle(), ACCESS, (offset >> 32) as u32, offset as u32, length) };
        NonNull::new(view.Value.cast()).map(|base| Self { base }).ok_or_else(io::Error::last_os_error)
    }

    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// The first word of a door: the number of the world behind it, 0 until it is complete.
    fn number(&self) -> &AtomicU64 {
        // SAFETY: a door is longer than a word, and nothing but this word of it is used.
        unsafe { &*self.base().cast() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the view is this one's; nobody holds a pointer into it any more.
        unsafe { UnmapViewOfFile(MEMORY_MAPPED_VIEW_ADDRESS { Value: self.base.as_ptr().cast() }) };
    }
}

/// The memory that a world shares, as one rank has it open.
pub struct Memory {
    /// A random number that tells this world from any other.
    pub(super) id: u64,
    section: OwnedHandle,
    /// What says that this rank is alive.
    pub(super) held: Mutex<Vec<OwnedHandle>>,
}

impl Memory {
    /// New, empty memory. Nobody finds it before its name is published.
    pub fn create(_job: &str) -> io::Result<(Self, Name)> {
        let id = RandomState::new().hash_one(std::process::id()).max(1);
        let section = create_section(&section_name(id), CAPACITY, SEC_RESERVE)?;
        Ok((Self { id, section, held: Mutex::default() }, Name { id, door: None }))
    }

    /// What has been published for `job`; `NotFound` when nothing has.
    pub fn open(job: &str) -> io::Result<Self> {
        let door = open_section(&name_of(job))?;
        let id = Mapping::of(&door, 0, PAGE)?.number().load(Ordering::Acquire);
        if id == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self { id, section: open_section(&section_name(id))?, held: Mutex::default() })
    }

    /// The name under which this memory was opened: rank 0's to take away.
    pub fn name(&self, _job: &str) -> io::Result<Name> {
        Ok(Name { id: self.id, door: None })
    }

    /// Reads from its start.
    pub fn read_start(&self, bytes: &mut [u8]) -> io::Result<()> {
        let view = self.map(0, bytes.len())?;
        // SAFETY: the view is as long as `bytes`, and nobody writes what is read here once the name is published.
        unsafe { std::ptr::copy_nonoverlapping(view.base(), bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    /// Takes memory for a part now, so that touching it later cannot fail.
    pub fn reserve(&self, offset: u64, length: usize) -> io::Result<()> {
        if offset.saturating_add(length as u64) > CAPACITY {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let view = self.map(offset, length)?;
        // SAFETY: the addresses are this view's, which nobody else knows.
        let base = unsafe { VirtualAlloc(view.base().cast(), length, MEM_COMMIT, PAGE_READWRITE) };
        if base.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Nothing: what a section has promised it keeps until the world ends. Pages that nobody uses go to the page file.
    pub fn discard(&self, _offset: u64, _length: usize) {}

    /// Maps `length` reserved bytes from `offset` on, a multiple of `PAGE`.
    pub fn map(&self, offset: u64, length: usize) -> io::Result<Mapping> {
        Mapping::of(&self.section, offset, length)
    }
}

/// A name that is taken away when rank 0 drops this, or ends.
pub struct Name {
    id: u64,
    door: Option<OwnedHandle>,
}

impl Name {
    /// Lets the ranks of `job` find the memory.
    pub fn publish(&mut self, job: &str) -> io::Result<()> {
        let door = create_section(&name_of(job), PAGE as u64, SEC_COMMIT)?;
        Mapping::of(&door, 0, PAGE)?.number().store(self.id, Ordering::Release);
        self.door = Some(door);
        Ok(())
    }

    /// Takes it away now.
    pub fn withdraw(self) {}
}
