//! A pair of ranks of one group: a small ring of slots in each direction, claimed by whoever exchanges first.
//!
//! A message that does not fit into the ring is lent: one slot says where the sender has it, and the receiver reads it from there, so that
//! its bytes move once. Where the system does not allow that the receiver says so, and all messages go through the slots.

use super::platform;
use super::region::{Purpose, Region};
use super::segment::{Segment, load_words, store_words};
use crate::backend::GroupSpec;
use crate::descriptor::{Descriptor, ShortText, Signature};
use crate::operation::Fault;
use std::io;
use std::mem::size_of;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

/// Slots of a ring.
const SLOTS: u64 = 4;

/// `SlotHead::lent` of a message whose bytes are in slots, and of a loan that was called back.
const IN_SLOTS: u64 = 0;
const CALLED_BACK: u64 = u64::MAX;

/// Slots written and slots read since the beginning, each counted by one rank.
#[repr(C, align(128))]
struct Counter(AtomicU64);

/// A word on a line of its own.
#[repr(C, align(128))]
struct Flag(AtomicU32);

#[repr(C)]
struct Ring {
    written: Counter,
    read: Counter,
    /// 1 while the sender waits for slots to be read. Only then does reading one ring its bell: a message that has left wakes nobody.
    awaited: Flag,
    /// 1 once the receiver has found that it cannot read the sender's memory.
    refused: AtomicU32,
    heads: [SlotHead; SLOTS as usize],
}

/// What the sender says about the message of a slot.
#[repr(C, align(128))]
struct SlotHead {
    sequence: AtomicU64,
    signature: [AtomicU64; 2],
    label: [AtomicU64; 6],
    /// Where the sender has the message that it lends.
    lent: AtomicU64,
}

/// What the next unread slot of a message says.
pub struct Head {
    pub message: Descriptor,
    /// The address of a message that is lent.
    pub lent: Option<u64>,
}

/// What became of a loan.
pub enum Loan {
    Open,
    /// The receiver has read the message.
    Read,
    /// The receiver cannot read it.
    Refused,
}

/// How the bytes of messages move.
#[derive(Clone, Copy)]
pub struct Slots {
    /// Bytes of one slot.
    pub payload: usize,
    /// Whether messages that do not fit into the ring may be lent.
    pub lends: bool,
}

/// This rank's end of the channel to one peer.
pub struct Channel {
    segment: Arc<Segment>,
    spec: Arc<GroupSpec>,
    pub peer: usize,
    payload: usize,
    /// Whether messages may be lent.
    lends: bool,
    region: OnceLock<Region>,
    /// Slots that this rank knows the peer to have read.
    known: AtomicU64,
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
    pub fn new(segment: Arc<Segment>, spec: Arc<GroupSpec>, peer: usize, Slots { payload, lends }: Slots) -> Self {
        let (sends, receives) = (Turns::default(), Turns::default());
        Self { segment, spec, peer, payload, lends, region: OnceLock::new(), known: AtomicU64::new(0), sends, receives }
    }

    pub fn turns(&self, is_send: bool) -> &Turns {
        if is_send { &self.sends } else { &self.receives }
    }

    /// Bytes of one slot.
    pub fn payload(&self) -> usize {
        self.payload
    }

    fn ring_bytes(&self) -> usize {
        size_of::<Ring>().saturating_add((SLOTS as usize).saturating_mul(self.payload)).next_multiple_of(platform::PAGE)
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

    /// Whether a message of `bytes` is lent; false once the peer has refused one.
    pub fn is_to_lend(&self, bytes: usize) -> bool {
        bytes > SLOTS as usize * self.payload && self.ring(true).is_some_and(|ring| ring.refused.load(Ordering::Relaxed) == 0)
    }

    /// Slots that the peer has read. While these are no more than `known`, it rings when it reads the next one.
    fn read_by_peer(&self, ring: &Ring, known: u64) -> u64 {
        let mut read = ring.read.0.load(Ordering::Acquire);
        if read <= known && ring.awaited.0.load(Ordering::Relaxed) == 0 {
            // Either the peer sees this flag from its next reading on, or this rank sees what the peer has read.
            ring.awaited.0.store(1, Ordering::SeqCst);
            read = ring.read.0.load(Ordering::SeqCst);
        }
        if read > known && ring.awaited.0.load(Ordering::Relaxed) > 0 {
            ring.awaited.0.store(0, Ordering::Relaxed);
        }
        self.known.store(read, Ordering::Relaxed);
        read
    }

    /// Takes the next slot for `message`, has it filled, and tells the peer; None when the ring is full.
    fn post(&self, message: &Descriptor, lent: u64, fill: impl FnOnce(*mut u8)) -> Option<u64> {
        let (ring, base) = (self.ring(true)?, self.ring_base(true)?);
        let number = ring.written.0.load(Ordering::Relaxed);
        // The peer's count is looked at when what is known of it does not do: its line is the peer's.
        if number - self.known.load(Ordering::Relaxed) == SLOTS && number - self.read_by_peer(ring, number - SLOTS) == SLOTS {
            return None;
        }
        let head = &ring.heads[(number % SLOTS) as usize];
        head.sequence.store(message.sequence, Ordering::Relaxed);
        store_words(&head.signature, &message.signature.pack());
        store_words(&head.label, &message.label.0);
        head.lent.store(lent, Ordering::Relaxed);
        fill(self.slot(base, number));
        ring.written.0.store(number + 1, Ordering::Release);
        self.segment.ring(self.spec.ranks[self.peer]);
        Some(number)
    }

    /// Writes one slot of a message; false when the ring is full.
    ///
    /// # Safety
    /// `source` is good for `length` bytes, which are at most `payload`.
    pub unsafe fn write(&self, message: &Descriptor, source: *const u8, length: usize) -> bool {
        // SAFETY: the receiver has read this slot, or never used it, and will not look before it is told.
        self.post(message, IN_SLOTS, |slot| unsafe { std::ptr::copy_nonoverlapping(source, slot, length) }).is_some()
    }

    /// Lends the message at `source` to the peer; returns the slot that says so, or None when the ring is full.
    pub fn lend(&self, message: &Descriptor, source: *const u8) -> Option<u64> {
        self.post(message, source as u64, |_| ())
    }

    /// What became of the message lent in slot `number`.
    pub fn loan(&self, number: u64) -> Loan {
        match self.ring(true) {
            Some(ring) if self.read_by_peer(ring, number) <= number => Loan::Open,
            Some(ring) if ring.refused.load(Ordering::Relaxed) > 0 => Loan::Refused,
            _ => Loan::Read,
        }
    }

    /// Ends the loan in slot `number`: what the peer reads from now on is not the message.
    pub fn call_back(&self, number: u64) {
        if let Some(ring) = self.ring(true) {
            ring.heads[(number % SLOTS) as usize].lent.store(CALLED_BACK, Ordering::Relaxed);
            // Either the peer sees this, or it has read before the memory changes.
            fence(Ordering::SeqCst);
        }
    }

    /// What the next unread slot says of its message; None when there is none, or when its sender has given up.
    pub fn peek(&self, group: ShortText<4>) -> Option<Head> {
        let ring = self.ring(false)?;
        let number = ring.read.0.load(Ordering::Relaxed);
        if ring.written.0.load(Ordering::Acquire) == number {
            return None;
        }
        let head = &ring.heads[(number % SLOTS) as usize];
        let lent = head.lent.load(Ordering::Relaxed);
        let signature = Signature::unpack(load_words(&head.signature)).filter(|_| lent != CALLED_BACK)?;
        let (sequence, label) = (head.sequence.load(Ordering::Relaxed), ShortText(load_words(&head.label)));
        Some(Head { message: Descriptor { group, sequence, signature, label }, lent: Some(lent).filter(|&lent| lent != IN_SLOTS) })
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
        self.release();
    }

    /// Reads up to `length` bytes at `address` of the peer, which has lent them; returns how many were read.
    ///
    /// # Safety
    /// `target` is good for `length` bytes, which nobody else uses.
    pub unsafe fn borrow(&self, address: u64, target: *mut u8, length: usize) -> io::Result<usize> {
        let rank = self.spec.ranks[self.peer];
        let (peer, own) = (self.segment.rank_cell(rank), self.segment.rank_cell(self.segment.rank));
        // A process id means nothing in another namespace.
        if !self.lends || peer.namespace.load(Ordering::Relaxed) != own.namespace.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // SAFETY: the caller's promise.
        unsafe { platform::read_process(peer.pid.load(Ordering::Relaxed), address, target, length) }
    }

    /// Whether what was borrowed so far is the message: its sender neither died nor called it back.
    pub fn is_lent(&self, group: ShortText<4>) -> bool {
        fence(Ordering::SeqCst);
        self.segment.memory.is_held(self.spec.ranks[self.peer]) && self.peek(group).is_some()
    }

    /// Gives the next slot back to its sender.
    pub fn release(&self) {
        let Some(ring) = self.ring(false) else { return };
        ring.read.0.fetch_add(1, Ordering::SeqCst);
        if ring.awaited.0.load(Ordering::SeqCst) > 0 {
            self.segment.ring(self.spec.ranks[self.peer]);
        }
    }

    /// Gives the slot of a loan back unread: the sender shall write this message, and all to come, into slots.
    pub fn refuse(&self) {
        if let Some(ring) = self.ring(false) {
            ring.refused.store(1, Ordering::Relaxed);
            self.release();
        }
    }
}
