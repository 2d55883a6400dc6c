//! The driver in the same folder: the other libraries put their work into its streams.

use crate::queue::Visit;

/// Its `fake_cuda_visit`.
pub type Door = extern "C" fn(usize, Visit, usize);

/// Puts work into a stream; where there is no driver it is done at once, or never.
pub fn enqueue(stream: usize, visit: Visit, ticket: usize) {
    match driver() {
        Some(door) => door(stream, visit, ticket),
        None => _ = visit(ticket),
    }
}

#[cfg(target_os = "linux")]
fn driver() -> Option<Door> {
    use std::ffi::{CStr, CString, c_char, c_int, c_void};
    use std::{mem, path::Path, ptr};

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
    let own = unsafe { (dladdr(driver as fn() -> Option<Door> as *const c_void, &mut place) != 0).then(|| CStr::from_ptr(place.file)) };
    let file = Path::new(own?.to_str().ok()?).with_file_name("libcuda.so.1");
    let file = CString::new(file.to_str()?).ok()?;
    // SAFETY: both texts end with a zero; a library that is open stays open, and the function has this type.
    unsafe {
        let library = dlopen(file.as_ptr(), NOW_NO_LOAD);
        let found = if library.is_null() { library } else { dlsym(library, c"fake_cuda_visit".as_ptr()) };
        (!found.is_null()).then(|| mem::transmute::<*mut c_void, Door>(found))
    }
}

#[cfg(not(target_os = "linux"))]
fn driver() -> Option<Door> {
    None
}
