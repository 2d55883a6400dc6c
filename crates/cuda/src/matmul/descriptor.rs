//! The library's descriptors, each ended when dropped.

use super::calls::{Calls, SUCCESS};
use super::product::Layout;
use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, cublasLtMatmulPreference_t,
    cublasLtMatmulPreferenceAttributes_t, cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t, cudaDataType_t,
};
use std::ptr;
use std::sync::Arc;
use storage::DType;

/// The name of the call that failed, and its status.
pub(super) type Failure = (&'static str, u32);

pub(super) fn answered(call: &'static str, status: u32) -> Result<(), Failure> {
    if status == SUCCESS { Ok(()) } else { Err((call, status)) }
}

/// What the library calls a type; other types are refused before.
pub(super) fn raw_type(dtype: DType) -> cudaDataType_t {
    match dtype {
        DType::BF16 => cudaDataType_t::CUDA_R_16BF,
        DType::F16 => cudaDataType_t::CUDA_R_16F,
        DType::F64 => cudaDataType_t::CUDA_R_64F,
        _ => cudaDataType_t::CUDA_R_32F,
    }
}

/// What is computed.
pub(super) struct Operation {
    calls: Arc<Calls>,
    pub raw: cublasLtMatmulDesc_t,
}

impl Operation {
    pub fn new(calls: &Arc<Calls>, compute: cublasComputeType_t, scale: DType) -> Result<Operation, Failure> {
        let mut raw = ptr::null_mut();
        // SAFETY: one handle is written.
        answered("cublasLtMatmulDescCreate", unsafe { (calls.cublasLtMatmulDescCreate)(&mut raw, compute, raw_type(scale)) })?;
        Ok(Operation { calls: Arc::clone(calls), raw })
    }

    /// Sets an attribute, whose value has the size of `V`.
    pub fn set<V: Copy>(&self, attribute: cublasLtMatmulDescAttributes_t, value: V) -> Result<(), Failure> {
        let (place, bytes) = ((&raw const value).cast(), size_of::<V>());
        // SAFETY: the descriptor lives, and the value has so many bytes, which are copied.
        let status = unsafe { (self.calls.cublasLtMatmulDescSetAttribute)(self.raw, attribute, place, bytes) };
        answered("cublasLtMatmulDescSetAttribute", status)
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: the descriptor lives, and nobody uses it any more.
        unsafe { (self.calls.cublasLtMatmulDescDestroy)(self.raw) };
    }
}

/// How a matrix lies.
pub(super) struct Matrix {
    calls: Arc<Calls>,
    pub raw: cublasLtMatrixLayout_t,
}

impl Matrix {
    pub fn new(calls: &Arc<Calls>, dtype: DType, layout: &Layout, batches: usize) -> Result<Matrix, Failure> {
        let Layout { rows, columns, lead, step } = *layout;
        let mut raw = ptr::null_mut();
        // SAFETY: one handle is written.
        let status = unsafe { (calls.cublasLtMatrixLayoutCreate)(&mut raw, raw_type(dtype), rows as u64, columns as u64, lead as i64) };
        answered("cublasLtMatrixLayoutCreate", status)?;
        let matrix = Matrix { calls: Arc::clone(calls), raw };
        if batches > 1 {
            let count = i32::try_from(batches).unwrap_or(i32::MAX);
            matrix.set(cublasLtMatrixLayoutAttribute_t::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count)?;
            matrix.set(cublasLtMatrixLayoutAttribute_t::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, step as i64)?;
        }
        Ok(matrix)
    }

    fn set<V: Copy>(&self, attribute: cublasLtMatrixLayoutAttribute_t, value: V) -> Result<(), Failure> {
        let (place, bytes) = ((&raw const value).cast(), size_of::<V>());
        // SAFETY: the layout lives, and the value has so many bytes, which are copied.
        let status = unsafe { (self.calls.cublasLtMatrixLayoutSetAttribute)(self.raw, attribute, place, bytes) };
        answered("cublasLtMatrixLayoutSetAttribute", status)
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        // SAFETY: the layout lives, and nobody uses it any more.
        unsafe { (self.calls.cublasLtMatrixLayoutDestroy)(self.raw) };
    }
}

/// What an algorithm may need.
pub(super) struct Preference {
    calls: Arc<Calls>,
    pub raw: cublasLtMatmulPreference_t,
}

impl Preference {
    /// `alignment` is that of the operands A, B, and of the result.
    pub fn new(calls: &Arc<Calls>, workspace: usize, alignment: [u32; 3]) -> Result<Preference, Failure> {
        use cublasLtMatmulPreferenceAttributes_t as Attribute;
        let mut raw = ptr::null_mut();
        // SAFETY: one handle is written.
        answered("cublasLtMatmulPreferenceCreate", unsafe { (calls.cublasLtMatmulPreferenceCreate)(&mut raw) })?;
        let preference = Preference { calls: Arc::clone(calls), raw };
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace as u64)?;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment[0])?;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment[1])?;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment[2])?;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment[2])?;
        Ok(preference)
    }

    fn set<V: Copy>(&self, attribute: cublasLtMatmulPreferenceAttributes_t, value: V) -> Result<(), Failure> {
        let (place, bytes) = ((&raw const value).cast(), size_of::<V>());
        // SAFETY: the preference lives, and the value has so many bytes, which are copied.
        let status = unsafe { (self.calls.cublasLtMatmulPreferenceSetAttribute)(self.raw, attribute, place, bytes) };
        answered("cublasLtMatmulPreferenceSetAttribute", status)
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: the preference lives, and nobody uses it any more.
        unsafe { (self.calls.cublasLtMatmulPreferenceDestroy)(self.raw) };
    }
}
