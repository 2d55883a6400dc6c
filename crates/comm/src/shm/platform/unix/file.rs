//! A world's memory as a file, which loses its name once all ranks have it open, so that nothing is left behind.

use super::super::system::directory;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// Where the memory lies, for sentences.
pub fn place() -> String {
    directory().display().to_string()
}

/// What the world of `job` is called, for sentences.
pub fn name_of(job: &str) -> String {
    path_of(job).display().to_string()
}

fn path_of(job: &str) -> PathBuf {
    directory().join(format!("megatron-{job}-world"))
}

/// Bytes free and in all on the file system of the directory.
pub fn room() -> (u64, u64) {
    let Ok(path) = CString::new(directory().as_os_str().as_bytes()) else { return (0, 0) };
    // SAFETY: a zeroed statvfs is valid and outlives the call; the path ends with a zero.
    unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        if libc::statvfs(path.as_ptr(), &mut stat) != 0 {
            return (0, 0);
        }
        let unit = stat.f_frsize as u64;
        (stat.f_bavail as u64 * unit, stat.f_blocks as u64 * unit)
    }
}

/// The memory that a world shares, as one rank has it open.
pub struct Memory {
    pub(in super::super) file: File,
}

impl Memory {
    /// New, empty memory that only this user can open. Nobody finds it before its name is published.
    pub fn create(job: &str) -> io::Result<(Self, Name)> {
        let mut path = path_of(job).into_os_string();
        path.push(format!(".{}", std::process::id()));
        let path = PathBuf::from(path);
        let _ = std::fs::remove_file(&path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let identity = file.metadata()?.ino();
        Ok((Self { file }, Name { path, identity }))
    }

    /// What has been published for `job`, perhaps by ranks that are dead now; `NotFound` when nothing has.
    pub fn open(job: &str) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path_of(job))?;
        Ok(Self { file })
    }

    /// The name under which this memory was opened.
    pub fn name(&self, job: &str) -> io::Result<Name> {
        Ok(Name { path: path_of(job), identity: self.file.metadata()?.ino() })
    }

    /// Reads from its start; an error when it is shorter.
    pub fn read_start(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, 0)
    }
}

/// A name that is taken away when this is dropped, unless other memory has taken it over.
pub struct Name {
    path: PathBuf,
    identity: u64,
}

impl Name {
    /// Lets the ranks of `job` find the memory, complete from the first moment; what a dead job left behind is replaced.
    pub fn publish(&mut self, job: &str) -> io::Result<()> {
        let path = path_of(job);
        std::fs::rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }

    /// Takes it away now.
    pub fn withdraw(self) {}
}

impl Drop for Name {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|data| data.ino() == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
