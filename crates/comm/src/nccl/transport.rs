//! The transport of one group.

use super::Shared;
use super::link::Link;
use super::meeting::Meeting;
use super::messages::{Edges, Messages};
use super::operation::NcclOperation;
use crate::backend::{GroupSpec, Transport};
use crate::descriptor::{Descriptor, ReduceOp};
use crate::device_request::{Asked, DeviceRequest};
use crate::group::lock;
use crate::memory::Memory;
use crate::operation::{Failed, Operation};
use crate::request::Request;
use std::sync::{Arc, Mutex};
use storage::DType;

pub(super) struct NcclTransport {
    base: Box<dyn Transport>,
    shared: Arc<Shared>,
    spec: Arc<GroupSpec>,
    link: Arc<Mutex<Link>>,
    edges: Edges,
}

impl NcclTransport {
    pub fn new(shared: &Arc<Shared>, spec: &Arc<GroupSpec>) -> NcclTransport {
        let (base, place) = (shared.base.open(spec), (spec.rank, spec.ranks.len()));
        let key = (spec.name.clone(), spec.ranks.clone());
        let divided = if spec.instance == 0 { lock(&shared.divided).remove(&key) } else { None };
        let link = match divided {
            Some(communicator) => Link::over(shared, spec.name.clone(), communicator),
            None => Link::new(shared, spec.name.clone(), place),
        };
        let edges = Edges::new(shared, spec);
        NcclTransport { base, shared: Arc::clone(shared), spec: Arc::clone(spec), link: Arc::new(Mutex::new(link)), edges }
    }
}

/// Averages of bytes, whose sums NCCL lets overflow.
pub(super) fn is_average_of_bytes<M: Memory>(request: &Request<M>) -> bool {
    match request {
        Request::AllReduce { data, op } | Request::Reduce { data, op, .. } => data.dtype() == DType::U8 && *op == ReduceOp::Avg,
        Request::ReduceScatter { source, op, .. } => source.dtype() == DType::U8 && *op == ReduceOp::Avg,
        _ => false,
    }
}

/// Whether the memory of the host is so little that it goes faster without the device. All ranks find the same: where blocks may differ none is.
fn is_short(request: &Request, most: usize) -> bool {
    match request {
        Request::AllReduce { data, .. } | Request::Broadcast { data, .. } | Request::Reduce { data, .. } => data.byte_len() <= most,
        Request::AllGather { source, blocks, .. } if blocks.is_even() => source.byte_len() <= most,
        _ => false,
    }
}

impl NcclTransport {
    fn collective<M: Memory>(&mut self, descriptor: Descriptor, request: &Request<M>, asked: Asked) -> Box<dyn Operation> {
        let meeting = Meeting::begin(&mut *self.base, &self.spec, (descriptor, request), &lock(&self.link));
        match meeting {
            Ok(meeting) => Box::new(NcclOperation::new((&self.shared, &self.spec), &self.link, asked, meeting)),
            Err(fault) => Box::new(Failed(fault)),
        }
    }

    fn messages(&mut self, descriptor: Descriptor, asked: &Asked) -> Box<dyn Operation> {
        Box::new(Messages::new(&mut self.edges, &mut *self.base, descriptor, asked))
    }
}

impl Transport for NcclTransport {
    /// What NCCL has no operation for, and what it would get wrong, the backend below moves.
    fn start(&mut self, descriptor: Descriptor, request: &Arc<Request>) -> Box<dyn Operation> {
        match &**request {
            Request::Exchange { .. } => self.messages(descriptor, &Asked::OnHost(Arc::clone(request))),
            Request::Barrier => self.base.start(descriptor, request),
            other if is_average_of_bytes(other) || is_short(other, self.shared.short) => self.base.start(descriptor, request),
            other => self.collective(descriptor, other, Asked::OnHost(Arc::clone(request))),
        }
    }

    fn start_on_device(&mut self, descriptor: Descriptor, request: &Arc<DeviceRequest>) -> Box<dyn Operation> {
        let asked = Asked::OnDevice(Arc::clone(request));
        match &request.request {
            Request::Exchange { .. } => self.messages(descriptor, &asked),
            other => self.collective(descriptor, other, asked),
        }
    }
}
