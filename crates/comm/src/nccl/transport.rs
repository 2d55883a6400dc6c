//! The transport of one group.

use super::Shared;
use super::link::Link;
use super::meeting::Meeting;
use super::messages::{Edges, Messages};
use super::operation::{Failed, NcclOperation};
use crate::backend::{GroupSpec, Transport};
use crate::descriptor::{Descriptor, ReduceOp};
use crate::group::lock;
use crate::operation::Operation;
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

/// Whether the backend below moves it: what NCCL has no operation for, and averages of bytes, whose sums NCCL lets overflow.
fn stays_below(request: &Request) -> bool {
    let is_average_of_bytes = |dtype: DType, op: ReduceOp| dtype == DType::U8 && op == ReduceOp::Avg;
    match request {
        Request::Barrier => true,
        Request::AllReduce { data, op } | Request::Reduce { data, op, .. } => is_average_of_bytes(data.dtype(), *op),
        Request::ReduceScatter { source, op, .. } => is_average_of_bytes(source.dtype(), *op),
        _ => false,
    }
}

impl Transport for NcclTransport {
    fn start(&mut self, descriptor: Descriptor, request: &Arc<Request>) -> Box<dyn Operation> {
        if descriptor.signature.kind.is_messages() {
            return Box::new(Messages::new(&mut self.edges, &mut *self.base, descriptor, request));
        }
        if stays_below(request) {
            return self.base.start(descriptor, request);
        }
        let meeting = Meeting::begin(&mut *self.base, &self.spec, (descriptor, request), &lock(&self.link));
        match meeting {
            Ok(meeting) => Box::new(NcclOperation::new((&self.shared, &self.spec), &self.link, request, meeting)),
            Err(fault) => Box::new(Failed(fault)),
        }
    }
}
