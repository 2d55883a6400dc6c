//! The driver's functions, as a table that is filled from the library that our own search found.
//!
//! The types are those of cudarc's bindings, and each line is checked against them when this compiles. Only the result is read as the
//! number that it is: a newer driver returns codes that the enumeration does not have.

use crate::error::{Code, Error};
use crate::library::Shared;
use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdevice_attribute, CUdeviceptr, CUevent, CUfunction, CUfunction_attribute, CUgraph, CUgraphExec,
    CUmemPool_attribute, CUmemoryPool, CUmodule, CUresult, CUstream, CUstreamCaptureMode, CUstreamCaptureStatus,
};
use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_ulonglong, c_void};
use std::ptr;

pub(crate) const SUCCESS: u32 = CUresult::CUDA_SUCCESS as u32;
pub(crate) const OUT_OF_MEMORY: u32 = CUresult::CUDA_ERROR_OUT_OF_MEMORY as u32;
pub(crate) const NOT_READY: u32 = CUresult::CUDA_ERROR_NOT_READY as u32;
pub(crate) const NO_DEVICE: u32 = CUresult::CUDA_ERROR_NO_DEVICE as u32;

macro_rules! calls {
    ($($name:ident($($argument:ty),*);)*) => {
        /// One function of the driver each.
        #[allow(non_snake_case)]
        pub(crate) struct Calls {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> u32,)*
            /// Takes the number too, so that it may be one which the enumeration does not have.
            name_of: unsafe extern "C" fn(u32, *mut *const c_char) -> u32,
        }

        impl Calls {
            /// All of them, or which is missing.
            pub fn find(driver: &Shared) -> Result<Calls, Error> {
                let missing = |reason: String| {
                    let path = driver.path.display();
                    Error::new(Code::Library, format!("CUDA driver: {path} cannot be used ({reason}). Install NVIDIA's driver 580 or newer."))
                };
                Ok(Calls {
                    // SAFETY: the function has this type, and a library that will do is never closed.
                    $($name: unsafe { driver.function(stringify!($name)) }.map_err(missing)?,)*
                    // SAFETY: as above.
                    name_of: unsafe { driver.function("cuGetErrorName") }.map_err(missing)?,
                })
            }
        }

        $(const _: unsafe fn($($argument),*) -> CUresult = sys::$name;)*
    };
}

calls! {
    cuInit(c_uint);
    cuDeviceGetCount(*mut c_int);
    cuDeviceGet(*mut CUdevice, c_int);
    cuDeviceGetName(*mut c_char, c_int, CUdevice);
    cuDeviceTotalMem_v2(*mut usize, CUdevice);
    cuDeviceGetAttribute(*mut c_int, CUdevice_attribute, CUdevice);
    cuDevicePrimaryCtxRetain(*mut CUcontext, CUdevice);
    cuDevicePrimaryCtxRelease_v2(CUdevice);
    cuCtxSetCurrent(CUcontext);
    cuCtxGetStreamPriorityRange(*mut c_int, *mut c_int);
    cuStreamCreateWithPriority(*mut CUstream, c_uint, c_int);
    cuStreamDestroy_v2(CUstream);
    cuStreamSynchronize(CUstream);
    cuStreamWaitEvent(CUstream, CUevent, c_uint);
    cuEventCreate(*mut CUevent, c_uint);
    cuEventRecord(CUevent, CUstream);
    cuEventQuery(CUevent);
    cuEventSynchronize(CUevent);
    cuEventElapsedTime_v2(*mut f32, CUevent, CUevent);
    cuEventDestroy_v2(CUevent);
    cuDeviceGetDefaultMemPool(*mut CUmemoryPool, CUdevice);
    cuMemPoolSetAttribute(CUmemoryPool, CUmemPool_attribute, *mut c_void);
    cuMemPoolGetAttribute(CUmemoryPool, CUmemPool_attribute, *mut c_void);
    cuMemPoolTrimTo(CUmemoryPool, usize);
    cuMemAllocAsync(*mut CUdeviceptr, usize, CUstream);
    cuMemFreeAsync(CUdeviceptr, CUstream);
    cuMemGetInfo_v2(*mut usize, *mut usize);
    cuMemcpyHtoDAsync_v2(CUdeviceptr, *const c_void, usize, CUstream);
    cuMemcpyDtoHAsync_v2(*mut c_void, CUdeviceptr, usize, CUstream);
    cuMemcpyDtoDAsync_v2(CUdeviceptr, CUdeviceptr, usize, CUstream);
    cuMemsetD8Async(CUdeviceptr, c_uchar, usize, CUstream);
    cuMemsetD32Async(CUdeviceptr, c_uint, usize, CUstream);
    cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
    cuMemFreeHost(*mut c_void);
    cuStreamBeginCapture_v2(CUstream, CUstreamCaptureMode);
    cuStreamEndCapture(CUstream, *mut CUgraph);
    cuStreamIsCapturing(CUstream, *mut CUstreamCaptureStatus);
    cuGraphInstantiateWithFlags(*mut CUgraphExec, CUgraph, c_ulonglong);
    cuGraphLaunch(CUgraphExec, CUstream);
    cuGraphExecDestroy(CUgraphExec);
    cuGraphDestroy(CUgraph);
    cuModuleLoadData(*mut CUmodule, *const c_void);
    cuModuleUnload(CUmodule);
    cuModuleGetFunction(*mut CUfunction, CUmodule, *const c_char);
    cuFuncSetAttribute(CUfunction, CUfunction_attribute, c_int);
    cuLaunchKernel(
        CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void, *mut *mut c_void
    );
}

impl Calls {
    /// The name of a result, or its number.
    pub fn result_name(&self, status: u32) -> String {
        let mut name = ptr::null();
        // SAFETY: one pointer is written.
        let found = unsafe { (self.name_of)(status, &mut name) };
        if found != SUCCESS || name.is_null() {
            return format!("CUDA error {status}");
        }
        // SAFETY: names are constants of the driver.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    }
}
