//! Sends and receives posted together: each goes on whenever its channel allows, in any order, so a ring cannot deadlock.

use super::channel::Channel;
use crate::chunks::{chunk_of, chunks};
use crate::descriptor::{Descriptor, Signature};
use crate::operation::{Fault, Operation, Step, Unexpected};
use crate::request::Request;
use crate::solo::copy_span;
use std::sync::Arc;
use storage::Span;

/// One message, sent or received.
struct Transfer {
    channel: Arc<Channel>,
    is_send: bool,
    turn: u64,
    data: Span,
    message: Descriptor,
    /// Slots done.
    done: usize,
    slots: usize,
}

pub struct Exchange {
    transfers: Vec<Transfer>,
}

impl Exchange {
    /// Takes the messages' turns. `channel` finds the channel to a peer; what a rank sends to itself is copied at once.
    pub fn new(descriptor: Descriptor, request: &Request, rank: usize, channel: impl Fn(usize) -> Arc<Channel>) -> Self {
        let Request::Exchange { sends, receives, .. } = request else { return Self { transfers: Vec::new() } };
        let own = |list: &[(usize, Span)]| list.iter().filter(|pair| pair.0 == rank).map(|pair| pair.1.clone()).collect::<Vec<_>>();
        own(sends).iter().zip(own(receives)).for_each(|(source, target)| copy_span(source, &target));
        let sends = sends.iter().map(|pair| (true, pair));
        let all = sends.chain(receives.iter().map(|pair| (false, pair))).filter(|(_, pair)| pair.0 != rank);
        let transfers = all.map(|(is_send, (peer, data))| {
            let channel = channel(*peer);
            let (turn, slots) = (channel.turns(is_send).take(), chunks(data.byte_len(), channel.payload()));
            let message = Descriptor { signature: Signature::of_message(data.dtype(), data.len()), ..descriptor };
            Transfer { channel, is_send, turn, data: data.clone(), message, done: 0, slots }
        });
        Self { transfers: transfers.collect() }
    }
}

impl Transfer {
    /// Moves as many slots as the channel allows now; returns whether any moved.
    fn advance(&mut self) -> Result<bool, Fault> {
        let turns = self.channel.turns(self.is_send);
        if !turns.is_up(self.turn) || !self.channel.connect()? {
            return Ok(false);
        }
        let before = self.done;
        while self.done < self.slots && self.move_slot()? {
            self.done += 1;
        }
        if self.done == self.slots {
            turns.end();
        }
        Ok(self.done > before)
    }

    fn move_slot(&self) -> Result<bool, Fault> {
        let part = chunk_of(self.data.byte_len(), self.channel.payload(), self.done);
        let bytes = self.data.as_ptr().wrapping_add(part.start);
        if self.is_send {
            // SAFETY: the part lies within the span, which the request holds.
            return Ok(unsafe { self.channel.write(&self.message, bytes, part.len()) });
        }
        let Some(theirs) = self.channel.peek(self.message.group) else { return Ok(false) };
        if self.done == 0 && theirs.signature != self.message.signature {
            let unexpected = Unexpected { peer: self.channel.peer, theirs, expected: self.message };
            return Err(Fault::Unexpected(Box::new(unexpected)));
        }
        // SAFETY: as above; nobody else writes memory that is being received into.
        unsafe { self.channel.read(bytes, part.len()) };
        Ok(true)
    }
}

impl Operation for Exchange {
    fn poll(&mut self) -> Result<Step, Fault> {
        let mut moved = false;
        for transfer in self.transfers.iter_mut().filter(|transfer| transfer.done < transfer.slots) {
            moved |= transfer.advance()?;
        }
        if self.transfers.iter().all(|transfer| transfer.done == transfer.slots) {
            return Ok(Step::Done);
        }
        Ok(if moved { Step::Moved } else { Step::Waiting })
    }

    fn missing(&self) -> Vec<usize> {
        let open = self.transfers.iter().filter(|transfer| transfer.done < transfer.slots);
        let mut peers: Vec<usize> = open.map(|transfer| transfer.channel.peer).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    fn posted(&self, _member: usize) -> Option<Descriptor> {
        None
    }
}
