//! A pair of ranks of one group: a small ring of slots in each direction, claimed by whoever exchanges first.

use super::region::{Purpose, Region};
use super::segment::{Segment, load_words, store_words};
use crate::backend::GroupSpec;
use crate::descriptor::{Descriptor, ShortText, Signature};
use crate::operation::Fault;
use std::mem::size_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Slots of a ring.
const SLOTS: u64 = 4;

/// Slots written and slots read since the beginning, each counted by one rank.
#[repr(C, align(128))]
struct Counter(AtomicU64);

#[repr(C)]
struct Ring {
    written: Counter,
    read: Counter,
    heads: [SlotHead; SLOTS as usize],
}

/// What the sender says about the message of a slot.
#[repr(C, align(128))]
struct SlotHead {
    sequence: AtomicU64,
    signature: [AtomicU64; 2],
    label: [AtomicU64; 6],
}

/// This rank's end of the channel to one peer.
pub struct Channel {
    segment: Arc<Segment>,
    spec: Arc<GroupSpec>,
    pub peer: usize,
    payload: usize,
    region: OnceLock<Region>,
    /// Messages that were started, and that have ended, in each direction: a message waits for its turn.
    sends: Turns,
    receives: Turns,
}

/// Messages take turns in the order in which they were posted.
#[derive(Default)]
pub struct Turns {
    posted: AtomicU64,
    ended: AtomicU64,
}

impl Turns {
    /// The number of the next message.
    pub fn take(&self) -> u64 {
        self.posted.fetch_add(1, Ordering::Relaxed)
    }

    pub fn is_up(&self, turn: u64) -> bool {
        self.ended.load(Ordering::Relaxed) == turn
    }

    pub fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Channel {
    pub fn new(segment: Arc<Segment>, spec: Arc<GroupSpec>, peer: usize, payload: usize) -> Self {
        Self { segment, spec, peer, payload, region: OnceLock::new(), sends: Turns::default(), receives: Turns::default() }
    }

    pub fn turns(&self, is_send: bool) -> &Turns {
        if is_send { &self.sends } else { &self.receives }
    }

    /// Bytes of one slot.
    pub fn payload(&self) -> usize {
        self.payload
    }

    fn ring_bytes(&self) -> usize {
        size_of::<Ring>().saturating_add((SLOTS as usize).saturating_mul(self.payload)).next_multiple_of(super::platform::PAGE)
    }

    /// Whether the channel is connected; false while the peer is reserving its memory.
    pub fn connect(&self) -> Result<bool, Fault> {
        if self.region.get().is_none() {
            let (low, high) = (self.peer.min(self.spec.rank), self.peer.max(self.spec.rank));
            let bytes = self.ring_bytes().saturating_mul(2);
            let mut purpose = Purpose::new(&self.spec, &format!("exchange {low} {high}"), bytes, 2);
            purpose.text = format!("{} (exchange with rank {})", purpose.text, self.spec.ranks[self.peer]);
            let Some(region) = Region::claim(&self.segment, &purpose)? else { return Ok(false) };
            let _ = self.region.set(region);
        }
        Ok(true)
    }

    /// The first byte of the ring that carries messages of the lower rank, or of the higher. Connected channels only.
    fn ring_base(&self, is_send: bool) -> Option<*mut u8> {
        let sender_is_low = (self.spec.rank < self.peer) == is_send;
        let offset = if sender_is_low { 0 } else { self.ring_bytes() };
        self.region.get().map(|region| region.base().wrapping_add(offset))
    }

    fn ring(&self, is_send: bool) -> Option<&Ring> {
        // SAFETY: the region holds two rings, each of `ring_bytes`; a ring's head consists of atomics.
        self.ring_base(is_send).map(|base| unsafe { &*base.cast::<Ring>() })
    }

    fn slot(&self, base: *mut u8, number: u64) -> *mut u8 {
        base.wrapping_add(size_of::<Ring>() + (number % SLOTS) as usize * self.payload)
    }

    /// Writes one slot of a message; false when the ring is full.
    ///
    /// # Safety
    /// `source` is good for `length` bytes, which are at most `payload`.
    pub unsafe fn write(&self, message: &Descriptor, source: *const u8, length: usize) -> bool {
        let (Some(ring), Some(base)) = (self.ring(true), self.ring_base(true)) else { return false };
        let number = ring.written.0.load(Ordering::Relaxed);
        if number - ring.read.0.load(Ordering::Acquire) == SLOTS {
            return false;
        }
        let head = &ring.heads[(number % SLOTS) as usize];
        head.sequence.store(message.sequence, Ordering::Relaxed);
        store_words(&head.signature, &message.signature.pack());
        store_words(&head.label, &message.label.0);
        // SAFETY: the receiver has read this slot, or never used it, and will not look before `written` says so.
        unsafe { std::ptr::copy_nonoverlapping(source, self.slot(base, number), length) };
        ring.written.0.store(number + 1, Ordering::Release);
        self.segment.ring(self.spec.ranks[self.peer]);
        true
    }

    /// What the next unread slot says of its message; None when there is none.
    pub fn peek(&self, group: ShortText<4>) -> Option<Descriptor> {
        let ring = self.ring(false)?;
        let number = ring.read.0.load(Ordering::Relaxed);
        if ring.written.0.load(Ordering::Acquire) == number {
            return None;
        }
        let head = &ring.heads[(number % SLOTS) as usize];
        let signature = Signature::unpack(load_words(&head.signature))?;
        Some(Descriptor { group, sequence: head.sequence.load(Ordering::Relaxed), signature, label: ShortText(load_words(&head.label)) })
    }

    /// Reads the next slot, which `peek` has shown to be there.
    ///
    /// # Safety
    /// `target` is good for `length` bytes, which are at most `payload`.
    pub unsafe fn read(&self, target: *mut u8, length: usize) {
        let (Some(ring), Some(base)) = (self.ring(false), self.ring_base(false)) else { return };
        let number = ring.read.0.load(Ordering::Relaxed);
        // SAFETY: the sender has written this slot and will not touch it before `read` says so.
        unsafe { std::ptr::copy_nonoverlapping(self.slot(base, number), target, length) };
        ring.read.0.store(number + 1, Ordering::Release);
        self.segment.ring(self.spec.ranks[self.peer]);
    }
}
