//! The device on which this thread's new tensors lie.

use crate::hot_op::Failure;
use crate::tensors::{self, set_current_device};
use cuda::{Environment, Toolkit};
use device::Accelerator;
use napi::Error;
use napi_derive::napi;

/// What a device was asked for since it was opened, and its memory.
#[napi(object)]
pub struct DeviceStats {
    /// Such as `cuda:0`.
    pub name: String,
    /// Bytes that live tensors asked for.
    pub live_bytes: f64,
    /// The most that `liveBytes` has been since the last `resetPeak`.
    pub peak_bytes: f64,
    /// Live bytes of parameters, gradients, optimizer, activations, workspace, communication.
    pub live_by_category: Vec<f64>,
    /// The most of each since the last `resetPeak`.
    pub peak_by_category: Vec<f64>,
    /// Blocks that live.
    pub live_blocks: f64,
    /// Blocks given out.
    pub allocations: f64,
    /// Bytes that the driver keeps and nobody uses.
    pub cached_bytes: f64,
    /// Kernels launched.
    pub launches: f64,
    /// Matrix products.
    pub products: f64,
    /// Passes of attention that cuDNN was asked for, forward and backward.
    pub cudnn_attentions: f64,
    /// Why the last of the other passes was left to our kernels; absent where none was.
    pub why_kernels: Option<String>,
    /// Tensors and numbers that were copied to the host: where the host waits for the device.
    pub reads: f64,
    /// How often the host had to wait.
    pub synchronizations: f64,
    /// Graphs launched; what they consist of is counted once, when it is captured.
    pub graph_launches: f64,
}

/// The error that JavaScript sees, with the same codes as raw operations give.
pub(crate) fn thrown(message: String) -> Error<String> {
    let failure = Failure::from(message);
    Error::new(failure.code.to_string_lossy().into_owned(), failure.message)
}

/// Opens a CUDA device; this thread's new tensors lie on it from now on.
#[napi(catch_unwind)]
pub fn use_device(index: u32) -> Result<(), Error<String>> {
    set_current_device(Some(Accelerator::shared(index as usize).map_err(thrown)?));
    Ok(())
}

/// Lets this thread's new tensors lie on the CPU again; those on a device stay there.
#[napi(catch_unwind)]
pub fn use_cpu() {
    set_current_device(None);
}

/// How many devices of CUDA this process sees; an error where it cannot use any.
#[napi(catch_unwind)]
pub fn cuda_devices() -> Result<u32, Error<String>> {
    let toolkit = Toolkit::find(&Environment::of_process()).map_err(|error| thrown(error.message))?;
    Ok(toolkit.devices().map_err(|error| thrown(error.message))?.len() as u32)
}

/// The device on which this thread's new tensors lie.
#[napi(object)]
pub struct CurrentDevice {
    /// Its number.
    pub index: u32,
    /// Where it is plugged in, as a number: equal for two processes of a host that see the same device, however they count.
    pub socket: f64,
}

/// The device on which this thread's new tensors lie; none for the CPU.
#[napi(catch_unwind)]
pub fn current_device() -> Option<CurrentDevice> {
    let on = tensors::current_device()?;
    let report = on.device().report();
    let (domain, bus, device) = report.socket;
    Some(CurrentDevice { index: report.index as u32, socket: f64::from(domain) * 65536.0 + f64::from(bus) * 256.0 + f64::from(device) })
}

/// What the device of this thread was asked for; none for the CPU.
#[napi(catch_unwind)]
pub fn device_stats() -> Result<Option<DeviceStats>, Error<String>> {
    let Some(on) = tensors::current_device() else { return Ok(None) };
    let stats = on.stats().map_err(thrown)?;
    let memory = stats.memory;
    Ok(Some(DeviceStats {
        name: on.name(),
        live_bytes: memory.all.live as f64,
        peak_bytes: memory.all.peak as f64,
        live_by_category: memory.by_category.iter().map(|usage| usage.live as f64).collect(),
        peak_by_category: memory.by_category.iter().map(|usage| usage.peak as f64).collect(),
        live_blocks: memory.live_blocks as f64,
        allocations: memory.allocations as f64,
        cached_bytes: on.cached_bytes().map_err(thrown)? as f64,
        launches: stats.launches as f64,
        products: stats.products as f64,
        cudnn_attentions: stats.cudnn_attentions as f64,
        why_kernels: stats.why_kernels,
        reads: stats.reads as f64,
        synchronizations: stats.synchronizations as f64,
        graph_launches: stats.graph_launches as f64,
    }))
}
