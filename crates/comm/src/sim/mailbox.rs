//! Messages from one rank to another: those sent and not yet received, and those asked for and not yet sent.

use crate::group::lock;
use crate::wire::Piece;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Says how long a message was once it has ended.
pub struct Mark(AtomicU64);

const OPEN: u64 = u64::MAX;

impl Mark {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(OPEN)))
    }

    /// The message's length once it has ended; a longer one than was asked for is cut, but says its full length.
    pub fn ended(&self) -> Option<u64> {
        let length = self.0.load(Ordering::Acquire);
        (length != OPEN).then_some(length)
    }

    fn end(&self, length: usize) {
        self.0.store(length as u64, Ordering::Release);
    }
}

/// A message at one of its ends. Its mark is also its name.
struct Waiting {
    piece: Piece,
    /// None where the sender does not wait for its end.
    mark: Option<Arc<Mark>>,
}

/// Messages of one tag; one of the two is always empty.
#[derive(Default)]
struct Queue {
    sent: VecDeque<Waiting>,
    wanted: VecDeque<Waiting>,
}

#[derive(Default)]
pub struct Mailbox(Mutex<HashMap<u32, Queue>>);

/// Ends a message that has both ends.
fn deliver(sent: &Waiting, wanted: &Waiting) {
    let length = sent.piece.length.min(wanted.piece.length);
    // SAFETY: both pieces are held, and their ranks leave them alone until the message has ended.
    unsafe { std::ptr::copy(sent.piece.bytes, wanted.piece.bytes, length) };
    for mark in [&sent.mark, &wanted.mark].into_iter().flatten() {
        mark.end(sent.piece.length);
    }
}

/// Bytes in memory of their own.
fn copy_of(piece: &Piece) -> Piece {
    // SAFETY: the piece is held and nobody writes it while it is being sent.
    let bytes: Arc<[u8]> = unsafe { std::slice::from_raw_parts(piece.bytes, piece.length) }.into();
    Piece { bytes: bytes.as_ptr().cast_mut(), length: piece.length, keep: Arc::new(bytes) }
}

impl Mailbox {
    /// Sends; a message of at most `eager` bytes ends at once, and then there is no mark. The other end may have to be woken.
    pub fn send(&self, tag: u32, piece: Piece, eager: usize) -> Option<Arc<Mark>> {
        let mark = (piece.length > eager).then(Mark::new);
        let mut queues = lock(&self.0);
        let queue = queues.entry(tag).or_default();
        let message = Waiting { piece, mark: mark.clone() };
        match queue.wanted.pop_front() {
            Some(wanted) => deliver(&message, &wanted),
            None if mark.is_some() => queue.sent.push_back(message),
            None => queue.sent.push_back(Waiting { piece: copy_of(&message.piece), mark: None }),
        }
        mark
    }

    /// Asks for a message.
    pub fn receive(&self, tag: u32, piece: Piece) -> Arc<Mark> {
        let mark = Mark::new();
        let mut queues = lock(&self.0);
        let queue = queues.entry(tag).or_default();
        let wanted = Waiting { piece, mark: Some(Arc::clone(&mark)) };
        match queue.sent.pop_front() {
            Some(sent) => deliver(&sent, &wanted),
            None => queue.wanted.push_back(wanted),
        }
        mark
    }

    /// Takes a message that has not ended out again.
    pub fn withdraw(&self, tag: u32, mark: &Arc<Mark>) {
        let mut queues = lock(&self.0);
        let Some(queue) = queues.get_mut(&tag) else { return };
        let is_other = |waiting: &Waiting| !waiting.mark.as_ref().is_some_and(|other| Arc::ptr_eq(other, mark));
        queue.sent.retain(is_other);
        queue.wanted.retain(is_other);
        if queue.sent.is_empty() && queue.wanted.is_empty() {
            queues.remove(&tag);
        }
    }
}
