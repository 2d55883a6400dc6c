//! cuBLASLt's functions, as a table like that of the driver's.

use crate::error::{Code, Error};
use crate::library::Shared;
use cudarc::cublaslt::sys::{
    self, cublasComputeType_t, cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t,
    cublasLtMatmulHeuristicResult_t, cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, cublasLtMatrixLayout_t,
    cublasLtMatrixLayoutAttribute_t, cublasStatus_t, cudaDataType, cudaStream_t,
};
use std::ffi::{CStr, c_char, c_int, c_void};

pub(super) const SUCCESS: u32 = cublasStatus_t::CUBLAS_STATUS_SUCCESS as u32;
pub(super) const NOT_SUPPORTED: u32 = cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED as u32;

macro_rules! calls {
    ($($name:ident($($argument:ty),*);)*) => {
        /// One function of cuBLASLt each.
        #[allow(non_snake_case)]
        pub(crate) struct Calls {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) -> u32,)*
            /// Takes the number too, so that it may be one which the enumeration does not have.
            name_of: unsafe extern "C" fn(u32) -> *const c_char,
        }

        impl Calls {
            /// All of them, or which is missing.
            pub fn find(library: &Shared) -> Result<Calls, Error> {
                let missing = |reason: String| {
                    let path = library.path.display();
                    let remedy = "Install the Python package nvidia-cublas of CUDA 13.";
                    Error::new(Code::Library, format!("cuBLASLt: {path} cannot be used ({reason}). {remedy}"))
                };
                Ok(Calls {
                    // SAFETY: the function has this type, and a library that will do is never closed.
                    $($name: unsafe { library.function(stringify!($name)) }.map_err(missing)?,)*
                    // SAFETY: as above.
                    name_of: unsafe { library.function("cublasLtGetStatusName") }.map_err(missing)?,
                })
            }
        }

        $(const _: unsafe fn($($argument),*) -> cublasStatus_t = sys::$name;)*
    };
}

calls! {
    cublasLtCreate(*mut cublasLtHandle_t);
    cublasLtDestroy(cublasLtHandle_t);
    cublasLtMatmulDescCreate(*mut cublasLtMatmulDesc_t, cublasComputeType_t, cudaDataType);
    cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t);
    cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, *const c_void, usize);
    cublasLtMatrixLayoutCreate(*mut cublasLtMatrixLayout_t, cudaDataType, u64, u64, i64);
    cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t);
    cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t, *const c_void, usize);
    cublasLtMatmulPreferenceCreate(*mut cublasLtMatmulPreference_t);
    cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t);
    cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, *const c_void, usize);
    cublasLtMatmulAlgoGetHeuristic(
        cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
        cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, c_int, *mut cublasLtMatmulHeuristicResult_t, *mut c_int
    );
    cublasLtMatmul(
        cublasLtHandle_t, cublasLtMatmulDesc_t, *const c_void, *const c_void, cublasLtMatrixLayout_t, *const c_void,
        cublasLtMatrixLayout_t, *const c_void, *const c_void, cublasLtMatrixLayout_t, *mut c_void, cublasLtMatrixLayout_t,
        *const cublasLtMatmulAlgo_t, *mut c_void, usize, cudaStream_t
    );
}

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
}
