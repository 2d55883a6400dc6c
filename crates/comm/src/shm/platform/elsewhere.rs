//! Systems without a twin of the Linux seam: joining says so, and nothing else is ever reached.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

pub const DIRECTORY: &str = "";
pub const PAGE: usize = 4096;

/// Why ranks cannot meet here.
pub fn supported() -> Result<(), String> {
    Err(format!("several ranks need Linux's shared memory, and this is {}. Use one rank.", std::env::consts::OS))
}

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

pub fn create(_path: &Path) -> io::Result<File> {
    unsupported()
}

pub fn open(_path: &Path) -> io::Result<File> {
    unsupported()
}

pub fn read_start(_file: &File, _bytes: &mut [u8]) -> io::Result<()> {
    unsupported()
}

pub fn identity(_file: &File) -> io::Result<u64> {
    unsupported()
}

pub fn identity_at(_path: &Path) -> io::Result<u64> {
    unsupported()
}

pub fn reserve(_file: &File, _offset: u64, _length: usize) -> io::Result<()> {
    unsupported()
}

pub fn discard(_file: &File, _offset: u64, _length: usize) {}

pub fn room() -> (u64, u64) {
    (0, 0)
}

pub enum Mapping {}

impl Mapping {
    pub fn base(&self) -> *mut u8 {
        match *self {}
    }
}

pub fn map(_file: &File, _offset: u64, _length: usize) -> io::Result<Mapping> {
    unsupported()
}

pub fn wait(_word: &AtomicU32, _expected: u32, limit: Duration) {
    std::thread::sleep(limit);
}

pub fn wake(_word: &AtomicU32) {}

pub fn hold(_file: &File, _byte: u32) -> io::Result<bool> {
    unsupported()
}

pub fn is_held(_file: &File, _byte: u32) -> bool {
    false
}

pub fn process_namespace() -> u64 {
    0
}

pub enum ProcessWatch {}

pub fn watch(_pid: u32) -> Option<ProcessWatch> {
    None
}

impl ProcessWatch {
    pub fn is_alive(&self) -> bool {
        match *self {}
    }
}

pub fn die_with_parent(_parent: Option<u32>) -> Result<(), String> {
    Err("dieWithParent: only Linux can do this. Run without it.".into())
}
