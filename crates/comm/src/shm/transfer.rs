//! One message on its way through a channel, sent or received.

use super::channel::{Channel, Loan};
use super::platform;
use crate::chunks::{chunk_of, chunks};
use crate::descriptor::{Descriptor, Signature};
use crate::operation::{Fault, Unexpected};
use std::sync::Arc;
use storage::Span;

/// Bytes of a lent message that one poll reads: deadlines and other messages wait no longer.
const PIECE: usize = 1 << 20;

/// Where the message stands.
#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Not begun.
    Due,
    /// So many slots have been written or read.
    Slots(usize),
    /// Lent to the peer in this slot.
    Lent(u64),
    /// So many bytes have been read from the peer's memory, where the message begins at `address`.
    Borrowed {
        address: u64,
        bytes: usize,
    },
    Done,
}

pub struct Transfer {
    channel: Arc<Channel>,
    is_send: bool,
    turn: u64,
    data: Span,
    message: Descriptor,
    state: State,
}

impl Transfer {
    /// Takes the message's turn.
    pub fn new(channel: Arc<Channel>, is_send: bool, data: &Span, operation: Descriptor) -> Self {
        let turn = channel.turns(is_send).take();
        let message = Descriptor { signature: Signature::of_message(data.dtype(), data.len()), ..operation };
        Self { channel, is_send, turn, data: data.clone(), message, state: State::Due }
    }

    pub fn peer(&self) -> usize {
        self.channel.peer
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Goes on as far as the channel allows now; returns whether anything moved.
    pub fn advance(&mut self) -> Result<bool, Fault> {
        if self.is_done() || !self.channel.turns(self.is_send).is_up(self.turn) || !self.channel.connect()? {
            return Ok(false);
        }
        let mut moved = false;
        loop {
            let next = if self.is_send { self.send() } else { self.receive()? };
            let is_piece = matches!((self.state, next), (State::Borrowed { .. }, State::Borrowed { .. }));
            moved |= next != self.state;
            if next == self.state || next == State::Done || is_piece {
                self.state = next;
                break;
            }
            self.state = next;
        }
        if self.is_done() {
            self.channel.turns(self.is_send).end();
        }
        Ok(moved)
    }

    fn slots(&self) -> usize {
        chunks(self.data.byte_len(), self.channel.payload())
    }

    fn after_slot(&self, done: usize) -> State {
        if done == self.slots() { State::Done } else { State::Slots(done) }
    }

    /// The state after one step of a message that is sent.
    fn send(&self) -> State {
        match self.state {
            State::Due if self.channel.is_to_lend(self.data.byte_len()) => {
                self.channel.lend(&self.message, self.data.as_ptr()).map_or(State::Due, State::Lent)
            }
            State::Lent(number) => match self.channel.loan(number) {
                Loan::Open => self.state,
                Loan::Read => State::Done,
                Loan::Refused => State::Slots(0),
            },
            State::Due => State::Slots(0),
            State::Slots(done) => {
                let part = chunk_of(self.data.byte_len(), self.channel.payload(), done);
                // SAFETY: the part lies within the span, which the request holds.
                let is_written = unsafe { self.channel.write(&self.message, self.data.as_ptr().wrapping_add(part.start), part.len()) };
                if is_written { self.after_slot(done + 1) } else { self.state }
            }
            other => other,
        }
    }

    /// The state after one step of a message that is received.
    fn receive(&self) -> Result<State, Fault> {
        if let State::Borrowed { address, bytes } = self.state {
            return self.borrow(address, bytes);
        }
        let Some(head) = self.channel.peek(self.message.group) else { return Ok(self.state) };
        let done = match self.state {
            State::Slots(done) => done,
            _ if head.message.signature != self.message.signature => {
                let unexpected = Unexpected { peer: self.channel.peer, theirs: head.message, expected: self.message };
                return Err(Fault::Unexpected(Box::new(unexpected)));
            }
            _ => 0,
        };
        if let Some(address) = head.lent {
            return Ok(State::Borrowed { address, bytes: 0 });
        }
        let part = chunk_of(self.data.byte_len(), self.channel.payload(), done);
        // SAFETY: the part lies within the span, which the request holds; nobody else writes memory that is being received into.
        unsafe { self.channel.read(self.data.as_ptr().wrapping_add(part.start), part.len()) };
        Ok(self.after_slot(done + 1))
    }

    /// Reads the next piece of a message that is lent.
    fn borrow(&self, address: u64, bytes: usize) -> Result<State, Fault> {
        let length = (self.data.byte_len() - bytes).min(PIECE);
        // SAFETY: the piece lies within the span, which the request holds; nobody else writes memory that is being received into.
        let read = unsafe { self.channel.borrow(address + bytes as u64, self.data.as_ptr().wrapping_add(bytes), length) };
        match read {
            Ok(read) if bytes + read < self.data.byte_len() => Ok(State::Borrowed { address, bytes: bytes + read }),
            Ok(_) if self.channel.is_lent(self.message.group) => {
                self.channel.release();
                Ok(State::Done)
            }
            Err(error) if bytes == 0 && platform::is_refusal(&error) => {
                self.channel.refuse();
                Ok(State::Due)
            }
            Err(error) if !platform::is_absence(&error) && self.channel.is_lent(self.message.group) => {
                let peer = self.channel.peer;
                Err(Fault::Broken(format!(
                    "the memory of group rank {peer} cannot be read any more: {error}. Find what changed its rights."
                )))
            }
            // Its sender has died or given up, of which the watchdog tells.
            _ => Ok(self.state),
        }
    }
}

impl Drop for Transfer {
    /// A message that is lent is about to lose its memory.
    fn drop(&mut self) {
        if let State::Lent(number) = self.state {
            self.channel.call_back(number);
        }
    }
}
