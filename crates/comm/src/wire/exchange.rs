//! Sends and receives posted together: each goes on whenever its peer allows, in order with those of the same pair and direction.

use super::header::Header;
use super::link::{Link, cuts};
use super::{LONGEST_MESSAGE, Piece, Token, Wire};
use crate::descriptor::{Descriptor, Signature};
use crate::group::lock;
use crate::operation::{Fault, Operation, Step, Unexpected};
use crate::request::Request;
use crate::solo::copy_span;
use std::any::Any;
use std::sync::{Arc, Mutex};
use storage::Span;

/// Messages posted and messages whose turn is over, for each peer in each direction.
#[derive(Clone, Copy, Default)]
struct Turns {
    posted: u64,
    over: u64,
}

/// What the exchanges of one group share.
pub struct Mail {
    link: Link,
    turns: Vec<[Turns; 2]>,
}

impl Mail {
    pub fn new(link: Link) -> Self {
        let turns = vec![Default::default(); link.size()];
        Self { link, turns }
    }
}

/// One message, sent or received.
struct Transfer {
    peer: usize,
    is_send: bool,
    turn: u64,
    data: Span,
    message: Descriptor,
    is_begun: bool,
    /// Its parts under way.
    tokens: Vec<Token>,
}

pub struct Exchange {
    mail: Arc<Mutex<Mail>>,
    wire: Arc<dyn Wire>,
    /// Blocks from this rank to itself, still to be copied.
    own: Vec<(Span, Span)>,
    transfers: Vec<Transfer>,
    keep: Arc<dyn Any + Send + Sync>,
}

impl Exchange {
    /// Takes the messages' turns.
    pub fn new(mail: &Arc<Mutex<Mail>>, descriptor: Descriptor, request: &Arc<Request>) -> Self {
        let mut shared = lock(mail);
        let (rank, wire) = (shared.link.spec.rank, Arc::clone(shared.link.wire()));
        let (sends, receives): (&[_], &[_]) = match &**request {
            Request::Exchange { sends, receives, .. } => (sends, receives),
            _ => (&[], &[]),
        };
        let own = |list: &[(usize, Span)]| list.iter().filter(|pair| pair.0 == rank).map(|pair| pair.1.clone()).collect::<Vec<_>>();
        let all = sends.iter().map(|pair| (true, pair)).chain(receives.iter().map(|pair| (false, pair)));
        let transfer = |(is_send, (peer, data)): (bool, &(usize, Span))| {
            let turns = &mut shared.turns[*peer][usize::from(is_send)];
            turns.posted += 1;
            let message = Descriptor { signature: Signature::of_message(data.dtype(), data.len()), ..descriptor };
            Transfer { peer: *peer, is_send, turn: turns.posted - 1, data: data.clone(), message, is_begun: false, tokens: Vec::new() }
        };
        let transfers = all.filter(|(_, pair)| pair.0 != rank).map(transfer).collect();
        let own = own(sends).into_iter().zip(own(receives)).collect();
        Self { mail: Arc::clone(mail), wire, own, transfers, keep: Arc::clone(request) as _ }
    }
}

impl Transfer {
    fn is_done(&self) -> bool {
        self.is_begun && self.tokens.is_empty()
    }

    /// Goes on if it can; returns whether anything moved.
    fn advance(&mut self, mail: &mut Mail, keep: &Arc<dyn Any + Send + Sync>) -> Result<bool, Fault> {
        if self.is_begun {
            return self.test(&mail.link);
        }
        if mail.turns[self.peer][usize::from(self.is_send)].over != self.turn || !mail.link.connect()? {
            return Ok(false);
        }
        let data = Piece { bytes: self.data.as_ptr(), length: self.data.byte_len(), keep: Arc::clone(keep) };
        self.is_begun = if self.is_send { self.send(&mut mail.link, &data)? } else { self.receive(&mut mail.link, &data)? };
        if self.is_begun {
            mail.turns[self.peer][usize::from(self.is_send)].over += 1;
        }
        Ok(self.is_begun)
    }

    fn send(&mut self, link: &mut Link, data: &Piece) -> Result<bool, Fault> {
        let header = Header { descriptor: self.message, counts: [0; 2], length: data.length.min(LONGEST_MESSAGE) as u64 };
        self.tokens.push(link.send_header(self.peer, &header, data)?);
        if !link.is_inline(data.length) {
            for cut in cuts(data) {
                self.tokens.push(link.send(self.peer, cut)?);
            }
        }
        Ok(true)
    }

    fn receive(&mut self, link: &mut Link, data: &Piece) -> Result<bool, Fault> {
        let Some(header) = link.look(self.peer)? else { return Ok(false) };
        if header.descriptor.signature != self.message.signature {
            let unexpected = Unexpected { peer: self.peer, theirs: header.descriptor, expected: self.message };
            return Err(Fault::Unexpected(Box::new(unexpected)));
        }
        let Some(arrived) = link.take(self.peer) else { return Ok(false) };
        if link.is_inline(data.length) {
            // SAFETY: type and number of elements agree, so the frame holds as many bytes; nobody else writes memory that is received into.
            unsafe { std::ptr::copy_nonoverlapping(arrived.payload(), data.bytes, data.length) };
        } else {
            for cut in cuts(data) {
                self.tokens.push(link.receive(self.peer, cut)?);
            }
        }
        Ok(true)
    }

    fn test(&mut self, link: &Link) -> Result<bool, Fault> {
        let before = self.tokens.len();
        let mut index = 0;
        while index < self.tokens.len() {
            if link.wire().test(self.tokens[index])?.is_some() {
                self.tokens.swap_remove(index);
            } else {
                index += 1;
            }
        }
        Ok(self.tokens.len() < before)
    }
}

impl Operation for Exchange {
    fn poll(&mut self) -> Result<Step, Fault> {
        self.own.drain(..).for_each(|(source, target)| copy_span(&source, &target));
        let mut mail = lock(&self.mail);
        let mut moved = false;
        for transfer in self.transfers.iter_mut().filter(|transfer| !transfer.is_done()) {
            moved |= transfer.advance(&mut mail, &self.keep)?;
        }
        if self.transfers.iter().all(Transfer::is_done) {
            return Ok(Step::Done);
        }
        Ok(if moved { Step::Moved } else { Step::Waiting })
    }

    fn missing(&self) -> Vec<usize> {
        let open = self.transfers.iter().filter(|transfer| !transfer.is_done());
        let mut peers: Vec<usize> = open.map(|transfer| transfer.peer).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    fn posted(&self, _member: usize) -> Option<Descriptor> {
        None
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.transfers.iter().flat_map(|transfer| &transfer.tokens).for_each(|token| self.wire.abandon(*token));
    }
}
