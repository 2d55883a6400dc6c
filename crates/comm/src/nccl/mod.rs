//! Collectives between devices, by NCCL. It is laid over another backend, which keeps the control plane and the bell and lets ranks meet
//! before NCCL is asked: NCCL waits for ever for a rank that does not come, and compares nothing. What has met cannot disagree any more.
//!
//! Each group has a communicator and a queue of its own, and so has each direction between two ranks that send messages: a group that waits
//! keeps no other. Memory of the device is used where it lies; that of the host is staged on it, or left to the backend below where it is short.

mod communicators;
mod divide;
mod link;
mod meeting;
mod messages;
mod operation;
mod plan;
mod pulse;
mod transport;
mod trouble;

use crate::backend::{Backend, Bell, ControlPlane, Funnel, GroupSpec, Transport};
use crate::request::Request;
use communicators::Communicators;
use cuda::{Communicator, Config, Device, Error, Part};
pub use divide::Division;
use pulse::Pulse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// A backend whose collectives run on devices.
pub struct NcclBackend(Arc<Shared>);

/// What the groups of a rank share.
struct Shared {
    base: Arc<dyn Backend>,
    device: Device,
    config: Config,
    /// Bytes of the host up to which the backend below moves them.
    short: usize,
    communicators: Communicators,
    /// Communicators that `divide` has made for groups of this name and these ranks.
    divided: Mutex<HashMap<(String, Vec<u32>), Communicator>>,
    pulse: Pulse,
}

impl NcclBackend {
    /// Lays NCCL over `base`, between this rank's `device` and those of the others; an error where there is no NCCL that will do.
    pub fn over(base: Arc<dyn Backend>, device: &Device, config: Config) -> Result<Arc<NcclBackend>, Error> {
        NcclBackend::keeping_short(base, device, (config, 0))
    }

    /// The same, with memory of the host up to so many bytes left to `base` where all ranks bring as many.
    pub fn keeping_short(base: Arc<dyn Backend>, device: &Device, (config, short): (Config, usize)) -> Result<Arc<NcclBackend>, Error> {
        device.nccl()?;
        // A thread that polls never stays in NCCL, and an abort never waits for it.
        let config = Config { is_blocking: false, ..config };
        let (communicators, divided, pulse) = (Communicators::default(), Mutex::default(), Pulse::new(&base));
        Ok(Arc::new(NcclBackend(Arc::new(Shared { base, device: device.clone(), config, short, communicators, divided, pulse }))))
    }
}

impl Backend for NcclBackend {
    fn name(&self) -> &'static str {
        "nccl"
    }

    fn control(&self) -> &dyn ControlPlane {
        self.0.base.control()
    }

    fn bell(&self) -> &dyn Bell {
        self.0.base.bell()
    }

    fn is_alone(&self) -> bool {
        self.0.base.is_alone()
    }

    fn open(&self, spec: &Arc<GroupSpec>) -> Box<dyn Transport> {
        self.0.communicators.sweep();
        Box::new(transport::NcclTransport::new(&self.0, spec))
    }

    fn check_on_device(&self, request: &Request<Part>, parts: &[Part]) -> Result<(), String> {
        let own = &self.0.device;
        if let Some(other) = parts.iter().map(|part| part.block().device()).find(|device| !device.is(own)) {
            let (there, here) = (other.report().index, own.report().index);
            return Err(format!("the tensor is on device {there}, and this rank's groups use device {here}. Copy it there."));
        }
        if transport::is_average_of_bytes(request) {
            return Err("NCCL adds bytes without room for their sum, so that the average would be wrong. Cast to i32.".into());
        }
        Ok(())
    }

    fn funnel(&self) -> Option<&dyn Funnel> {
        self.0.base.funnel()
    }

    fn end(&self, clean: bool) {
        self.0.communicators.end(clean);
        self.0.base.end(clean);
    }
}
