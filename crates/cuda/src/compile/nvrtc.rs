//! NVRTC's functions, as a table like that of the driver's.

use crate::error::{Code, Error};
use crate::library::{Shared, Version};
use cudarc::nvrtc::sys::{self, nvrtcProgram, nvrtcResult};
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

macro_rules! calls {
    ($($name:ident($($argument:ty),*);)*) => {
        #[allow(non_snake_case)]
        struct Calls {
            $($name: unsafe extern "C" fn($($argument),*) -> u32,)*
        }

        impl Calls {
            fn find(nvrtc: &Shared) -> Result<Calls, String> {
                Ok(Calls {
                    // SAFETY: the function has this type, and a library that will do is never closed.
                    $($name: unsafe { nvrtc.function(stringify!($name)) }?,)*
                })
            }
        }

        $(const _: unsafe fn($($argument),*) -> nvrtcResult = sys::$name;)*
    };
}

calls! {
    nvrtcVersion(*mut c_int, *mut c_int);
    nvrtcCreateProgram(*mut nvrtcProgram, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char);
    nvrtcCompileProgram(nvrtcProgram, c_int, *const *const c_char);
    nvrtcGetCUBINSize(nvrtcProgram, *mut usize);
    nvrtcGetCUBIN(nvrtcProgram, *mut c_char);
    nvrtcGetProgramLogSize(nvrtcProgram, *mut usize);
    nvrtcGetProgramLog(nvrtcProgram, *mut c_char);
    nvrtcDestroyProgram(*mut nvrtcProgram);
}

/// The compiler, open.
pub(crate) struct Nvrtc {
    calls: Calls,
    pub version: Version,
}

impl Nvrtc {
    pub fn of(library: &Shared) -> Result<Nvrtc, Error> {
        let calls = Calls::find(library).map_err(|reason| {
            let path = library.path.display();
            Error::new(Code::Library, format!("NVRTC: {path} cannot be used ({reason}). Install NVRTC of CUDA 13."))
        })?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: two numbers are written.
        unsafe { (calls.nvrtcVersion)(&mut major, &mut minor) };
        let version = Version { major: major.unsigned_abs(), minor: minor.unsigned_abs(), patch: None };
        Ok(Nvrtc { calls, version })
    }

    /// What runs on a device, from a text. The error has the compiler's own words.
    pub fn compile(&self, name: &str, text: &str, options: &[String]) -> Result<Vec<u8>, Error> {
        let program = Program::new(&self.calls, name, text)?;
        let words = options.iter().map(|option| c_string(name, option)).collect::<Result<Vec<_>, _>>()?;
        let places: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
        let count = c_int::try_from(places.len()).unwrap_or(c_int::MAX);
        // SAFETY: the program lives, and so do the options.
        let status = unsafe { (self.calls.nvrtcCompileProgram)(program.raw, count, places.as_ptr()) };
        if status != 0 {
            let log = program.log();
            let message = format!(
                "kernel {name}: NVRTC {} does not compile it with {} (status {status}). Correct its text: {}",
                self.version,
                options.join(" "),
                log.trim()
            );
            return Err(Error::new(Code::Compile, message));
        }
        program.cubin(name)
    }
}

fn c_string(name: &str, text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::new(Code::Compile, format!("kernel {name}: its text or an option holds a zero byte. Remove it.")))
}

/// A program of the compiler.
struct Program<'a> {
    calls: &'a Calls,
    raw: nvrtcProgram,
}

impl<'a> Program<'a> {
    fn new(calls: &'a Calls, name: &str, text: &str) -> Result<Program<'a>, Error> {
        let (file, text) = (c_string(name, name)?, c_string(name, text)?);
        let mut raw = ptr::null_mut();
        // SAFETY: both texts end with a zero, and there are no headers.
        let status = unsafe { (calls.nvrtcCreateProgram)(&mut raw, text.as_ptr(), file.as_ptr(), 0, ptr::null(), ptr::null()) };
        if status != 0 {
            return Err(Error::new(Code::Compile, format!("kernel {name}: NVRTC takes no program (status {status}). Free memory.")));
        }
        Ok(Program { calls, raw })
    }

    fn cubin(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = 0;
        // SAFETY: one number is written.
        let sized = unsafe { (self.calls.nvrtcGetCUBINSize)(self.raw, &mut bytes) };
        let mut cubin = vec![0u8; bytes];
        // SAFETY: there is room for what was promised.
        let status = if sized == 0 { unsafe { (self.calls.nvrtcGetCUBIN)(self.raw, cubin.as_mut_ptr().cast()) } } else { sized };
        if status == 0 && bytes > 0 {
            return Ok(cubin);
        }
        let message = format!("kernel {name}: NVRTC made nothing for this device (status {status}). Use an NVRTC that knows it.");
        Err(Error::new(Code::Compile, message))
    }

    fn log(&self) -> String {
        let mut bytes = 0;
        // SAFETY: one number is written.
        if unsafe { (self.calls.nvrtcGetProgramLogSize)(self.raw, &mut bytes) } != 0 {
            return String::new();
        }
        let mut text = vec![0u8; bytes + 1];
        // SAFETY: there is room for what was promised.
        if unsafe { (self.calls.nvrtcGetProgramLog)(self.raw, text.as_mut_ptr().cast()) } != 0 {
            return String::new();
        }
        CStr::from_bytes_until_nul(&text).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: the program lives, and nobody uses it any more.
        unsafe { (self.calls.nvrtcDestroyProgram)(&mut self.raw) };
    }
}
