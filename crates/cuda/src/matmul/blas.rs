//! cuBLASLt in one stream of a device.

use super::cache::Plans;
use super::calls::{Calls, NOT_SUPPORTED, SUCCESS};
use super::choice::{Choice, Trouble, sort_by_time};
use super::descriptor::Failure;
use super::key::Key;
use super::plan::{Plan, Runner};
use super::product::Product;
use crate::driver::{Device, Stream};
use crate::error::{Code, Error};
use crate::memory::Block;
use cudarc::cublaslt::sys::cublasLtHandle_t;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use storage::Category;

/// Bytes of workspace: what Hopper's algorithms want, and what is enough before it.
const WORKSPACE: [usize; 2] = [4 << 20, 32 << 20];
/// The first generation that wants more.
const HOPPER: u32 = 9;

/// Matrix products in one stream, with a workspace of their own: products in one stream follow each other, and may share it.
pub struct Blas {
    device: Device,
    stream: Stream,
    raw: cublasLtHandle_t,
    workspace: Block,
    choice: Choice,
    plans: Mutex<Plans>,
    runs: AtomicU64,
}

// SAFETY: the library's handle may be used on any thread.
unsafe impl Send for Blas {}
// SAFETY: as above; plans are behind a lock.
unsafe impl Sync for Blas {}

impl Blas {
    /// Opens the library for a stream, and takes its workspace: nothing is taken later, while a graph is captured.
    pub fn open(device: &Device, stream: Stream, choice: Choice) -> Result<Blas, Error> {
        let bytes = WORKSPACE[usize::from(device.report().compute_capability.0 >= HOPPER)];
        let outside = Category::Workspace.make_current();
        let workspace = Block::new(device, stream, bytes);
        outside.make_current();
        let (workspace, mut raw) = (workspace?, ptr::null_mut());
        device.enter()?;
        let calls = &device.toolkit().blas;
        // SAFETY: one handle is written.
        let status = unsafe { (calls.cublasLtCreate)(&mut raw) };
        if status != SUCCESS {
            let (index, result) = (device.report().index, calls.result_name(status));
            let message = format!("device {index}: cublasLtCreate fails with {result}. Free memory, and see whether the library is whole.");
            return Err(Error::new(Code::Product, message));
        }
        Ok(Blas { device: device.clone(), stream, raw, workspace, choice, plans: Mutex::default(), runs: AtomicU64::new(0) })
    }

    /// Asks the stream for a product. A product without elements asks for nothing; one whose inner dimension is 0 is all zeros.
    pub fn run(&self, product: &Product) -> Result<(), Error> {
        product.check(&self.device)?;
        if product.batches == 0 || product.rows == 0 || product.columns == 0 {
            return Ok(());
        }
        if product.inner == 0 {
            return self.fill(product);
        }
        self.device.enter()?;
        let workspace = ptr::without_provenance_mut(self.workspace.address() as usize);
        let runner = Runner { handle: self.raw, stream: self.device.raw(self.stream).cast(), workspace };
        let mut plans = self.held();
        let made = plans.get_or_make(Key::of(product), || self.plan(product, runner));
        let result = made.and_then(|plan| Ok(plan.run(runner, product, &plan.algorithms[0], product.target.part.raw())?));
        drop(plans);
        self.runs.fetch_add(1, Relaxed);
        result.map_err(|trouble| self.told(product, trouble))
    }

    /// Asks the stream for several products that may differ in their shapes, as those of experts with their tokens do.
    pub fn run_grouped(&self, products: &[Product]) -> Result<(), Error> {
        products.iter().try_for_each(|product| product.check(&self.device))?;
        products.iter().try_for_each(|product| self.run(product))
    }

    /// Products that the library was asked for so far.
    pub fn runs(&self) -> u64 {
        self.runs.load(Relaxed)
    }

    /// Plans made so far.
    pub fn plans_made(&self) -> u64 {
        self.held().made
    }

    fn held(&self) -> MutexGuard<'_, Plans> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> &Arc<Calls> {
        &self.device.toolkit().blas
    }

    fn plan(&self, product: &Product, runner: Runner) -> Result<Plan, Trouble> {
        let limits = (self.choice.candidates(), self.workspace.len());
        let mut plan = Plan::new(self.calls(), self.raw, &Key::of(product), limits)?;
        // What was captured has not run: nothing can be timed.
        if !self.device.captures_here() {
            sort_by_time(&mut plan, runner, product, (&self.device, self.stream))?;
        }
        Ok(plan)
    }

    /// A sum of nothing.
    fn fill(&self, product: &Product) -> Result<(), Error> {
        let dense = product.target.row.is_none() && product.batches == 1;
        match (product.keep, product.epilogue.vector().is_none() && product.epilogue.saved().is_none()) {
            (1.0, true) => Ok(()),
            (0.0, true) if dense => product.target.part.fill_zero(self.stream, product.rows * product.columns),
            _ => Err(product.error(Code::Refused, "there is nothing to sum, and more to do than to leave or to clear. Skip it.")),
        }
    }

    fn told(&self, product: &Product, trouble: Trouble) -> Error {
        let (call, status): Failure = match trouble {
            Trouble::Device(error) => return error,
            Trouble::Library(failure) => failure,
        };
        let result = self.calls().result_name(status);
        let remedy = match status {
            NOT_SUPPORTED => "There is no algorithm for it: use sizes and addresses that are multiples of 16 bytes, or no epilogue.",
            _ => "See what the device has told before, and run again with CUBLASLT_LOG_LEVEL=5.",
        };
        product.error(Code::Product, &format!("{call} fails with {result}. {remedy}"))
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        self.held().clear();
        // SAFETY: the handle lives, and nobody uses it any more.
        _ = self.device.enter().map(|()| unsafe { (self.calls().cublasLtDestroy)(self.raw) });
    }
}
