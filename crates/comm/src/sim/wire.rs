//! One rank's end of the mailboxes.

use super::hub::Hub;
use super::mailbox::Mark;
use crate::backend::Bell;
use crate::group::lock;
use crate::operation::Fault;
use crate::wire::{Piece, Token, Wire};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Set in the token of a message that ended when it was sent; the rest is its length.
const ENDED: u64 = 1 << 63;

/// A message that had not ended when it was posted.
struct Pending {
    mark: Arc<Mark>,
    from: u32,
    to: u32,
    tag: u32,
    /// Bytes of its memory.
    room: usize,
}

#[derive(Default)]
struct Table {
    pending: HashMap<u64, Pending>,
    next: u64,
}

pub struct SimWire {
    hub: Arc<Hub>,
    rank: u32,
    table: Mutex<Table>,
}

impl SimWire {
    pub fn new(hub: Arc<Hub>, rank: u32) -> Self {
        Self { hub, rank, table: Mutex::default() }
    }

    fn token(&self, pending: Pending) -> Token {
        let mut table = lock(&self.table);
        table.next += 1;
        let token = table.next;
        table.pending.insert(token, pending);
        Token(token)
    }
}

impl Wire for SimWire {
    fn tag(&self, purpose: &str) -> Result<Option<u32>, Fault> {
        Ok(Some(self.hub.tag(purpose)))
    }

    fn send(&self, peer: u32, tag: u32, piece: Piece) -> Result<Token, Fault> {
        let room = piece.length;
        let mark = self.hub.mailbox(self.rank, peer).send(tag, piece, self.hub.eager);
        self.hub.seat(peer).bell.ring();
        Ok(match mark {
            None => Token(ENDED | room as u64),
            Some(mark) => self.token(Pending { mark, from: self.rank, to: peer, tag, room }),
        })
    }

    fn receive(&self, peer: u32, tag: u32, piece: Piece) -> Result<Token, Fault> {
        let room = piece.length;
        let mark = self.hub.mailbox(peer, self.rank).receive(tag, piece);
        if mark.ended().is_some_and(|length| length > self.hub.eager as u64) {
            self.hub.seat(peer).bell.ring();
        }
        Ok(self.token(Pending { mark, from: peer, to: self.rank, tag, room }))
    }

    fn test(&self, token: Token) -> Result<Option<usize>, Fault> {
        if token.0 & ENDED != 0 {
            return Ok(Some((token.0 & !ENDED) as usize));
        }
        let mut table = lock(&self.table);
        let Some((length, pending)) = table.pending.get(&token.0).and_then(|pending| Some((pending.mark.ended()?, pending))) else {
            return Ok(None);
        };
        let (room, from) = (pending.room, pending.from);
        table.pending.remove(&token.0);
        if length > room as u64 {
            return Err(Fault::Broken(format!("a message of {length} bytes from rank {from} came where {room} were expected.")));
        }
        Ok(Some(length as usize))
    }

    fn abandon(&self, token: Token) {
        let pending = lock(&self.table).pending.remove(&token.0);
        if let Some(Pending { mark, from, to, tag, .. }) = pending {
            self.hub.mailbox(from, to).withdraw(tag, &mark);
        }
    }
}
