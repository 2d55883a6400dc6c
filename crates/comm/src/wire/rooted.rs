//! Gather and scatter: the root exchanges a block with each of the others directly, so many at a time.

use super::collective::Algorithm;
use super::flight::Port;
use crate::blocks::Blocks;
use crate::operation::{Fault, Step};
use crate::solo::copy_bytes;
use storage::Span;

/// Ranks with whom messages are under way at once.
const WINDOW: usize = 16;

pub struct Rooted {
    /// The block of this rank alone.
    part: Span,
    /// The blocks of all: the root's alone.
    whole: Option<Span>,
    root: usize,
    blocks: Blocks,
    is_gather: bool,
    posted: usize,
}

impl Rooted {
    pub fn gather(part: Span, whole: Option<Span>, root: usize, blocks: Blocks) -> Self {
        Self { part, whole, root, blocks, is_gather: true, posted: 0 }
    }

    pub fn scatter(part: Span, whole: Option<Span>, root: usize, blocks: Blocks) -> Self {
        Self { part, whole, root, blocks, is_gather: false, posted: 0 }
    }

    fn post_leaf(&mut self, port: &mut Port<'_>) -> Result<(), Fault> {
        let memory = port.memory(&self.part, 0..self.part.byte_len());
        if self.is_gather {
            port.send(self.root, memory, 0)?;
        } else {
            port.receive(self.root, memory, 0);
        }
        Ok(())
    }

    fn post_root(&mut self, port: &mut Port<'_>, whole: &Span, distance: usize) -> Result<(), Fault> {
        let (member, _) = port.neighbours(distance);
        let (block, size) = (self.blocks.of(member), whole.dtype().size());
        let block = block.start * size..block.end * size;
        if distance == 0 {
            let (part, place) = (self.part.as_ptr(), whole.as_ptr().wrapping_add(block.start));
            let (from, to) = if self.is_gather { (part, place) } else { (place, part) };
            // SAFETY: the root's block has this length on both sides; it may be the same memory.
            unsafe { copy_bytes(from, to, block.len()) };
        } else if self.is_gather {
            port.receive(member, port.memory(whole, block), distance);
        } else {
            port.send(member, port.memory(whole, block), distance)?;
        }
        Ok(())
    }
}

impl Algorithm for Rooted {
    fn advance(&mut self, port: &mut Port<'_>) -> Result<Step, Fault> {
        let before = self.posted;
        match self.whole.clone() {
            Some(whole) => {
                while self.posted < port.size() && (self.posted <= WINDOW || port.is_done(self.posted - WINDOW)) {
                    self.post_root(port, &whole, self.posted)?;
                    self.posted += 1;
                }
            }
            None if self.posted == 0 => {
                self.post_leaf(port)?;
                self.posted = port.size();
            }
            None => {}
        }
        match self.posted > before {
            true => Ok(Step::Moved),
            false if self.posted == port.size() && port.is_idle() => Ok(Step::Done),
            false => Ok(Step::Waiting),
        }
    }
}
