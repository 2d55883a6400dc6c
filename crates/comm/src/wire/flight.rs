//! The messages of one collective under way.

use super::header::Header;
use super::ledger::Ledger;
use super::link::{Link, cuts};
use super::memory::{Block, piece_of};
use super::{Piece, Token, Wire};
use crate::descriptor::Descriptor;
use crate::operation::Fault;
use crate::request::Request;
use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use storage::Span;

/// How far the two ways between this rank and one member have come in this operation.
#[derive(Clone, Copy, Default)]
struct Edge {
    /// A header has gone out.
    is_sent: bool,
    /// A header is awaited or has come.
    is_expected: bool,
    /// A header has come, and bare data may be received.
    is_open: bool,
}

struct Sending {
    token: Option<Token>,
    member: usize,
    batch: usize,
}

struct Receiving {
    member: usize,
    batch: usize,
    piece: Piece,
    /// The first of its edge: comes behind a header.
    is_first: bool,
    token: Option<Token>,
}

/// Messages are posted in batches, numbered by the algorithm.
pub struct Flight {
    pub descriptor: Descriptor,
    /// What this rank has for each member and expects from each, where ranks may differ in them.
    pairs: Option<(Vec<usize>, Vec<usize>)>,
    keep: Arc<dyn Any + Send + Sync>,
    wire: Arc<dyn Wire>,
    edges: Vec<Edge>,
    sends: Vec<Sending>,
    /// In the order in which they were posted.
    receives: Vec<Receiving>,
    /// Messages of each batch that have not ended.
    open: Vec<u32>,
}

impl Flight {
    pub fn new(descriptor: Descriptor, request: &Arc<Request>, link: &Link) -> Self {
        let (size, rank) = (link.size(), link.spec.rank);
        Self {
            descriptor,
            pairs: request.pair_counts(rank),
            keep: Arc::clone(request) as _,
            wire: Arc::clone(link.wire()),
            edges: vec![Edge::default(); size],
            sends: Vec::new(),
            receives: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Whether the next thing from `member` is a header, as far as this operation knows.
    pub fn may_look(&self, member: usize) -> bool {
        !self.edges[member].is_open
    }

    /// The members without whom nothing goes on: each once.
    pub fn awaited(&self) -> Vec<usize> {
        let receives = self.receives.iter().map(|receiving| receiving.member);
        let mut members: Vec<usize> = receives.chain(self.sends.iter().map(|sending| sending.member)).collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// Sees which messages have ended and posts those that were held back. True when anything moved.
    pub fn poll(&mut self, link: &mut Link, ledger: &mut Ledger) -> Result<bool, Fault> {
        let before = self.sends.len() + self.receives.len();
        let mut kept = 0;
        for index in 0..self.sends.len() {
            if !self.poll_send(index)? {
                self.sends.swap(kept, index);
                kept += 1;
            }
        }
        self.sends.truncate(kept);
        let (mut kept, mut moved) = (0, false);
        for index in 0..self.receives.len() {
            let was_posted = self.receives[index].token.is_some();
            if !self.poll_receive(index, link, ledger)? {
                moved |= !was_posted && self.receives[index].token.is_some();
                self.receives.swap(kept, index);
                kept += 1;
            }
        }
        self.receives.truncate(kept);
        Ok(moved || self.sends.len() + self.receives.len() < before)
    }

    /// Whether a message has ended.
    fn poll_send(&mut self, index: usize) -> Result<bool, Fault> {
        let Self { sends, open, wire, .. } = self;
        let sending = &mut sends[index];
        let Some(token) = sending.token else { return Ok(true) };
        if wire.test(token)?.is_none() {
            return Ok(false);
        }
        sending.token = None;
        open[sending.batch] -= 1;
        Ok(true)
    }

    fn poll_receive(&mut self, index: usize, link: &mut Link, ledger: &mut Ledger) -> Result<bool, Fault> {
        let (member, is_first) = (self.receives[index].member, self.receives[index].is_first);
        if self.receives[index].token.is_none() {
            if is_first && !self.edges[member].is_open {
                return self.poll_first(index, link, ledger);
            }
            if !self.edges[member].is_open {
                return Ok(false);
            }
            self.receives[index].token = Some(link.receive(member, self.receives[index].piece.clone())?);
        }
        let receiving = &mut self.receives[index];
        let Some(length) = receiving.token.map_or(Ok(None), |token| self.wire.test(token))? else { return Ok(false) };
        receiving.token = None;
        expect_length(link, member, receiving.piece.length as u64, length as u64)?;
        self.open[receiving.batch] -= 1;
        Ok(true)
    }

    /// The header that comes before anything else from this member.
    fn poll_first(&mut self, index: usize, link: &mut Link, ledger: &mut Ledger) -> Result<bool, Fault> {
        let member = self.receives[index].member;
        let Some(header) = link.look(member)? else { return Ok(false) };
        ledger.expect(member, header.descriptor, &self.descriptor)?;
        self.compare_counts(link, member, header.counts)?;
        let piece = self.receives[index].piece.clone();
        expect_length(link, member, piece.length as u64, header.length)?;
        let Some(arrived) = link.take(member) else { return Ok(false) };
        self.edges[member].is_open = true;
        if !link.is_inline(piece.length) {
            self.receives[index].token = Some(link.receive(member, piece)?);
            return Ok(false);
        }
        // SAFETY: the frame holds as many bytes behind the header, and the piece is memory that nobody else touches until it has come.
        unsafe { std::ptr::copy_nonoverlapping(arrived.payload(), piece.bytes, piece.length) };
        self.open[self.receives[index].batch] -= 1;
        Ok(true)
    }

    fn compare_counts(&self, link: &Link, member: usize, counts: [u64; 2]) -> Result<(), Fault> {
        let Some((sends, receives)) = &self.pairs else { return Ok(()) };
        let ([sent, wanted], rank) = (counts, link.spec.rank);
        let (own, expected) = (sends[member] as u64, receives[member] as u64);
        if sent != expected {
            return Err(Fault::Uneven { from: member, to: rank, sent, expected });
        }
        if own != wanted {
            return Err(Fault::Uneven { from: rank, to: member, sent: own, expected: wanted });
        }
        Ok(())
    }

    fn opened(&mut self, batch: usize) {
        if self.open.len() <= batch {
            self.open.resize(batch + 1, 0);
        }
        self.open[batch] += 1;
    }
}

fn expect_length(link: &Link, member: usize, expected: u64, length: u64) -> Result<(), Fault> {
    if length == expected {
        return Ok(());
    }
    let rank = link.spec.ranks[member];
    Err(Fault::Broken(format!("a message from rank {rank} has {length} bytes where {expected} were expected. Give all ranks one version.")))
}

impl Drop for Flight {
    fn drop(&mut self) {
        let tokens = self.sends.iter().map(|sending| sending.token).chain(self.receives.iter().map(|receiving| receiving.token));
        tokens.flatten().for_each(|token| self.wire.abandon(token));
    }
}

/// Where an algorithm posts its messages.
pub struct Port<'a> {
    pub link: &'a mut Link,
    pub flight: &'a mut Flight,
    pub staging: &'a mut Option<Arc<Block>>,
    pub sizes: Sizes,
}

/// Sizes at which algorithms change. Equal on all ranks.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of one round of staging.
    pub chunk: usize,
    /// Up to so many bytes ride with a header.
    pub inline: usize,
    /// Up to so many bytes of all ranks together go to everyone in a logarithmic number of rounds.
    pub gathered: usize,
}

impl Port<'_> {
    /// This process's group rank.
    pub fn rank(&self) -> usize {
        self.link.spec.rank
    }

    pub fn size(&self) -> usize {
        self.link.size()
    }

    /// The members at distance `step` ahead of and behind this one.
    pub fn neighbours(&self, step: usize) -> (usize, usize) {
        let (rank, size) = (self.rank(), self.size());
        ((rank + step) % size, (rank + size - step) % size)
    }

    /// Bytes `range` of memory that the request holds.
    pub fn memory(&self, span: &Span, range: Range<usize>) -> Piece {
        Piece { bytes: span.as_ptr().wrapping_add(range.start), length: range.len(), keep: Arc::clone(&self.flight.keep) }
    }

    /// Memory of this group, free for this operation. Each operation asks once.
    pub fn stage(&mut self, bytes: usize) -> Result<Arc<Block>, Fault> {
        let is_free = |block: &mut Arc<Block>| block.len() >= bytes && Arc::get_mut(block).is_some();
        if !self.staging.as_mut().is_some_and(is_free) {
            *self.staging = Some(Block::new(bytes)?);
        }
        self.staging.as_ref().map(Arc::clone).ok_or_else(|| Fault::Broken("no staging memory. Please report it.".into()))
    }

    /// Sends to `member`. The memory must not change until the batch is done.
    pub fn send(&mut self, member: usize, piece: Piece, batch: usize) -> Result<(), Fault> {
        let edge = &mut self.flight.edges[member];
        let is_first = !std::mem::replace(&mut edge.is_sent, true);
        if is_first {
            let counts = self.flight.pairs.as_ref().map_or([0; 2], |(sends, receives)| [sends[member] as u64, receives[member] as u64]);
            let header = Header { descriptor: self.flight.descriptor, counts, length: piece.length.min(super::LONGEST_MESSAGE) as u64 };
            let token = self.link.send_header(member, &header, &piece)?;
            self.sent(token, member, batch);
        }
        if is_first && self.link.is_inline(piece.length) {
            return Ok(());
        }
        for cut in cuts(&piece) {
            let token = self.link.send(member, cut)?;
            self.sent(token, member, batch);
        }
        Ok(())
    }

    fn sent(&mut self, token: Token, member: usize, batch: usize) {
        self.flight.opened(batch);
        self.flight.sends.push(Sending { token: Some(token), member, batch });
    }

    /// Receives from `member`. The memory must not be touched until the batch is done.
    pub fn receive(&mut self, member: usize, piece: Piece, batch: usize) {
        let mut is_first = !std::mem::replace(&mut self.flight.edges[member].is_expected, true);
        let empty = (is_first && piece.length == 0).then(|| piece.clone());
        for piece in empty.into_iter().chain(cuts(&piece)) {
            self.flight.opened(batch);
            self.flight.receives.push(Receiving { member, batch, piece, is_first, token: None });
            is_first = false;
        }
    }

    /// Whether every message of `batch` that was posted has ended.
    pub fn is_done(&self, batch: usize) -> bool {
        self.flight.open.get(batch).is_none_or(|&open| open == 0)
    }

    pub fn is_idle(&self) -> bool {
        self.flight.sends.is_empty() && self.flight.receives.is_empty()
    }

    pub fn staged(&self, block: &Arc<Block>, range: Range<usize>) -> Piece {
        piece_of(block, range)
    }
}
