//! Handles and descriptors: each is a box, and an attribute is a field of it.

use super::INVALID_VALUE;
use crate::state::{call, give};
use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::ptr;

/// What is computed.
pub struct Operation {
    pub compute: u32,
    pub scale: u32,
    /// By the number of the attribute.
    pub attributes: BTreeMap<u32, u64>,
}

impl Operation {
    pub fn get(&self, attribute: u32) -> u64 {
        self.attributes.get(&attribute).copied().unwrap_or(0)
    }
}

/// How a matrix lies.
#[derive(Clone)]
pub struct Matrix {
    pub dtype: u32,
    pub rows: u64,
    pub columns: u64,
    pub lead: i64,
    pub attributes: BTreeMap<u32, u64>,
}

const BATCHES: u32 = 5;
const STEP: u32 = 6;

impl Matrix {
    pub fn batches(&self) -> u64 {
        self.attributes.get(&BATCHES).copied().unwrap_or(1)
    }

    pub fn step(&self) -> u64 {
        self.attributes.get(&STEP).copied().unwrap_or(0)
    }
}

/// What an algorithm may need.
#[derive(Default)]
pub struct Preference(pub BTreeMap<u32, u64>);

/// The number that lies at `place`.
///
/// # Safety
/// `bytes` bytes may be read there.
unsafe fn number(place: *const c_void, bytes: usize) -> Option<u64> {
    // SAFETY: the caller's promise.
    unsafe {
        match bytes {
            4 => Some(place.cast::<u32>().read_unaligned().into()),
            8 => Some(place.cast::<u64>().read_unaligned()),
            _ => None,
        }
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtGetStatusName(status: u32) -> *const c_char {
    let name = match status {
        0 => c"CUBLAS_STATUS_SUCCESS",
        1 => c"CUBLAS_STATUS_NOT_INITIALIZED",
        3 => c"CUBLAS_STATUS_ALLOC_FAILED",
        7 => c"CUBLAS_STATUS_INVALID_VALUE",
        13 => c"CUBLAS_STATUS_EXECUTION_FAILED",
        15 => c"CUBLAS_STATUS_NOT_SUPPORTED",
        _ => return ptr::null(),
    };
    name.as_ptr()
}

/// # Safety
/// As in cuBLASLt, for all functions below.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtCreate(handle: *mut *mut c_void) -> u32 {
    call("cublasLtCreate", |state| {
        state.note("create".into());
        // SAFETY: the caller's promise.
        unsafe { give(handle, ptr::without_provenance_mut(0x7000)) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cublasLtDestroy(_handle: *mut c_void) -> u32 {
    call("cublasLtDestroy", |state| {
        let open = state.descriptors;
        state.note(format!("destroy with {open} descriptors"));
        0
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatmulDescCreate(place: *mut *mut Operation, compute: u32, scale: u32) -> u32 {
    call("cublasLtMatmulDescCreate", |state| {
        state.descriptors += 1;
        let made = Operation { compute, scale, attributes: BTreeMap::new() };
        // SAFETY: the caller's promise.
        unsafe { give(place, Box::into_raw(Box::new(made))) }
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatmulDescSetAttribute(to: *mut Operation, which: u32, place: *const c_void, bytes: usize) -> u32 {
    call("cublasLtMatmulDescSetAttribute", |_| {
        // SAFETY: the caller's promise.
        let Some(value) = (unsafe { number(place, bytes) }) else { return INVALID_VALUE };
        // SAFETY: as above.
        unsafe { &mut *to }.attributes.insert(which, value);
        0
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatmulDescDestroy(descriptor: *mut Operation) -> u32 {
    call("cublasLtMatmulDescDestroy", |state| {
        state.descriptors -= 1;
        // SAFETY: it came from `into_raw`.
        drop(unsafe { Box::from_raw(descriptor) });
        0
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatrixLayoutCreate(place: *mut *mut Matrix, dtype: u32, rows: u64, columns: u64, lead: i64) -> u32 {
    call("cublasLtMatrixLayoutCreate", |state| {
        state.descriptors += 1;
        let made = Matrix { dtype, rows, columns, lead, attributes: BTreeMap::new() };
        // SAFETY: the caller's promise.
        unsafe { give(place, Box::into_raw(Box::new(made))) }
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatrixLayoutSetAttribute(to: *mut Matrix, which: u32, place: *const c_void, bytes: usize) -> u32 {
    call("cublasLtMatrixLayoutSetAttribute", |_| {
        // SAFETY: the caller's promise.
        let Some(value) = (unsafe { number(place, bytes) }) else { return INVALID_VALUE };
        // SAFETY: as above.
        unsafe { &mut *to }.attributes.insert(which, value);
        0
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatrixLayoutDestroy(descriptor: *mut Matrix) -> u32 {
    call("cublasLtMatrixLayoutDestroy", |state| {
        state.descriptors -= 1;
        // SAFETY: it came from `into_raw`.
        drop(unsafe { Box::from_raw(descriptor) });
        0
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatmulPreferenceCreate(place: *mut *mut Preference) -> u32 {
    call("cublasLtMatmulPreferenceCreate", |state| {
        state.descriptors += 1;
        // SAFETY: the caller's promise.
        unsafe { give(place, Box::into_raw(Box::default())) }
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatmulPreferenceSetAttribute(to: *mut Preference, which: u32, place: *const c_void, bytes: usize) -> u32 {
    call("cublasLtMatmulPreferenceSetAttribute", |_| {
        // SAFETY: the caller's promise.
        let Some(value) = (unsafe { number(place, bytes) }) else { return INVALID_VALUE };
        // SAFETY: as above.
        unsafe { &mut *to }.0.insert(which, value);
        0
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cublasLtMatmulPreferenceDestroy(descriptor: *mut Preference) -> u32 {
    call("cublasLtMatmulPreferenceDestroy", |state| {
        state.descriptors -= 1;
        // SAFETY: it came from `into_raw`.
        drop(unsafe { Box::from_raw(descriptor) });
        0
    })
}
