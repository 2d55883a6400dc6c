//! The memory through which the collectives of one group run.
//!
//! Each rank counts phases. In phase k it writes into its input k mod 2 before it arrives, and reads anything of phase k
//! only once all have arrived and before it arrives at phase k + 1. So an input may be overwritten two phases later
//! without further agreement. The two results, of which each rank writes its own stripe, lag by one phase.

use super::region::{Purpose, Region};
use super::segment::{Segment, load_words, store_words};
use crate::backend::GroupSpec;
use crate::descriptor::{Descriptor, GroupName, ShortText, Signature};
use crate::operation::Fault;
use std::mem::size_of;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

/// What one member publishes.
#[repr(C, align(128))]
struct MemberCell {
    phase: AtomicU64,
    /// Sequence and signature of the operation in hand; a member is at most one ahead, so two suffice.
    posted: [[AtomicU64; 3]; 2],
    label: [[AtomicU64; 6]; 2],
}

pub struct Line {
    segment: Arc<Segment>,
    region: Region,
    spec: Arc<GroupSpec>,
    name: GroupName,
    chunk: usize,
    /// The phase this rank arrived at last. Only the operation in hand moves it.
    phase: AtomicU64,
}

impl Line {
    fn counts_offset(members: usize) -> usize {
        members * size_of::<MemberCell>()
    }

    /// Where staging begins: behind the cells and the counts of every pair, twice, in both directions.
    fn staging_offset(members: usize) -> usize {
        (Self::counts_offset(members) + members * 4 * members * size_of::<u64>()).next_multiple_of(super::platform::PAGE)
    }

    /// Bytes of the region for `members` ranks with chunks of `chunk` bytes: two inputs a rank and two results.
    pub fn bytes(members: usize, chunk: usize) -> usize {
        Self::staging_offset(members).saturating_add((2 * members + 2).saturating_mul(chunk))
    }

    pub fn size(&self) -> usize {
        self.spec.ranks.len()
    }

    /// This process's group rank.
    pub fn rank(&self) -> usize {
        self.spec.rank
    }

    /// Bytes of one input or result; a multiple of `LINE`.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    fn cell(&self, member: usize) -> &MemberCell {
        // SAFETY: the region begins with a cell for each member; cells consist of atomics.
        unsafe { &*self.region.base().cast::<MemberCell>().add(member) }
    }

    /// What `member` sends to (`direction` 0) or expects from (1) `peer` in the operation of this parity.
    fn count_cell(&self, member: usize, parity: u64, direction: usize, peer: usize) -> &AtomicU64 {
        let index = ((member * 2 + parity as usize) * 2 + direction) * self.size() + peer;
        // SAFETY: the counts follow the cells; the index is below 4 * size * size.
        unsafe { &*self.region.base().add(Self::counts_offset(self.size())).cast::<AtomicU64>().add(index) }
    }

    pub fn post_counts(&self, sequence: u64, send: &[usize], receive: &[usize]) {
        for (direction, counts) in [send, receive].into_iter().enumerate() {
            for (peer, &count) in counts.iter().enumerate() {
                self.count_cell(self.rank(), sequence & 1, direction, peer).store(count as u64, Ordering::Relaxed);
            }
        }
    }

    /// What `from` said it sends to `to`, and what `to` said it expects. Both have arrived.
    pub fn counts(&self, sequence: u64, from: usize, to: usize) -> (u64, u64) {
        let load = |member, direction, peer| self.count_cell(member, sequence & 1, direction, peer).load(Ordering::Relaxed);
        (load(from, 0, to), load(to, 1, from))
    }

    /// Publishes what this rank is about to do; seen by the others once it arrives.
    pub fn post(&self, descriptor: &Descriptor) {
        let (cell, parity) = (self.cell(self.rank()), (descriptor.sequence & 1) as usize);
        let [first, second] = descriptor.signature.pack();
        store_words(&cell.posted[parity], &[descriptor.sequence, first, second]);
        store_words(&cell.label[parity], &descriptor.label.0);
    }

    /// Whether what `member` has published, having arrived, is the same operation as `descriptor`.
    pub fn agrees(&self, member: usize, descriptor: &Descriptor) -> bool {
        let [first, second] = descriptor.signature.pack();
        load_words(&self.cell(member).posted[(descriptor.sequence & 1) as usize]) == [descriptor.sequence, first, second]
    }

    /// What `member`, having arrived, has published for this sequence number.
    pub fn posted(&self, member: usize, sequence: u64) -> Option<Descriptor> {
        let (cell, parity) = (self.cell(member), (sequence & 1) as usize);
        let [sequence, first, second] = load_words(&cell.posted[parity]);
        let signature = Signature::unpack([first, second])?;
        Some(Descriptor { group: self.name, sequence, signature, label: ShortText(load_words(&cell.label[parity])) })
    }

    /// The phase that `arrive` will arrive at.
    pub fn next_phase(&self) -> u64 {
        self.phase.load(Ordering::Relaxed) + 1
    }

    /// Arrives at the next phase and returns its number. The last to arrive wakes the others.
    pub fn arrive(&self) -> u64 {
        let phase = self.phase.fetch_add(1, Ordering::Relaxed) + 1;
        self.cell(self.rank()).phase.store(phase, Ordering::Release);
        // Of two that arrive at once, at least one sees both.
        fence(Ordering::SeqCst);
        if self.all_arrived(phase) {
            let others = self.spec.ranks.iter().filter(|&&rank| rank != self.segment.rank);
            others.for_each(|&rank| self.segment.ring_unfenced(rank));
        }
        phase
    }

    pub fn has_arrived(&self, member: usize, phase: u64) -> bool {
        self.cell(member).phase.load(Ordering::Acquire) >= phase
    }

    pub fn all_arrived(&self, phase: u64) -> bool {
        (0..self.size()).all(|member| self.has_arrived(member, phase))
    }

    /// The input of `member` in `phase`: `chunk` bytes.
    pub fn input(&self, member: usize, phase: u64) -> *mut u8 {
        let index = member * 2 + (phase & 1) as usize;
        self.region.base().wrapping_add(Self::staging_offset(self.size()) + index * self.chunk)
    }

    /// The result of `phase`: `chunk` bytes, written by stripes.
    pub fn result(&self, phase: u64) -> *mut u8 {
        self.input(self.size(), phase)
    }
}

/// A line that is connected when it is first needed.
pub struct LineSlot {
    segment: Arc<Segment>,
    spec: Arc<GroupSpec>,
    chunk: usize,
    line: OnceLock<Line>,
}

impl LineSlot {
    pub fn new(segment: Arc<Segment>, spec: Arc<GroupSpec>, chunk: usize) -> Self {
        Self { segment, spec, chunk, line: OnceLock::new() }
    }

    pub fn spec(&self) -> &GroupSpec {
        &self.spec
    }

    /// The line, if connected.
    pub fn get(&self) -> Option<&Line> {
        self.line.get()
    }

    /// The line; None while another rank is reserving its memory.
    pub fn connect(&self) -> Result<Option<&Line>, Fault> {
        if self.line.get().is_none() {
            let members = self.spec.ranks.len();
            let purpose = Purpose::new(&self.spec, "collectives", Line::bytes(members, self.chunk), members as u32);
            let Some(region) = Region::claim(&self.segment, &purpose)? else { return Ok(None) };
            let (segment, spec, name) = (Arc::clone(&self.segment), Arc::clone(&self.spec), GroupName::new(&self.spec.name));
            let line = Line { segment, region, spec, name, chunk: self.chunk, phase: AtomicU64::new(0) };
            let _ = self.line.set(line);
        }
        Ok(self.line.get())
    }
}
