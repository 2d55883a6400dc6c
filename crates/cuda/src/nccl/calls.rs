//! NCCL's functions, as a table like that of the driver's; those that not every version has are looked for and may be absent.

use crate::library::Shared;
use cudarc::nccl::sys::{self, cudaStream_t, ncclComm_t, ncclConfig_t, ncclDataType_t, ncclRedOp_t, ncclResult_t, ncclUniqueId};
use std::ffi::{CStr, c_char, c_int, c_void};

pub(super) const SUCCESS: u32 = ncclResult_t::ncclSuccess as u32;
pub(super) const IN_PROGRESS: u32 = ncclResult_t::ncclInProgress as u32;

macro_rules! calls {
    (always { $($name:ident($($argument:ty),*);)* } maybe { $($later:ident($($given:ty),*);)* }) => {
        /// One function of NCCL each.
        #[allow(non_snake_case)]
        pub(super) struct Calls {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> u32,)*
            $(pub $later: Option<unsafe extern "C" fn($($given),*) -> u32>,)*
            /// Takes the number too, so that it may be one which the enumeration does not have.
            text_of: unsafe extern "C" fn(u32) -> *const c_char,
            last_error: unsafe extern "C" fn(ncclComm_t) -> *const c_char,
        }

        impl Calls {
            /// All of them, or which is missing.
            pub fn find(nccl: &Shared) -> Result<Calls, String> {
                Ok(Calls {
                    // SAFETY: the function has this type, and a library that will do is never closed.
                    $($name: unsafe { nccl.function(stringify!($name)) }?,)*
                    // SAFETY: as above.
                    $($later: unsafe { nccl.function(stringify!($later)) }.ok(),)*
                    // SAFETY: as above.
                    text_of: unsafe { nccl.function("ncclGetErrorString") }?,
                    // SAFETY: as above.
                    last_error: unsafe { nccl.function("ncclGetLastError") }?,
                })
            }
        }

        $(const _: unsafe fn($($argument),*) -> ncclResult_t = sys::$name;)*
        $(const _: unsafe fn($($given),*) -> ncclResult_t = sys::$later;)*
    };
}

calls! {
    always {
        ncclGetUniqueId(*mut ncclUniqueId);
        ncclCommInitRankConfig(*mut ncclComm_t, c_int, ncclUniqueId, c_int, *mut ncclConfig_t);
        ncclCommSplit(ncclComm_t, c_int, c_int, *mut ncclComm_t, *mut ncclConfig_t);
        ncclCommCount(ncclComm_t, *mut c_int);
        ncclCommUserRank(ncclComm_t, *mut c_int);
        ncclCommFinalize(ncclComm_t);
        ncclCommDestroy(ncclComm_t);
        ncclCommAbort(ncclComm_t);
        ncclCommGetAsyncError(ncclComm_t, *mut ncclResult_t);
        ncclGroupStart();
        ncclGroupEnd();
        ncclAllReduce(*const c_void, *mut c_void, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t);
        ncclAllGather(*const c_void, *mut c_void, usize, ncclDataType_t, ncclComm_t, cudaStream_t);
        ncclReduceScatter(*const c_void, *mut c_void, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t);
        ncclBroadcast(*const c_void, *mut c_void, usize, ncclDataType_t, c_int, ncclComm_t, cudaStream_t);
        ncclReduce(*const c_void, *mut c_void, usize, ncclDataType_t, ncclRedOp_t, c_int, ncclComm_t, cudaStream_t);
        ncclSend(*const c_void, usize, ncclDataType_t, c_int, ncclComm_t, cudaStream_t);
        ncclRecv(*mut c_void, usize, ncclDataType_t, c_int, ncclComm_t, cudaStream_t);
    }
    maybe {
        ncclMemAlloc(*mut *mut c_void, usize);
        ncclMemFree(*mut c_void);
        ncclCommRegister(ncclComm_t, *mut c_void, usize, *mut *mut c_void);
        ncclCommDeregister(ncclComm_t, *mut c_void);
    }
}

impl Calls {
    /// What NCCL says of a result, and of what happened last on a communicator, which may be null.
    pub fn words(&self, status: u32, comm: ncclComm_t) -> String {
        // SAFETY: texts of results are constants of the library; the last error is a text that it keeps.
        let [text, last] = unsafe { [(self.text_of)(status), (self.last_error)(comm)] }.map(|text| {
            // SAFETY: both end with a zero, or are null.
            if text.is_null() { String::new() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_owned() }
        });
        let text = if text.is_empty() { format!("result {status}") } else { text };
        if last.is_empty() { text } else { format!("{text}: {last}") }
    }
}
