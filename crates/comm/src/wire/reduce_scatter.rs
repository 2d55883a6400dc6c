//! Reduce-scatter, part by part: every rank gets the raw data of its block from all and reduces it in rank order. The next part travels
//! meanwhile.

use super::collective::Algorithm;
use super::flight::Port;
use super::memory::Block;
use crate::blocks::Blocks;
use crate::chunks::{LINE, chunk_of, chunks};
use crate::descriptor::ReduceOp;
use crate::operation::{Fault, Step};
use crate::reduce::reduce;
use std::ops::Range;
use std::sync::Arc;
use storage::Span;

pub struct ReduceScatter {
    source: Span,
    target: Span,
    op: ReduceOp,
    blocks: Blocks,
    /// Twice, for every member, a part of this rank's block.
    staging: Option<Arc<Block>>,
    posted: usize,
    reduced: usize,
}

impl ReduceScatter {
    pub fn new(source: Span, target: Span, op: ReduceOp, blocks: Blocks) -> Self {
        Self { source, target, op, blocks, staging: None, posted: 0, reduced: 0 }
    }

    fn block_bytes(&self, member: usize) -> usize {
        self.blocks.of(member).len() * self.source.dtype().size()
    }

    /// How many parts the block of `member` has.
    fn parts(&self, port: &Port<'_>, member: usize) -> usize {
        chunks(self.block_bytes(member), part_bytes(port))
    }

    /// Part `step` of the block of `member`, as bytes of the source.
    fn part(&self, port: &Port<'_>, member: usize, step: usize) -> Range<usize> {
        let start = self.blocks.of(member).start * self.source.dtype().size();
        let part = chunk_of(self.block_bytes(member), part_bytes(port), step);
        start + part.start..start + part.end
    }

    /// Where staging holds part `step` of what `member` brings.
    fn place(&self, port: &Port<'_>, member: usize, step: usize) -> usize {
        let width = part_bytes(port).min(self.block_bytes(port.rank())).next_multiple_of(LINE);
        (step % 2 * port.size() + member) * width
    }

    fn stage(&mut self, port: &mut Port<'_>) -> Result<Arc<Block>, Fault> {
        let halves = self.parts(port, port.rank()).min(2);
        let bytes = halves * self.place(port, port.size(), 0);
        match &self.staging {
            Some(staging) => Ok(Arc::clone(staging)),
            None => Ok(Arc::clone(self.staging.insert(port.stage(bytes)?))),
        }
    }

    fn post(&mut self, port: &mut Port<'_>, step: usize) -> Result<(), Fault> {
        let staging = self.stage(port)?;
        let is_own_left = step < self.parts(port, port.rank());
        let length = self.part(port, port.rank(), step).len();
        for distance in 1..port.size() {
            let (to, from) = port.neighbours(distance);
            if step < self.parts(port, to) {
                port.send(to, port.memory(&self.source, self.part(port, to, step)), step)?;
            }
            if is_own_left {
                let place = self.place(port, from, step);
                port.receive(from, port.staged(&staging, place..place + length), step);
            }
        }
        Ok(())
    }

    fn reduce(&mut self, port: &mut Port<'_>, step: usize) -> Result<(), Fault> {
        let staging = self.stage(port)?;
        let (me, dtype) = (port.rank(), self.source.dtype());
        let part = self.part(port, me, step);
        let own = self.source.as_ptr().wrapping_add(part.start);
        let source = |member| if member == me { own } else { staging.at(self.place(port, member, step)) }.cast_const();
        let sources: Vec<*const u8> = (0..port.size()).map(source).collect();
        let out = self.target.as_ptr().wrapping_add(step * part_bytes(port));
        // SAFETY: the part of every member has come; the target is apart from the source or exactly this rank's block of it, which no
        // message carries.
        unsafe { reduce(dtype, self.op, &sources, out, part.len() / dtype.size()) };
        Ok(())
    }
}

/// Bytes of a part, of which staging holds two for every rank.
fn part_bytes(port: &Port<'_>) -> usize {
    (port.sizes.chunk / port.size()).next_multiple_of(LINE)
}

impl Algorithm for ReduceScatter {
    fn advance(&mut self, port: &mut Port<'_>) -> Result<Step, Fault> {
        let own = self.parts(port, port.rank());
        let count = chunks(self.blocks.longest() * self.source.dtype().size(), part_bytes(port));
        let mut moved = false;
        if self.posted < count && (self.posted < 2 || self.posted - 2 < self.reduced) {
            self.post(port, self.posted)?;
            self.posted += 1;
            moved = true;
        }
        if self.reduced < self.posted && port.is_done(self.reduced) {
            if self.reduced < own {
                self.reduce(port, self.reduced)?;
            }
            self.reduced += 1;
            moved = true;
        }
        if self.reduced == count && port.is_idle() {
            return Ok(Step::Done);
        }
        Ok(if moved { Step::Moved } else { Step::Waiting })
    }
}
