//! A group of one rank: everything is a copy, nothing is shared and nothing waits.

use crate::alone::Alone;
use crate::backend::{Backend, Bell, ControlPlane, GroupSpec, Transport};
use crate::descriptor::Descriptor;
use crate::device_request::DeviceRequest;
use crate::operation::{Failed, Fault, Operation, Step};
use crate::request::Request;
use cuda::{Part, Stream};
use std::sync::Arc;
use storage::Span;

/// The transport of a world of one.
#[derive(Default)]
pub(crate) struct SoloBackend(Alone);

impl Backend for SoloBackend {
    fn name(&self) -> &'static str {
        "solo"
    }

    fn control(&self) -> &dyn ControlPlane {
        &self.0
    }

    fn bell(&self) -> &dyn Bell {
        &self.0
    }

    fn is_alone(&self) -> bool {
        true
    }

    fn open(&self, _spec: &Arc<GroupSpec>) -> Box<dyn Transport> {
        Box::new(SoloTransport)
    }
}

/// The transport of a group of one, in a world of any size.
pub(crate) struct SoloTransport;

impl Transport for SoloTransport {
    fn start(&mut self, _descriptor: Descriptor, request: &Arc<Request>) -> Box<dyn Operation> {
        Box::new(SoloOperation(Arc::clone(request)))
    }

    /// Copies in the compute stream, so that nothing has to wait.
    fn start_on_device(&mut self, _descriptor: Descriptor, request: &Arc<DeviceRequest>) -> Box<dyn Operation> {
        let copy = |source: &Part, target: &Part| target.copy_from(Stream::Compute, source);
        let copied = match &request.request {
            Request::AllGather { source, target, .. }
            | Request::ReduceScatter { source, target, .. }
            | Request::Gather { source, target: Some(target), .. }
            | Request::Scatter { source: Some(source), target, .. }
            | Request::AllToAll { source, target, .. } => copy(source, target),
            Request::Exchange { sends, receives, .. } => {
                sends.iter().zip(receives).try_for_each(|(send, receive)| copy(&send.1, &receive.1))
            }
            _ => Ok(()),
        };
        match copied {
            Ok(()) => Box::new(SoloOperation(Arc::new(Request::Barrier))),
            Err(error) => Box::new(Failed(Fault::Broken(error.message))),
        }
    }
}

struct SoloOperation(Arc<Request>);

/// Copies all of `source`; the two may be the same memory.
pub(crate) fn copy_span(source: &Span, target: &Span) {
    // SAFETY: the request was checked: both spans have this many bytes, and both are held by it.
    unsafe { copy_bytes(source.as_ptr(), target.as_ptr(), source.byte_len().min(target.byte_len())) };
}

/// Copies between memory that may overlap.
///
/// # Safety
/// Both pointers are good for `length` bytes, which nobody else writes meanwhile.
pub(crate) unsafe fn copy_bytes(source: *const u8, target: *mut u8, length: usize) {
    // SAFETY: handed on.
    unsafe { std::ptr::copy(source, target, length) };
}

impl Operation for SoloOperation {
    fn poll(&mut self) -> Result<Step, Fault> {
        match &*self.0 {
            // A sum, average, largest, smallest or product of one is itself.
            Request::AllReduce { .. } | Request::Reduce { .. } | Request::Broadcast { .. } | Request::Barrier => {}
            Request::AllGather { source, target, .. }
            | Request::ReduceScatter { source, target, .. }
            | Request::Gather { source, target: Some(target), .. }
            | Request::Scatter { source: Some(source), target, .. }
            | Request::AllToAll { source, target, .. } => copy_span(source, target),
            // Refused: the only rank is the root.
            Request::Gather { target: None, .. } | Request::Scatter { source: None, .. } => {}
            Request::Exchange { sends, receives, .. } => {
                sends.iter().zip(receives).for_each(|(send, receive)| copy_span(&send.1, &receive.1));
            }
        }
        Ok(Step::Done)
    }

    fn missing(&self) -> Vec<usize> {
        Vec::new()
    }

    fn posted(&self, _member: usize) -> Option<Descriptor> {
        None
    }
}
