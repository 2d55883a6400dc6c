//! All-gather and all-to-all: every pair exchanges its two blocks directly, the nearest neighbours first, so many pairs at a time.

use super::collective::Algorithm;
use super::flight::Port;
use crate::blocks::Blocks;
use crate::operation::{Fault, Step};
use crate::solo::copy_bytes;
use std::ops::Range;
use storage::Span;

/// Neighbours with whom messages are under way at once.
const WINDOW: usize = 16;

pub struct Pairwise {
    source: Span,
    target: Span,
    /// What of the source is for whom; None where all of it is for everyone.
    send: Option<Blocks>,
    receive: Blocks,
    posted: usize,
}

impl Pairwise {
    pub fn new(source: Span, target: Span, send: Option<Blocks>, receive: Blocks) -> Self {
        Self { source, target, send, receive, posted: 0 }
    }

    fn outgoing(&self, member: usize) -> Range<usize> {
        self.send.as_ref().map_or(0..self.source.byte_len(), |blocks| bytes(blocks, member, &self.source))
    }

    fn incoming(&self, member: usize) -> Range<usize> {
        bytes(&self.receive, member, &self.target)
    }

    fn copy_own(&self, rank: usize) {
        let (from, to) = (self.outgoing(rank), self.incoming(rank));
        let (source, target) = (self.source.as_ptr().wrapping_add(from.start), self.target.as_ptr().wrapping_add(to.start));
        // SAFETY: a rank's block for itself has the same length on both sides, within both tensors; it may be the same memory.
        unsafe { copy_bytes(source, target, from.len()) };
    }
}

/// The block of `member`, in bytes.
fn bytes(blocks: &Blocks, member: usize, memory: &Span) -> Range<usize> {
    let (block, size) = (blocks.of(member), memory.dtype().size());
    block.start * size..block.end * size
}

impl Algorithm for Pairwise {
    fn advance(&mut self, port: &mut Port<'_>) -> Result<Step, Fault> {
        let before = self.posted;
        if self.posted == 0 {
            self.copy_own(port.rank());
            self.posted = 1;
        }
        while self.posted < port.size() && (self.posted <= WINDOW || port.is_done(self.posted - WINDOW)) {
            let (to, from) = port.neighbours(self.posted);
            port.send(to, port.memory(&self.source, self.outgoing(to)), self.posted)?;
            port.receive(from, port.memory(&self.target, self.incoming(from)), self.posted);
            self.posted += 1;
        }
        match self.posted > before {
            true => Ok(Step::Moved),
            false if self.posted == port.size() && port.is_idle() => Ok(Step::Done),
            false => Ok(Step::Waiting),
        }
    }
}
