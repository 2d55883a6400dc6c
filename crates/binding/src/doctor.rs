//! What this machine has beside its CPU: libraries and devices of CUDA, a library of MPI.

use cuda::{DeviceReport, Environment, LibraryReport, LibraryState};
use napi_derive::napi;

/// A library of CUDA.
#[napi(object)]
pub struct CudaLibrary {
    /// As people call it.
    pub name: String,
    /// Its file.
    pub file: String,
    /// Whether nothing runs on a device without it.
    pub is_needed: bool,
    /// found, missing, wrong-major, too-old or unusable.
    pub state: String,
    /// Where it was found, whether it will do or not.
    pub path: Option<String>,
    /// Its version, where it tells one.
    pub version: Option<String>,
    /// What is wrong with it and what to do; absent when it was found and will do.
    pub refusal: Option<String>,
}

/// A device.
#[napi(object)]
pub struct CudaDevice {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its memory in bytes.
    pub memory_bytes: f64,
    /// Such as `9.0`.
    pub compute_capability: String,
}

/// What this machine has for CUDA.
#[napi(object)]
pub struct CudaDiagnosis {
    /// Every library, found or not.
    pub libraries: Vec<CudaLibrary>,
    /// The devices; none when the driver does not tell.
    pub devices: Vec<CudaDevice>,
    /// Who computes attention on a device, and why not another.
    pub attention: String,
    /// Why the device that was asked for cannot be used; absent when it can.
    pub refusal: Option<String>,
}

/// What this machine has for MPI.
#[napi(object)]
pub struct MpiDiagnosis {
    /// The library that would be used.
    pub path: Option<String>,
    /// Why there is none.
    pub refusal: Option<String>,
}

impl From<&LibraryReport> for CudaLibrary {
    fn from(report: &LibraryReport) -> CudaLibrary {
        let (state, path, version) = match &report.state {
            LibraryState::Found { path, version } => ("found", Some(path), Some(version)),
            LibraryState::Missing { .. } => ("missing", None, None),
            LibraryState::WrongMajor { path } => ("wrong-major", Some(path), None),
            LibraryState::TooOld { path, version } => ("too-old", Some(path), Some(version)),
            LibraryState::Unusable { path, .. } => ("unusable", Some(path), None),
        };
        CudaLibrary {
            name: report.name.into(),
            file: report.file.clone(),
            is_needed: report.is_needed,
            state: state.into(),
            path: path.map(|path| path.display().to_string()),
            version: version.map(ToString::to_string),
            refusal: report.refusal(),
        }
    }
}

impl From<DeviceReport> for CudaDevice {
    fn from(report: DeviceReport) -> CudaDevice {
        let (major, minor) = report.compute_capability;
        CudaDevice {
            index: report.index as u32,
            name: report.name,
            memory_bytes: report.memory as f64,
            compute_capability: format!("{major}.{minor}"),
        }
    }
}

/// Looks for CUDA's libraries and devices; says whether the device of this number can be used.
#[napi(catch_unwind)]
pub fn cuda_doctor(device: u32) -> CudaDiagnosis {
    let found = cuda::doctor(&Environment::of_process());
    CudaDiagnosis {
        refusal: found.refusal(device as usize),
        attention: found.attention.unwrap_or_else(|error| error.message),
        libraries: found.libraries.iter().map(CudaLibrary::from).collect(),
        devices: found.devices.unwrap_or_default().into_iter().map(CudaDevice::from).collect(),
    }
}

/// Looks for a library of MPI.
#[napi(catch_unwind)]
pub fn mpi_doctor() -> MpiDiagnosis {
    match comm::MpiBackend::find_library() {
        Ok(path) => MpiDiagnosis { path: Some(path), refusal: None },
        Err(refusal) => MpiDiagnosis { path: None, refusal: Some(refusal) },
    }
}
