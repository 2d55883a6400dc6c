//! How one kind of product is carried out: its descriptors, and the algorithms that the library proposes.

use super::calls::{Calls, NOT_SUPPORTED, SUCCESS};
use super::descriptor::{Failure, Matrix, Operation, Preference, answered, raw_type};
use super::epilogue::Shape;
use super::key::Key;
use super::product::{Precision, Product};
use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDescAttributes_t as Attribute,
    cublasLtMatmulHeuristicResult_t, cudaStream_t,
};
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;
use storage::DType;

/// An algorithm, and the bytes of workspace that it needs.
#[derive(Clone, Copy)]
pub(super) struct Algorithm {
    raw: cublasLtMatmulAlgo_t,
    pub workspace: usize,
}

/// Where the library runs a product.
#[derive(Clone, Copy)]
pub(super) struct Runner {
    pub handle: cublasLtHandle_t,
    pub stream: cudaStream_t,
    pub workspace: *mut c_void,
}

/// The descriptors of all products with one key.
pub(super) struct Plan {
    calls: Arc<Calls>,
    operation: Operation,
    /// The library's A, B and result: the right factor, the left one and the target, since its columns are our rows.
    matrices: [Matrix; 3],
    is_double: bool,
    /// Best first; the one that was chosen is the first.
    pub algorithms: Vec<Algorithm>,
}

// SAFETY: the library's descriptors may be used on any thread, one at a time: the cache's lock sees to that.
unsafe impl Send for Plan {}

fn compute_type(factors: DType, precision: Precision) -> cublasComputeType_t {
    match (factors, precision) {
        (DType::F64, _) => cublasComputeType_t::CUBLAS_COMPUTE_64F,
        (_, Precision::Tf32) => cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        _ => cublasComputeType_t::CUBLAS_COMPUTE_32F,
    }
}

/// What the library calls a matrix as it is, and its transpose.
fn operation_of(is_transposed: bool) -> u32 {
    is_transposed.into()
}

/// What the library proposes, with the status as a number: a newer one has more of them than its enumeration here.
#[repr(C)]
#[derive(Clone, Copy)]
struct Proposal {
    algorithm: cublasLtMatmulAlgo_t,
    workspace: usize,
    status: u32,
    waves: f32,
    reserved: [c_int; 4],
}

const _: () = assert!(size_of::<Proposal>() == size_of::<cublasLtMatmulHeuristicResult_t>());

/// A scale, as the type of the sums wants it.
union Scale {
    single: f32,
    double: f64,
}

impl Scale {
    fn of(value: f32, is_double: bool) -> Scale {
        if is_double { Scale { double: value.into() } } else { Scale { single: value } }
    }
}

impl Plan {
    /// The descriptors of `key`, and up to `most` algorithms that need no more than `workspace` bytes.
    pub fn new(calls: &Arc<Calls>, handle: cublasLtHandle_t, key: &Key, (most, workspace): (usize, usize)) -> Result<Plan, Failure> {
        let is_double = key.factors == DType::F64;
        let scale = if is_double { DType::F64 } else { DType::F32 };
        let operation = Operation::new(calls, compute_type(key.factors, key.precision), scale)?;
        operation.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, operation_of(key.is_transposed[1]))?;
        operation.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, operation_of(key.is_transposed[0]))?;
        if key.epilogue != Shape::None {
            operation.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, key.epilogue.raw())?;
            operation.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, raw_type(key.target))?;
        }
        if matches!(key.epilogue, Shape::Gelu | Shape::GeluBias | Shape::GeluGradient | Shape::GeluBiasGradient) {
            // What is saved has rows that follow each other, however the target lies.
            operation.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, key.layouts[2].rows as i64)?;
        }
        let [left, right, target] = &key.layouts;
        let matrices = [
            Matrix::new(calls, key.factors, right, key.batches)?,
            Matrix::new(calls, key.factors, left, key.batches)?,
            Matrix::new(calls, key.target, target, key.batches)?,
        ];
        let mut plan = Plan { calls: Arc::clone(calls), operation, matrices, is_double, algorithms: Vec::new() };
        let [left, right, target] = key.alignment;
        plan.ask(handle, &Preference::new(calls, workspace, [right, left, target])?, most)?;
        Ok(plan)
    }

    fn ask(&mut self, handle: cublasLtHandle_t, preference: &Preference, most: usize) -> Result<(), Failure> {
        let empty =
            Proposal { algorithm: cublasLtMatmulAlgo_t { data: [0; 8] }, workspace: 0, status: SUCCESS, waves: 0.0, reserved: [0; 4] };
        let (mut found, mut count) = (vec![empty; most.max(1)], 0);
        let [a, b, d] = &self.matrices;
        let room = c_int::try_from(found.len()).unwrap_or(c_int::MAX);
        // SAFETY: all descriptors live, and no more results are written than there is room for.
        let status = unsafe {
            (self.calls.cublasLtMatmulAlgoGetHeuristic)(
                handle,
                self.operation.raw,
                a.raw,
                b.raw,
                d.raw,
                d.raw,
                preference.raw,
                room,
                found.as_mut_ptr().cast(),
                &mut count,
            )
        };
        answered("cublasLtMatmulAlgoGetHeuristic", status)?;
        let told = found.iter().take(usize::try_from(count).unwrap_or(0));
        let usable = told.filter(|result| result.status == SUCCESS);
        self.algorithms = usable.map(|result| Algorithm { raw: result.algorithm, workspace: result.workspace }).collect();
        if self.algorithms.is_empty() { Err(("cublasLtMatmulAlgoGetHeuristic", NOT_SUPPORTED)) } else { Ok(()) }
    }

    /// Asks the stream to compute `product`, whose key is that of this plan, into `target`.
    pub fn run(&self, runner: Runner, product: &Product, algorithm: &Algorithm, target: *mut c_void) -> Result<(), Failure> {
        if let Some(vector) = product.epilogue.vector() {
            self.operation.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector.raw())?;
        }
        if let Some(saved) = product.epilogue.saved() {
            self.operation.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, saved.raw())?;
        }
        let [scale, keep] = [product.scale, product.keep].map(|value| Scale::of(value, self.is_double));
        let [a, b, d] = &self.matrices;
        let (left, right) = (product.left.part.raw(), product.right.part.raw());
        let workspace = if algorithm.workspace == 0 { ptr::null_mut() } else { runner.workspace };
        // SAFETY: the memory was checked against the layouts and is used in the order of the stream; the scales are read before this
        // returns.
        let status = unsafe {
            (self.calls.cublasLtMatmul)(
                runner.handle,
                self.operation.raw,
                (&raw const scale).cast(),
                right,
                a.raw,
                left,
                b.raw,
                (&raw const keep).cast(),
                target,
                d.raw,
                target,
                d.raw,
                &algorithm.raw,
                workspace,
                algorithm.workspace,
                runner.stream,
            )
        };
        answered("cublasLtMatmul", status)
    }
}
