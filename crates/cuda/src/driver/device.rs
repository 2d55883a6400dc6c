//! One device: its context, and the one way by which everything asks the driver for something.

use super::calls::{Calls, SUCCESS};
use super::capturing::Capturing;
use super::stream::{self, Stream};
use super::toolkit::Toolkit;
use super::works::Works;
use super::{devices, sticky};
use crate::doctor::DeviceReport;
use crate::error::{Code, Error};
use crate::memory::{Pinned, Pool};
use crate::nccl::Nccl;
use cudarc::driver::sys::{CUcontext, CUdevice, CUstream};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A device that is open. Clones are the same device; it is closed when the last clone, block, event and module is gone.
#[derive(Clone)]
pub struct Device(Arc<Open>);

struct Open {
    toolkit: Arc<Toolkit>,
    report: DeviceReport,
    handle: CUdevice,
    context: CUcontext,
    /// Each is set as soon as it is made, so that a device which cannot be opened ends those that are.
    streams: [OnceLock<CUstream>; Stream::ALL.len()],
    pool: OnceLock<Pool>,
    /// The first error that damaged the context.
    fault: OnceLock<Error>,
    last_kernel: Mutex<Option<Arc<str>>>,
    works: Works,
    capturing: Capturing,
    pinned: Pinned,
    synchronizations: AtomicU64,
}

// SAFETY: the driver's handles may be used on any thread, once the context is made current there.
unsafe impl Send for Open {}
// SAFETY: as above.
unsafe impl Sync for Open {}

impl Device {
    /// Opens the device of this number, with its streams and its pool.
    pub fn open(toolkit: &Arc<Toolkit>, index: usize) -> Result<Device, Error> {
        let calls = &toolkit.calls;
        devices::check_number(index, devices::count(calls)?)?;
        let (report, handle) = (devices::describe(calls, index)?, devices::handle(calls, index)?);
        let mut context = ptr::null_mut();
        // SAFETY: one handle is written.
        let status = unsafe { (calls.cuDevicePrimaryCtxRetain)(&mut context, handle) };
        if status != SUCCESS {
            return Err(sticky::failed(index, "cuDevicePrimaryCtxRetain", calls, status));
        }
        let open = Open {
            toolkit: Arc::clone(toolkit),
            report,
            handle,
            context,
            streams: Default::default(),
            pool: OnceLock::new(),
            fault: OnceLock::new(),
            last_kernel: Mutex::new(None),
            works: Works::default(),
            capturing: Capturing::default(),
            pinned: Pinned::default(),
            synchronizations: AtomicU64::new(0),
        };
        let device = Device(Arc::new(open));
        for stream in Stream::ALL {
            _ = device.0.streams[stream as usize].set(stream::create(&device, stream)?);
        }
        _ = device.0.pool.set(Pool::of(&device)?);
        Ok(device)
    }

    /// What it is.
    pub fn report(&self) -> &DeviceReport {
        &self.0.report
    }

    /// Whether cuDNN is there, or why not.
    pub fn has_dnn(&self) -> Result<(), Error> {
        self.0.toolkit.dnn().map(|_| ())
    }

    /// NCCL, or why it is not there.
    pub fn nccl(&self) -> Result<&Nccl, Error> {
        self.0.toolkit.nccl()
    }

    /// What NVRTC calls it. Programs for the very device that is there may use what only its generation has: hence the `a`.
    pub fn architecture(&self) -> String {
        let (major, minor) = self.0.report.compute_capability;
        format!("sm_{major}{minor}{}", if major >= 9 { "a" } else { "" })
    }

    /// The error that made it unusable.
    pub fn fault(&self) -> Option<Error> {
        self.0.fault.get().cloned()
    }

    /// Whether the two are the same.
    pub fn is(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn capturing(&self) -> &Capturing {
        &self.0.capturing
    }

    pub(crate) fn pinned(&self) -> &Pinned {
        &self.0.pinned
    }

    /// How often a thread has waited for it since it was opened. A training step needs to only where a number is read.
    pub fn synchronizations(&self) -> u64 {
        self.0.synchronizations.load(Relaxed)
    }

    /// Counts a wait, or refuses it.
    pub(super) fn about_to_wait(&self) -> Result<(), Error> {
        self.refuse_in_capture("nobody can wait")?;
        self.0.synchronizations.fetch_add(1, Relaxed);
        Ok(())
    }

    pub(crate) fn works(&self) -> &Works {
        &self.0.works
    }

    /// Makes its context that of this thread, for a library which expects that.
    pub(crate) fn enter(&self) -> Result<(), Error> {
        self.run("cuCtxSetCurrent", |_| SUCCESS)
    }

    pub(crate) fn toolkit(&self) -> &Arc<Toolkit> {
        &self.0.toolkit
    }

    pub(crate) fn handle(&self) -> CUdevice {
        self.0.handle
    }

    pub(crate) fn raw(&self, stream: Stream) -> CUstream {
        self.0.streams[stream as usize].get().copied().unwrap_or(ptr::null_mut())
    }

    pub(crate) fn pool(&self) -> Result<&Pool, Error> {
        let missing = || Error::new(Code::Refused, "device: it is not open yet. Use it once Device::open has returned.");
        self.0.pool.get().ok_or_else(missing)
    }

    pub(crate) fn remember_kernel(&self, name: &Arc<str>) {
        *self.0.last_kernel.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(name));
    }

    /// Asks the driver for something: refused with the first cause when the device is lost, and when it turns out to be.
    pub(crate) fn run(&self, call: &str, ask: impl FnOnce(&Calls) -> u32) -> Result<(), Error> {
        let status = self.status(ask)?;
        if status == SUCCESS { Ok(()) } else { Err(self.error(call, status)) }
    }

    /// The same, for who looks at the result: damage is not told apart yet.
    pub(crate) fn status(&self, ask: impl FnOnce(&Calls) -> u32) -> Result<u32, Error> {
        if let Some(first) = self.fault() {
            return Err(first);
        }
        let calls = &self.0.toolkit.calls;
        // SAFETY: the context lives as long as the device.
        let entered = unsafe { (calls.cuCtxSetCurrent)(self.0.context) };
        Ok(if entered == SUCCESS { ask(calls) } else { entered })
    }

    /// The error of a result; one that damaged the context is kept.
    pub(crate) fn error(&self, call: &str, status: u32) -> Error {
        let Open { toolkit, report, fault, last_kernel, .. } = &*self.0;
        if !sticky::is_sticky(status) {
            return sticky::failed(report.index, call, &toolkit.calls, status);
        }
        let last = last_kernel.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let result = toolkit.calls.result_name(status);
        fault.get_or_init(|| sticky::poisoned(report.index, call, &result, last.as_deref())).clone()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let calls = &self.toolkit.calls;
        // SAFETY: the context lives until the end of this function.
        unsafe { (calls.cuCtxSetCurrent)(self.context) };
        let streams: Vec<CUstream> = self.streams.iter().filter_map(OnceLock::get).copied().collect();
        if let Some(pool) = self.pool.get_mut() {
            pool.end(calls, &streams);
        }
        self.pinned.end(calls);
        for stream in streams {
            // SAFETY: the streams live, and nothing is asked of them any more.
            unsafe { (calls.cuStreamDestroy_v2)(stream) };
        }
        // SAFETY: the context was retained once, and nothing uses it any more.
        unsafe { (calls.cuDevicePrimaryCtxRelease_v2)(self.handle) };
    }
}
