//! The driver in the same folder: the other libraries put their work into its streams.

use crate::queue::Visit;
use std::ffi::{CStr, c_void};
use std::mem;

/// Its `fake_cuda_visit`.
pub type Door = extern "C" fn(usize, Visit, usize);

/// Its `cuStreamIsCapturing`.
type Asked = extern "C" fn(usize, *mut u32) -> u32;

/// Puts work into a stream; where there is no driver it is done at once, or never.
pub fn enqueue(stream: usize, visit: Visit, ticket: usize) {
    match driver(c"fake_cuda_visit") {
        // SAFETY: the function has this type.
        Some(door) => unsafe { mem::transmute::<*mut c_void, Door>(door)(stream, visit, ticket) },
        None => _ = visit(ticket),
    }
}

/// Whether what is put into a stream becomes part of a graph, and is then done as often as that is launched.
pub fn is_captured(stream: usize) -> bool {
    let mut answer = 0;
    // SAFETY: the function has this type.
    let asked = driver(c"cuStreamIsCapturing").map(|asked| unsafe { mem::transmute::<*mut c_void, Asked>(asked)(stream, &mut answer) });
    asked == Some(0) && answer != 0
}

#[cfg(target_os = "linux")]
fn driver(symbol: &CStr) -> Option<*mut c_void> {
    use std::ffi::{CString, c_char, c_int};
    use std::{path::Path, ptr};

    #[repr(C)]
    struct Place {
        file: *const c_char,
        base: *mut c_void,
        symbol: *const c_char,
        address: *mut c_void,
    }

    unsafe extern "C" {
        fn dladdr(address: *const c_void, place: *mut Place) -> c_int;
        fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
        fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    }
    /// Opens nothing that is not open.
    const NOW_NO_LOAD: c_int = 2 | 4;

    let mut place = Place { file: ptr::null(), base: ptr::null_mut(), symbol: ptr::null(), address: ptr::null_mut() };
    // SAFETY: the address is that of a function of this library; the file's name lives as long as the library.
    let own = unsafe {
        (dladdr(driver as fn(&CStr) -> Option<*mut c_void> as *const c_void, &mut place) != 0).then(|| CStr::from_ptr(place.file))
    };
    let file = Path::new(own?.to_str().ok()?).with_file_name("libcuda.so.1");
    let file = CString::new(file.to_str()?).ok()?;
    // SAFETY: both texts end with a zero, and a library that is open stays open.
    unsafe {
        let library = dlopen(file.as_ptr(), NOW_NO_LOAD);
        let found = if library.is_null() { library } else { dlsym(library, symbol.as_ptr()) };
        (!found.is_null()).then_some(found)
    }
}

#[cfg(not(target_os = "linux"))]
fn driver(_symbol: &CStr) -> Option<*mut c_void> {
    None
}
