//! Ranks of one host: a small shared segment, the system's means of waiting and of telling who is alive.

mod all_gather;
mod all_reduce;
mod all_to_all;
mod broadcast;
mod channel;
mod collective;
mod control;
mod exchange;
mod join;
mod line;
mod platform;
mod reduce_scatter;
mod region;
mod scatter;
mod segment;
mod transfer;

use crate::backend::{Backend, Bell, ControlPlane, GroupSpec, Transport};
use crate::chunks::LINE;
use crate::descriptor::Descriptor;
use crate::failure::Error;
use crate::operation::Operation;
use crate::request::Request;
use crate::settings::Settings;
use all_gather::AllGather;
use all_reduce::AllReduce;
use all_to_all::AllToAll;
use broadcast::{Barrier, Broadcast};
use channel::{Channel, Slots};
use collective::{Collective, Staged};
use exchange::Exchange;
use line::LineSlot;
use platform::ProcessWatch;
use reduce_scatter::ReduceScatter;
use scatter::Scatter;
use segment::Segment;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

pub use platform::die_with_parent;

/// The shared memory backend of one rank.
pub struct ShmBackend {
    segment: Arc<Segment>,
    /// For each rank a watch, where its process id means anything here.
    watches: Vec<Option<ProcessWatch>>,
    chunk: Option<usize>,
    /// Whether ranks may read each other's memory.
    reads: bool,
}

impl ShmBackend {
    /// Joins the world of `job`; returns once every rank has.
    pub fn join(job: &str, rank: u32, size: u32, settings: &Settings) -> Result<Arc<Self>, Error> {
        let segment = join::join(job, rank, size, settings.join_timeout)?;
        let here = segment.rank_cell(rank).namespace.load(Ordering::Relaxed);
        let watch = |rank: u32| {
            let cell = segment.rank_cell(rank);
            let pid = cell.pid.load(Ordering::Relaxed);
            let is_visible = cell.namespace.load(Ordering::Relaxed) == here && pid != std::process::id();
            let watch = if is_visible { platform::watch(pid) } else { None };
            // A process id that was taken over since is not the rank's: its lock is then gone too.
            watch.filter(|_| segment.memory.is_held(rank))
        };
        let watches = (0..size).map(watch).collect();
        Ok(Arc::new(Self { segment: Arc::new(segment), watches, chunk: settings.chunk, reads: settings.reads }))
    }

    /// Bytes of a staging chunk. A rank stages about as much in each of its groups, less in larger worlds: a container's
    /// /dev/shm often has 64 MiB for all of them.
    fn line_chunk(&self, members: usize) -> usize {
        let rank = (STAGING / self.segment.size).clamp(128 << 10, 4 << 20);
        let chunk = self.chunk.unwrap_or_else(|| (rank * members / (2 * members + 2)).clamp(16 << 10, 1 << 20) / 4096 * 4096);
        chunk.max(members * LINE).next_multiple_of(LINE)
    }

    /// Bytes of a slot of an exchange channel.
    fn slot_bytes(&self) -> usize {
        let slot = self.chunk.unwrap_or_else(|| ((512 << 10) / self.segment.size).clamp(16 << 10, 256 << 10));
        slot.next_multiple_of(LINE)
    }
}

/// Staging of all ranks in their groups of one kind.
const STAGING: usize = 8 << 20;

impl Backend for ShmBackend {
    fn name(&self) -> &'static str {
        "shm"
    }

    fn control(&self) -> &dyn ControlPlane {
        self
    }

    fn bell(&self) -> &dyn Bell {
        self
    }

    fn shares_core(&self) -> bool {
        self.segment.shares_core()
    }

    fn open(&self, spec: &Arc<GroupSpec>) -> Box<dyn Transport> {
        let slot = LineSlot::new(Arc::clone(&self.segment), Arc::clone(spec), self.line_chunk(spec.ranks.len()));
        let channels = (0..spec.ranks.len()).map(|_| OnceLock::new()).collect();
        Box::new(ShmTransport {
            segment: Arc::clone(&self.segment),
            slot: Arc::new(slot),
            channels,
            slots: Slots { payload: self.slot_bytes(), lends: self.reads },
            spec: Arc::clone(spec),
        })
    }
}

/// The transport of one group.
struct ShmTransport {
    segment: Arc<Segment>,
    spec: Arc<GroupSpec>,
    slot: Arc<LineSlot>,
    /// By peer, made when first used.
    channels: Vec<OnceLock<Arc<Channel>>>,
    slots: Slots,
}

impl ShmTransport {
    fn staged(&self, descriptor: Descriptor, request: &Request, staged: impl Staged + 'static) -> Box<dyn Operation> {
        Box::new(Collective::new(Arc::clone(&self.slot), descriptor, staged, request.pair_counts(self.spec.rank)))
    }

    fn channel(&self, peer: usize) -> Arc<Channel> {
        let make = || Arc::new(Channel::new(Arc::clone(&self.segment), Arc::clone(&self.spec), peer, self.slots));
        Arc::clone(self.channels[peer].get_or_init(make))
    }
}

impl Transport for ShmTransport {
    fn start(&mut self, descriptor: Descriptor, request: &Arc<Request>) -> Box<dyn Operation> {
        if request.kind().is_messages() {
            return Box::new(Exchange::new(descriptor, request, self.spec.rank, |peer| self.channel(peer)));
        }
        match (**request).clone() {
            Request::AllReduce { data, op } => self.staged(descriptor, request, AllReduce::new(data, op, None)),
            Request::Reduce { data, op, root } => self.staged(descriptor, request, AllReduce::new(data, op, Some(root))),
            Request::AllGather { source, target, blocks } => {
                self.staged(descriptor, request, AllGather { source, target: Some(target), blocks })
            }
            Request::Gather { source, target, blocks, .. } => self.staged(descriptor, request, AllGather { source, target, blocks }),
            Request::ReduceScatter { source, target, op, blocks } => {
                self.staged(descriptor, request, ReduceScatter::new(source, target, op, blocks))
            }
            Request::Broadcast { data, root } => self.staged(descriptor, request, Broadcast { data, root }),
            Request::Scatter { source, target, root, blocks } => self.staged(descriptor, request, Scatter { source, target, root, blocks }),
            Request::AllToAll { source, target, send, receive } => {
                self.staged(descriptor, request, AllToAll { source, target, send, receive, longest: 0 })
            }
            Request::Exchange { .. } => Box::new(Exchange::new(descriptor, request, self.spec.rank, |peer| self.channel(peer))),
            Request::Barrier => self.staged(descriptor, request, Barrier),
        }
    }
}
