//! Systems without a twin: joining says so, and nothing else is ever reached.

pub use super::coreless::core;
pub use super::unreadable::{is_absence, is_refusal, read_process};
use std::io;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

pub const PAGE: usize = 4096;
pub const ENLARGE: &str = "Use one rank.";

/// Why ranks cannot meet here.
pub fn supported() -> Result<(), String> {
    Err(format!("several ranks need Linux, macOS or Windows, and this is {}. Use one rank.", std::env::consts::OS))
}

pub fn place() -> String {
    "memory".into()
}

pub fn name_of(job: &str) -> String {
    job.into()
}

pub fn room() -> (u64, u64) {
    (0, 0)
}

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

pub enum Memory {}

impl Memory {
    pub fn create(_job: &str) -> io::Result<(Self, Name)> {
        unsupported()
    }

    pub fn open(_job: &str) -> io::Result<Self> {
        unsupported()
    }

    pub fn name(&self, _job: &str) -> io::Result<Name> {
        match *self {}
    }

    pub fn read_start(&self, _bytes: &mut [u8]) -> io::Result<()> {
        match *self {}
    }

    pub fn reserve(&self, _offset: u64, _length: usize) -> io::Result<()> {
        match *self {}
    }

    pub fn discard(&self, _offset: u64, _length: usize) {
        match *self {}
    }

    pub fn map(&self, _offset: u64, _length: usize) -> io::Result<Mapping> {
        match *self {}
    }

    pub fn hold(&self, _byte: u32) -> io::Result<bool> {
        match *self {}
    }

    pub fn is_held(&self, _byte: u32) -> bool {
        match *self {}
    }
}

pub enum Name {}

impl Name {
    pub fn publish(&mut self, _job: &str) -> io::Result<()> {
        match *self {}
    }

    pub fn withdraw(self) {
        match self {}
    }
}

pub enum Mapping {}

impl Mapping {
    pub fn base(&self) -> *mut u8 {
        match *self {}
    }
}

pub fn wait(_word: &AtomicU32, _expected: u32, limit: Duration) {
    std::thread::sleep(limit);
}

pub fn wake(_word: &AtomicU32) {}

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
    Err(format!("dieWithParent: {} cannot do this. Run without it.", std::env::consts::OS))
}
