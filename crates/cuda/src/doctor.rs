//! What this machine has for CUDA, as plain data.

use crate::attention::AttentionSetting;
use crate::driver::{Calls, devices};
use crate::error::{Code, Error};
use crate::library::{Environment, Kind, LibraryReport, scan};

/// One device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceReport {
    pub index: usize,
    pub name: String,
    /// Bytes.
    pub memory: usize,
    /// Major and minor.
    pub compute_capability: (u32, u32),
    /// Where it is plugged in: domain, bus and device of PCI.
    pub socket: (u32, u32, u32),
}

/// Libraries and devices.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    pub libraries: Vec<LibraryReport>,
    /// Or why there are none.
    pub devices: Result<Vec<DeviceReport>, Error>,
    /// Who computes attention on a device, and why not another; or why the setting cannot be.
    pub attention: Result<String, Error>,
}

impl Diagnosis {
    /// Why the device of this number cannot be used; None when it can.
    pub fn refusal(&self, device: usize) -> Option<String> {
        let library = self.libraries.iter().filter(|report| report.is_needed).find_map(LibraryReport::refusal);
        let missing = library.or_else(|| match &self.devices {
            Err(error) => Some(error.message.clone()),
            Ok(devices) => devices::check_number(device, devices.len()).err().map(|error| error.message),
        });
        missing.or_else(|| self.attention.as_ref().err().map(|error| error.message.clone()))
    }
}

/// Looks for every library, and asks the driver for its devices.
pub fn doctor(environment: &Environment) -> Diagnosis {
    let found = scan(environment);
    let devices = match found.get(Kind::Driver) {
        Some(driver) => Calls::find(driver).and_then(|calls| devices::list(&calls)),
        None => Err(Error::new(Code::Library, found.refusal().unwrap_or_default())),
    };
    let attention = AttentionSetting::of(environment).and_then(|setting| {
        let cudnn = found.with_version(Kind::Cudnn).map(|(_, version)| format!("cuDNN {version}"));
        setting.told(cudnn.map_err(|refusal| Error::new(Code::Library, refusal)))
    });
    Diagnosis { libraries: found.reports, devices, attention }
}
