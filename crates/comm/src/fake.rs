//! One rank alone of a world of any size: every operation ends at its first poll and nothing moves. For shapes, memory, group maths and the
//! record of a program that would need thousands of processes.
//!
//! What would come from other ranks is this rank's own block where blocks are gathered, and zeros elsewhere; reductions leave its own data.

use crate::alone::Alone;
use crate::backend::{Backend, Bell, ControlPlane, GroupSpec, Transport};
use crate::blocks::Blocks;
use crate::descriptor::Descriptor;
use crate::operation::{Fault, Operation, Step};
use crate::request::Request;
use crate::solo::{copy_bytes, copy_span};
use std::sync::Arc;
use storage::Span;

/// The transport of a rank whose peers do not exist.
#[derive(Default)]
pub struct FakeBackend(Alone);

impl FakeBackend {
    /// The largest world that can be faked.
    pub const LARGEST: u32 = 1 << 20;
}

impl Backend for FakeBackend {
    fn name(&self) -> &'static str {
        "fake"
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

    fn open(&self, spec: &Arc<GroupSpec>) -> Box<dyn Transport> {
        Box::new(FakeTransport(spec.rank))
    }
}

/// The transport of a group, of which this is the group rank.
struct FakeTransport(usize);

impl Transport for FakeTransport {
    fn start(&mut self, _descriptor: Descriptor, request: &Arc<Request>) -> Box<dyn Operation> {
        Box::new(FakeOperation { rank: self.0, request: Arc::clone(request) })
    }
}

struct FakeOperation {
    rank: usize,
    request: Arc<Request>,
}

/// The first byte of the block of `member`, and how many bytes it has.
fn block(data: &Span, blocks: &Blocks, member: usize) -> (*mut u8, usize) {
    let (range, size) = (blocks.of(member), data.dtype().size());
    (data.as_ptr().wrapping_add(range.start * size), range.len() * size)
}

fn zero(start: *mut u8, bytes: usize) {
    // SAFETY: the request was checked: the bytes lie within a span that it holds, to which nobody else writes.
    unsafe { std::ptr::write_bytes(start, 0, bytes) };
}

fn zero_span(data: &Span) {
    zero(data.as_ptr(), data.byte_len());
}

/// Copies as many bytes as the target has; the two may be the same memory.
fn copy(source: *const u8, target: (*mut u8, usize)) {
    // SAFETY: the request was checked: blocks of one rank have one length on both sides, within spans that it holds.
    unsafe { copy_bytes(source, target.0, target.1) };
}

/// Own block everywhere it fits; zeros elsewhere.
fn repeat(source: &Span, target: &Span, blocks: &Blocks, rank: usize) {
    let own = block(target, blocks, rank);
    copy(source.as_ptr(), own);
    for member in (0..blocks.ranks()).filter(|&member| member != rank) {
        let place = block(target, blocks, member);
        if place.1 == own.1 { copy(own.0, place) } else { zero(place.0, place.1) }
    }
}

fn exchange(sends: &[(usize, Span)], receives: &[(usize, Span)], rank: usize) {
    receives.iter().filter(|(peer, _)| *peer != rank).for_each(|(_, target)| zero_span(target));
    let own = |list: &'_ [(usize, Span)]| list.iter().filter(|(peer, _)| *peer == rank).map(|(_, data)| data.clone()).collect::<Vec<_>>();
    own(sends).iter().zip(own(receives)).for_each(|(source, target)| copy_span(source, &target));
}

impl Operation for FakeOperation {
    fn poll(&mut self) -> Result<Step, Fault> {
        let rank = self.rank;
        match &*self.request {
            Request::AllReduce { .. } | Request::Reduce { .. } | Request::Broadcast { .. } | Request::Barrier => {}
            Request::AllGather { source, target, blocks } | Request::Gather { source, target: Some(target), blocks, .. } => {
                repeat(source, target, blocks, rank);
            }
            // Gathered elsewhere.
            Request::Gather { target: None, .. } => {}
            Request::ReduceScatter { source, target, blocks, .. } | Request::Scatter { source: Some(source), target, blocks, .. } => {
                copy(block(source, blocks, rank).0, (target.as_ptr(), target.byte_len()));
            }
            Request::Scatter { source: None, target, .. } => zero_span(target),
            Request::AllToAll { source, target, send, receive } => {
                zero_span(target);
                copy(block(source, send, rank).0, block(target, receive, rank));
            }
            Request::Exchange { sends, receives, .. } => exchange(sends, receives, rank),
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
