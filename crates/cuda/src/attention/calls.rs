//! cuDNN's functions, as a table like that of the driver's.

use crate::error::{Code, Error};
use crate::library::Shared;
use cudarc::cudnn::sys::{
    self, cudaStream_t, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, cudnnBackendDescriptor_t, cudnnBackendDescriptorType_t,
    cudnnHandle_t, cudnnStatus_t,
};
use std::ffi::{CStr, c_char, c_void};

pub(super) const SUCCESS: u32 = cudnnStatus_t::CUDNN_STATUS_SUCCESS as u32;

/// Room for the library's own words.
const WORDS: usize = 512;

macro_rules! calls {
    ($($name:ident($($argument:ty),*);)*) => {
        /// One function of cuDNN each.
        #[allow(non_snake_case)]
        pub(crate) struct Calls {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) -> u32,)*
            /// Takes the number too, so that it may be one which the enumeration does not have.
            name_of: unsafe extern "C" fn(u32) -> *const c_char,
            words: unsafe extern "C" fn(*mut c_char, usize),
        }

        impl Calls {
            /// All of them, or which is missing.
            pub fn find(library: &Shared) -> Result<Calls, Error> {
                let missing = |reason: String| {
                    let path = library.path.display();
                    let remedy = "Install the Python package nvidia-cudnn-cu13.";
                    Error::new(Code::Library, format!("cuDNN: {path} cannot be used ({reason}). {remedy}"))
                };
                Ok(Calls {
                    // SAFETY: the function has this type, and a library that will do is never closed.
                    $($name: unsafe { library.function(stringify!($name)) }.map_err(missing)?,)*
                    // SAFETY: as above.
                    name_of: unsafe { library.function("cudnnGetErrorString") }.map_err(missing)?,
                    // SAFETY: as above.
                    words: unsafe { library.function("cudnnGetLastErrorString") }.map_err(missing)?,
                })
            }
        }

        $(const _: unsafe fn($($argument),*) -> cudnnStatus_t = sys::$name;)*
    };
}

calls! {
    cudnnCreate(*mut cudnnHandle_t);
    cudnnDestroy(cudnnHandle_t);
    cudnnSetStream(cudnnHandle_t, cudaStream_t);
    cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t, *mut cudnnBackendDescriptor_t);
    cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t);
    cudnnBackendSetAttribute(
        cudnnBackendDescriptor_t, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, i64, *const c_void
    );
    cudnnBackendGetAttribute(
        cudnnBackendDescriptor_t, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, i64, *mut i64, *mut c_void
    );
    cudnnBackendFinalize(cudnnBackendDescriptor_t);
    cudnnBackendExecute(cudnnHandle_t, cudnnBackendDescriptor_t, cudnnBackendDescriptor_t);
}

const _: unsafe fn(*mut c_char, usize) = sys::cudnnGetLastErrorString;

impl Calls {
    /// The name of a result, or its number.
    pub fn result_name(&self, status: u32) -> String {
        // SAFETY: names are constants of the library.
        let name = unsafe { (self.name_of)(status) };
        if name.is_null() {
            return format!("status {status}");
        }
        // SAFETY: as above.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    }

    /// What the library last said of an error on this thread, in one line; it forgets it.
    pub fn last_words(&self) -> String {
        let mut words = vec![0_u8; WORDS];
        // SAFETY: there is room for as many bytes, the last of which stays zero.
        unsafe { (self.words)(words.as_mut_ptr().cast(), WORDS - 1) };
        let text = CStr::from_bytes_until_nul(&words).map(CStr::to_string_lossy).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
