//! A device with what operations need beside it: compiled kernels, matrix products, and what kernels refused.

use crate::attentions::Attentions;
use crate::capture::Keys;
use crate::loaded::Loaded;
use crate::refusals::Refusals;
use cuda::{Blas, Cache, Choice, Compiler, Device, Environment, PoolStats, Stream, Toolkit};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

/// A device that runs operations, all of them in its compute stream, in the order in which they are asked for.
pub struct Accelerator {
    pub(crate) device: Device,
    compiler: Compiler,
    loaded: Mutex<HashMap<(&'static str, &'static str), Arc<Loaded>>>,
    blas: OnceLock<Blas>,
    pub(crate) attentions: Attentions,
    pub(crate) refusals: Refusals,
    pub(crate) launches: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) graph_launches: AtomicU64,
    pub(crate) keys: Mutex<Keys>,
}

/// What a device was asked for since it was opened.
#[derive(Clone, Debug)]
pub struct Stats {
    pub memory: PoolStats,
    /// Kernels launched; products are counted apart.
    pub launches: u64,
    /// Matrix products.
    pub products: u64,
    /// Passes of attention that cuDNN was asked for, forward and backward.
    pub cudnn_attentions: u64,
    /// Why the last of the other passes was left to our kernels.
    pub why_kernels: Option<String>,
    /// Tensors and numbers that were copied to the host: the only points at which the host waits.
    pub reads: u64,
    /// How often the host had to wait.
    pub synchronizations: u64,
    /// Graphs launched; what they consist of is counted once, when it is captured.
    pub graph_launches: u64,
}

pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn told(error: cuda::Error) -> String {
    error.message
}

/// The stream of all operations.
pub(crate) const STREAM: Stream = Stream::Compute;

/// Devices of this process, which its threads share.
static OPEN: LazyLock<Mutex<HashMap<usize, Arc<Accelerator>>>> = LazyLock::new(Mutex::default);

impl Accelerator {
    /// The device of this number, with the libraries that the process's environment names. It stays open until the process ends.
    pub fn shared(index: usize) -> Result<Arc<Accelerator>, String> {
        let mut open = held(&OPEN);
        if let Some(found) = open.get(&index) {
            return Ok(Arc::clone(found));
        }
        let made = Accelerator::open(&Environment::of_process(), index)?;
        open.insert(index, Arc::clone(&made));
        Ok(made)
    }

    /// Opens a device for operations.
    pub fn open(environment: &Environment, index: usize) -> Result<Arc<Accelerator>, String> {
        let toolkit = Toolkit::find(environment).map_err(told)?;
        let device = Device::open(&toolkit, index).map_err(told)?;
        let compiler = Compiler::new(&device, Cache::of(environment));
        let attentions = Attentions::new(environment, &device)?;
        let refusals = Refusals::new(&device)?;
        Ok(Arc::new(Accelerator {
            device,
            compiler,
            loaded: Mutex::default(),
            blas: OnceLock::new(),
            attentions,
            refusals,
            launches: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            graph_launches: AtomicU64::new(0),
            keys: Mutex::default(),
        }))
    }

    /// The device itself.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// As users write it.
    pub fn name(&self) -> String {
        name_of(&self.device)
    }

    /// What it was asked for.
    pub fn stats(&self) -> Result<Stats, String> {
        let (cudnn_attentions, why_kernels) = self.attentions.stats();
        Ok(Stats {
            cudnn_attentions,
            why_kernels,
            memory: self.device.memory_stats().map_err(told)?,
            launches: self.launches.load(Relaxed),
            products: self.blas.get().map_or(0, Blas::runs),
            reads: self.reads.load(Relaxed),
            synchronizations: self.device.synchronizations(),
            graph_launches: self.graph_launches.load(Relaxed),
        })
    }

    /// Bytes that the driver keeps and nobody uses.
    pub fn cached_bytes(&self) -> Result<u64, String> {
        self.device.cached_bytes().map_err(told)
    }

    /// Counts the peaks anew from what is live now.
    pub fn reset_peak(&self) -> Result<(), String> {
        self.device.reset_peak().map_err(told)
    }

    /// Waits for the device and gives all free memory back.
    pub fn trim_cache(&self) -> Result<(), String> {
        self.device.trim_cache().map_err(told)
    }

    /// Opens the library of products now, which takes its workspace, and not at the first product.
    pub fn prepare_products(&self) -> Result<(), String> {
        self.blas().map(|_| ())
    }

    /// Products in the compute stream.
    pub(crate) fn blas(&self) -> Result<&Blas, String> {
        if let Some(blas) = self.blas.get() {
            return Ok(blas);
        }
        // Two threads may come here together: one of the two is kept.
        let made = Blas::open(&self.device, STREAM, Choice::First).map_err(told)?;
        Ok(self.blas.get_or_init(|| made))
    }

    /// The kernels of a unit in a variant, compiled when they are first asked for.
    pub(crate) fn loaded(&self, unit: &'static str, variant: &str) -> Result<Arc<Loaded>, String> {
        let (unit, variant) = crate::variants::find(unit, variant)?;
        let mut loaded = held(&self.loaded);
        if let Some(found) = loaded.get(&(unit.name, variant.name)) {
            return Ok(Arc::clone(found));
        }
        let made = Arc::new(Loaded::new(&self.device, &self.compiler, unit, variant)?);
        loaded.insert((unit.name, variant.name), Arc::clone(&made));
        Ok(made)
    }
}

/// As users write it.
pub(crate) fn name_of(device: &Device) -> String {
    format!("cuda:{}", device.report().index)
}
