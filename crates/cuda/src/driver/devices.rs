//! Which devices there are.

use super::calls::{Calls, NO_DEVICE, SUCCESS};
use crate::doctor::DeviceReport;
use crate::error::{Code, Error};
use cudarc::driver::sys::{CUdevice, CUdevice_attribute};
use std::ffi::{CStr, c_int};

const NAME_BYTES: usize = 256;

/// Starts the driver and tells how many devices it has: at least one, or an error.
pub(crate) fn count(calls: &Calls) -> Result<usize, Error> {
    let mut devices: c_int = 0;
    // SAFETY: these take no memory but one number to write.
    let statuses = [("cuInit", unsafe { (calls.cuInit)(0) }), ("cuDeviceGetCount", unsafe { (calls.cuDeviceGetCount)(&mut devices) })];
    for (call, status) in statuses {
        if status == NO_DEVICE {
            break;
        }
        if status != SUCCESS {
            let result = calls.result_name(status);
            let message = format!(
                "CUDA driver: {call} fails with {result}. See whether nvidia-smi works, and whether this container may use devices."
            );
            return Err(Error::new(Code::Driver, message));
        }
    }
    match usize::try_from(devices) {
        Ok(devices) if devices > 0 => Ok(devices),
        _ => {
            let message = "CUDA driver: there is no device. See whether nvidia-smi lists one, and what CUDA_VISIBLE_DEVICES hides.";
            Err(Error::new(Code::NoDevice, message))
        }
    }
}

/// Refuses a number that no device has.
pub(crate) fn check_number(device: usize, devices: usize) -> Result<(), Error> {
    if device < devices {
        return Ok(());
    }
    let there = if devices == 1 {
        "there is one device. Use cuda:0".into()
    } else {
        format!("there are {devices} devices. Use cuda:0 to cuda:{}", devices - 1)
    };
    Err(Error::new(Code::NoDevice, format!("device {device}: {there}.")))
}

/// All of them.
pub(crate) fn list(calls: &Calls) -> Result<Vec<DeviceReport>, Error> {
    (0..count(calls)?).map(|index| describe(calls, index)).collect()
}

/// One of them.
pub(crate) fn describe(calls: &Calls, index: usize) -> Result<DeviceReport, Error> {
    let handle = handle(calls, index)?;
    let mut name = [0u8; NAME_BYTES];
    let mut memory = 0;
    // SAFETY: the name has room for the bytes that are promised.
    let named = unsafe { (calls.cuDeviceGetName)(name.as_mut_ptr().cast(), NAME_BYTES as c_int, handle) };
    check(calls, index, "cuDeviceGetName", named)?;
    // SAFETY: one number is written.
    check(calls, index, "cuDeviceTotalMem", unsafe { (calls.cuDeviceTotalMem_v2)(&mut memory, handle) })?;
    let major = attribute(calls, index, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(calls, index, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    let domain = attribute(calls, index, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID)?;
    let bus = attribute(calls, index, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)?;
    let device = attribute(calls, index, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID)?;
    let name = CStr::from_bytes_until_nul(&name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(DeviceReport { index, name, memory, compute_capability: (major, minor), socket: (domain, bus, device) })
}

/// The driver's handle of a device.
pub(crate) fn handle(calls: &Calls, index: usize) -> Result<CUdevice, Error> {
    let mut handle = 0;
    let number = c_int::try_from(index).unwrap_or(c_int::MAX);
    // SAFETY: one number is written.
    check(calls, index, "cuDeviceGet", unsafe { (calls.cuDeviceGet)(&mut handle, number) })?;
    Ok(handle)
}

fn attribute(calls: &Calls, index: usize, attribute: CUdevice_attribute) -> Result<u32, Error> {
    let mut value = 0;
    // SAFETY: one number is written.
    let status = unsafe { (calls.cuDeviceGetAttribute)(&mut value, attribute, handle(calls, index)?) };
    check(calls, index, "cuDeviceGetAttribute", status)?;
    Ok(value.unsigned_abs())
}

fn check(calls: &Calls, index: usize, call: &str, status: u32) -> Result<(), Error> {
    if status == SUCCESS { Ok(()) } else { Err(super::sticky::failed(index, call, calls, status)) }
}
