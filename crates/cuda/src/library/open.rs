//! Opening a library by its path, with its symbols visible to those opened after it.

use libloading::Library;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

/// An open library and where it lies. It stays open unless it is closed on purpose: CUDA's libraries leave threads and exit handlers
/// behind, and tables of their functions are good for ever.
pub(crate) struct Shared {
    library: ManuallyDrop<Library>,
    pub path: PathBuf,
}

/// Why a library is not open.
pub(crate) enum Refusal {
    /// There is no such file.
    NotThere,
    /// There is one, and the loader says this of it.
    Broken(String),
}

impl Shared {
    /// Opens the file at `path`.
    pub fn at(path: &Path) -> Result<Shared, Refusal> {
        if !path.is_file() {
            return Err(Refusal::NotThere);
        }
        let library = system::open(path).map_err(Refusal::Broken)?;
        Ok(Shared { library: ManuallyDrop::new(library), path: path.to_owned() })
    }

    /// Opens what the system's loader finds under `name`.
    pub fn named(name: &str) -> Result<Shared, Refusal> {
        let library = system::open(Path::new(name)).map_err(|reason| match reason.contains(&format!("{name}: cannot open")) {
            true => Refusal::NotThere,
            false => Refusal::Broken(reason),
        })?;
        let (library, path) = system::path_of(library);
        Ok(Shared { library: ManuallyDrop::new(library), path: path.unwrap_or_else(|| PathBuf::from(name)) })
    }

    /// Closes a library that will not do, so that its name does not stand for it.
    pub fn close(self) {
        drop(ManuallyDrop::into_inner(self.library));
    }

    /// One of its functions.
    ///
    /// # Safety
    /// `F` is the type of that function, which is not called once the library is closed.
    pub unsafe fn function<F: Copy>(&self, name: &str) -> Result<F, String> {
        // SAFETY: the caller's promise.
        unsafe { self.library.get::<F>(name) }.map(|found| *found).map_err(|_| format!("it has no function {name}"))
    }
}

#[cfg(target_os = "linux")]
mod system {
    use libloading::Library;
    use libloading::os::unix;
    use std::error::Error;
    use std::ffi::{CStr, OsStr, c_char, c_void};
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};
    use std::ptr;

    pub fn open(path: &Path) -> Result<Library, String> {
        // SAFETY: the initialisers of NVIDIA's libraries are meant to be run by this.
        let library = unsafe { unix::Library::open(Some(path), unix::RTLD_LAZY | unix::RTLD_GLOBAL) };
        // The loader's own words are the cause; the error itself only says which function failed.
        library.map(Library::from).map_err(|error| error.source().unwrap_or(&error).to_string())
    }

    /// The first fields of the loader's record of a library.
    #[repr(C)]
    struct Record {
        address: usize,
        name: *const c_char,
    }

    /// Where the loader found a library.
    pub fn path_of(library: Library) -> (Library, Option<PathBuf>) {
        let handle = unix::Library::from(library).into_raw();
        let mut record: *const Record = ptr::null();
        // SAFETY: the handle is open, and the request writes one pointer.
        let status = unsafe { libc::dlinfo(handle, libc::RTLD_DI_LINKMAP, (&raw mut record).cast::<c_void>()) };
        // SAFETY: the loader keeps the record and its name as long as the library is open.
        let name = (status == 0 && !record.is_null()).then(|| unsafe { CStr::from_ptr((*record).name) });
        let path = name.map(|name| PathBuf::from(OsStr::from_bytes(name.to_bytes())));
        // SAFETY: the handle is that of `into_raw` above.
        (unsafe { unix::Library::from_raw(handle) }.into(), path)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use libloading::Library;
    use std::path::{Path, PathBuf};

    pub fn open(path: &Path) -> Result<Library, String> {
        Err(format!("{} is not opened: CUDA is used on Linux", path.display()))
    }

    pub fn path_of(library: Library) -> (Library, Option<PathBuf>) {
        (library, None)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_loader_is_asked_by_name_and_tells_where_it_found_a_library() {
        let found = Shared::named("libc.so.6").ok().unwrap();
        assert!(found.path.is_absolute() && found.path.ends_with("libc.so.6"), "{}", found.path.display());
        assert!(matches!(Shared::named("libmegatron_none.so.1"), Err(Refusal::NotThere)));
    }
}
