//! One operation in the recorder: plain atomics, so that it is written without a lock and read while it changes.

use crate::descriptor::{Descriptor, Label, ShortText, Signature};
use crate::group::lock;
use crate::memory::Memory;
use crate::request::Request;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use storage::DType;

/// One message of an operation between single ranks.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Group rank.
    pub peer: usize,
    pub dtype: DType,
    pub count: usize,
}

/// Sends and receives.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    pub sends: Vec<Message>,
    pub receives: Vec<Message>,
}

/// An operation as it is posted. Times are the recorder's clock.
pub struct Posted<'a, M> {
    pub group: u32,
    pub descriptor: &'a Descriptor,
    pub request: &'a Request<M>,
    pub place: u64,
    pub time: u64,
}

/// What an entry says. 0 stands for never.
pub struct Reading {
    pub group: u32,
    pub sequence: u64,
    pub signature: Signature,
    pub label: Label,
    pub messages: Messages,
    pub posted: u64,
    pub waited: u64,
    pub posted_at: u64,
    pub started_at: u64,
    pub ended_at: u64,
    pub is_failed: bool,
}

#[derive(Default)]
pub struct Entry {
    /// The operation's number plus 1; 0 while the entry is free or being written.
    number: AtomicU64,
    group: AtomicU32,
    failed: AtomicU32,
    sequence: AtomicU64,
    signature: [AtomicU64; 2],
    label: [AtomicU64; 6],
    posted: AtomicU64,
    waited: AtomicU64,
    posted_at: AtomicU64,
    started_at: AtomicU64,
    ended_at: AtomicU64,
    /// Those of the last operation here that had any.
    messages: Mutex<Messages>,
}

fn fill<M: Memory>(list: &mut Vec<Message>, pairs: &[(usize, M)]) {
    list.clear();
    list.extend(pairs.iter().map(|(peer, data)| Message { peer: *peer, dtype: data.dtype(), count: data.len() }));
}

impl Entry {
    pub fn write<M: Memory>(&self, number: u64, operation: &Posted<M>) {
        let set = |cell: &AtomicU64, value| cell.store(value, Ordering::Relaxed);
        set(&self.number, 0);
        fence(Ordering::Release);
        self.group.store(operation.group, Ordering::Relaxed);
        self.failed.store(0, Ordering::Relaxed);
        set(&self.sequence, operation.descriptor.sequence);
        self.signature.iter().zip(operation.descriptor.signature.pack()).for_each(|(cell, word)| set(cell, word));
        self.label.iter().zip(operation.descriptor.label.0).for_each(|(cell, word)| set(cell, word));
        set(&self.posted, operation.place);
        set(&self.posted_at, operation.time);
        [&self.waited, &self.started_at, &self.ended_at].into_iter().for_each(|cell| set(cell, 0));
        if let Request::Exchange { sends, receives, .. } = operation.request {
            let mut messages = lock(&self.messages);
            fill(&mut messages.sends, sends);
            fill(&mut messages.receives, receives);
        }
        self.number.store(number + 1, Ordering::Release);
    }

    /// Whether the entry still speaks of this operation. One that has gone round in the very next instructions gets a wrong time: nothing
    /// but the record's reader would notice, and a whole ring of operations would have to be posted meanwhile.
    fn is_of(&self, number: u64) -> bool {
        self.number.load(Ordering::Relaxed) == number + 1
    }

    pub fn start(&self, number: u64, time: u64) {
        if self.is_of(number) {
            self.started_at.store(time, Ordering::Relaxed);
        }
    }

    pub fn end(&self, number: u64, time: u64, completed: bool) {
        if self.is_of(number) {
            self.failed.store(u32::from(!completed), Ordering::Relaxed);
            self.ended_at.store(time, Ordering::Relaxed);
        }
    }

    pub fn wait(&self, number: u64, place: impl FnOnce() -> u64) {
        if self.waited.load(Ordering::Relaxed) == 0 && self.is_of(number) {
            // Of two threads that wait first, either may be the one that counts.
            self.waited.store(place(), Ordering::Relaxed);
        }
    }

    /// What it says of the operation with this number; None when it speaks of another, or was written meanwhile.
    pub fn read(&self, number: u64) -> Option<Reading> {
        if self.number.load(Ordering::Acquire) != number + 1 {
            return None;
        }
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let signature = Signature::unpack([get(&self.signature[0]), get(&self.signature[1])])?;
        let messages = if signature.kind.is_messages() { lock(&self.messages).clone() } else { Messages::default() };
        let reading = Reading {
            group: self.group.load(Ordering::Relaxed),
            sequence: get(&self.sequence),
            signature,
            label: ShortText(std::array::from_fn(|word| get(&self.label[word]))),
            messages,
            posted: get(&self.posted),
            waited: get(&self.waited),
            posted_at: get(&self.posted_at),
            started_at: get(&self.started_at),
            ended_at: get(&self.ended_at),
            is_failed: self.failed.load(Ordering::Relaxed) != 0,
        };
        fence(Ordering::Acquire);
        self.is_of(number).then_some(reading)
    }
}
