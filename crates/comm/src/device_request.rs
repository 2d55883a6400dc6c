//! Operations on memory of a device: what was asked of its compute stream before comes first, and what is asked of it afterwards may be told
//! to wait, without any thread that does.

use crate::group::lock;
use crate::request::Request;
use cuda::{Device, Error, Mark, Part, Stream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A request on memory of one device.
pub struct DeviceRequest {
    pub request: Request<Part>,
    /// What makes its values was asked for before this.
    pub ready: Mark,
    /// Where its results are there.
    ends: Mutex<Vec<Arc<Mark>>>,
    /// All of it has reached the device.
    is_issued: AtomicBool,
}

impl DeviceRequest {
    /// After all that was asked of the compute stream so far.
    pub fn new(request: Request<Part>, device: &Device) -> Result<DeviceRequest, Error> {
        let ready = Mark::behind(device, Stream::Compute)?;
        Ok(DeviceRequest { request, ready, ends: Mutex::default(), is_issued: AtomicBool::new(false) })
    }

    /// Notes where a part of its results is there.
    pub fn ends_at(&self, mark: &Arc<Mark>) {
        lock(&self.ends).push(Arc::clone(mark));
    }

    /// Notes that all of it has reached the device.
    pub fn issued(&self) {
        self.is_issued.store(true, Ordering::Release);
    }

    /// Whether it has.
    pub fn is_issued(&self) -> bool {
        self.is_issued.load(Ordering::Acquire)
    }

    /// Lets what is asked of `stream` from now on begin after the results.
    pub fn lead(&self, stream: Stream) -> Result<(), Error> {
        lock(&self.ends).iter().try_for_each(|mark| mark.lead(stream))
    }
}

/// What was asked for.
#[derive(Clone)]
pub(crate) enum Asked {
    OnHost(Arc<Request>),
    OnDevice(Arc<DeviceRequest>),
}
