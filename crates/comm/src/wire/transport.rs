//! The transport of one group over any wire.

use super::Wire;
use super::all_reduce::AllReduce;
use super::barrier::Barrier;
use super::broadcast::Broadcast;
use super::collective::{Algorithm, Collective, Meeting};
use super::direct_reduce::DirectReduce;
use super::exchange::{Exchange, Mail};
use super::flight::Sizes;
use super::link::Link;
use super::pairwise::Pairwise;
use super::reduce_scatter::ReduceScatter;
use super::rooted::Rooted;
use super::small_all_gather::SmallAllGather;
use super::small_all_reduce::SmallAllReduce;
use crate::backend::{GroupSpec, Transport};
use crate::chunks::LINE;
use crate::descriptor::{Descriptor, ReduceOp};
use crate::operation::Operation;
use crate::request::Request;
use std::sync::{Arc, Mutex};
use storage::Span;

/// Bytes of one round of staging, of which two are under way.
const CHUNK: usize = 1 << 20;
/// Up to so many ranks little data goes to everyone in one round.
const FEW: usize = 8;
/// Bytes that ride with a header, among few ranks and among many.
const INLINE: [usize; 2] = [16 << 10, 4 << 10];
/// Bytes of all ranks together that go to everyone in a logarithmic number of rounds.
const GATHERED: usize = 256 << 10;

impl Sizes {
    fn new(ranks: usize, chunk: Option<usize>) -> Self {
        let chunk = chunk.unwrap_or(CHUNK).max(ranks * LINE).next_multiple_of(4 * LINE);
        let inline = INLINE[usize::from(ranks > FEW)].min(chunk);
        Self { chunk, inline, gathered: GATHERED.min(4 * chunk) }
    }
}

/// The operations of one group over a wire.
pub struct WireTransport {
    meeting: Arc<Mutex<Meeting>>,
    mail: Arc<Mutex<Mail>>,
    sizes: Sizes,
    spec: Arc<GroupSpec>,
}

impl WireTransport {
    /// `chunk` replaces the usual size of a round of staging, alike on all ranks.
    pub fn new(wire: &Arc<dyn Wire>, spec: &Arc<GroupSpec>, chunk: Option<usize>) -> Self {
        let sizes = Sizes::new(spec.ranks.len(), chunk);
        let mail = Mail::new(Link::new(Arc::clone(wire), Arc::clone(spec), "messages", sizes.inline));
        let meeting = Meeting::new(wire, spec, sizes);
        Self { meeting: Arc::new(Mutex::new(meeting)), mail: Arc::new(Mutex::new(mail)), sizes, spec: Arc::clone(spec) }
    }

    fn all_reduce(&self, data: Span, op: ReduceOp, root: Option<usize>) -> Box<dyn Algorithm> {
        let (bytes, ranks) = (data.byte_len(), self.spec.ranks.len());
        if bytes <= self.sizes.inline && (ranks <= FEW || root.is_some()) {
            Box::new(DirectReduce::new(data, op, root))
        } else if root.is_none() && bytes.saturating_mul(ranks) <= self.sizes.gathered {
            Box::new(SmallAllReduce::new(data, op))
        } else {
            Box::new(AllReduce::new(data, op, root))
        }
    }

    fn algorithm(&self, request: Request) -> Option<Box<dyn Algorithm>> {
        let ranks = self.spec.ranks.len();
        Some(match request {
            Request::AllReduce { data, op } => self.all_reduce(data, op, None),
            Request::Reduce { data, op, root } => self.all_reduce(data, op, Some(root)),
            Request::AllGather { source, target, blocks } => {
                match ranks > FEW && blocks.is_even() && target.byte_len() <= self.sizes.gathered {
                    true => Box::new(SmallAllGather::new(source, target)),
                    false => Box::new(Pairwise::new(source, target, None, blocks)),
                }
            }
            Request::ReduceScatter { source, target, op, blocks } => Box::new(ReduceScatter::new(source, target, op, blocks)),
            Request::Broadcast { data, root } => Box::new(Broadcast::new(data, root)),
            Request::Gather { source, target, root, blocks } => Box::new(Rooted::gather(source, target, root, blocks)),
            Request::Scatter { source, target, root, blocks } => Box::new(Rooted::scatter(target, source, root, blocks)),
            Request::AllToAll { source, target, send, receive } => Box::new(Pairwise::new(source, target, Some(send), receive)),
            Request::Barrier => Box::new(Barrier::default()),
            Request::Exchange { .. } => return None,
        })
    }
}

impl Transport for WireTransport {
    fn start(&mut self, descriptor: Descriptor, request: &Arc<Request>) -> Box<dyn Operation> {
        match self.algorithm((**request).clone()) {
            Some(algorithm) => Box::new(Collective::new(&self.meeting, descriptor, request, algorithm)),
            None => Box::new(Exchange::new(&self.mail, descriptor, request)),
        }
    }
}
