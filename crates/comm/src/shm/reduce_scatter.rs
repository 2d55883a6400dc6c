//! Reduce-scatter: an input is divided into one lane for each rank; each rank sums its lane over all inputs in rank order.

use super::collective::Staged;
use super::line::Line;
use crate::blocks::Blocks;
use crate::chunks::{LINE, chunk_of, chunks};
use crate::descriptor::ReduceOp;
use crate::operation::Fault;
use crate::reduce::reduce;
use std::ops::Range;
use storage::Span;

/// Bytes of a lane, of which an input has one for each rank.
pub fn lane(line: &Line) -> usize {
    (line.chunk() / line.size()) / LINE * LINE
}

pub struct ReduceScatter {
    source: Span,
    target: Span,
    op: ReduceOp,
    blocks: Blocks,
    sources: Vec<*const u8>,
}

// SAFETY: the pointers are refilled before each use and never outlive it.
unsafe impl Send for ReduceScatter {}

impl ReduceScatter {
    pub fn new(source: Span, target: Span, op: ReduceOp, blocks: Blocks) -> Self {
        Self { source, target, op, blocks, sources: Vec::new() }
    }

    /// Bytes `step` of the block for `member`, counted from its beginning.
    fn part(&self, line: &Line, member: usize, step: usize) -> Range<usize> {
        chunk_of(self.blocks.of(member).len() * self.source.dtype().size(), lane(line), step)
    }

    /// This rank's memory for `member`, from byte `start` of its block on.
    fn block(&self, member: usize, start: usize) -> *const u8 {
        self.source.as_ptr().wrapping_add(self.blocks.of(member).start * self.source.dtype().size() + start)
    }
}

impl Staged for ReduceScatter {
    fn steps(&mut self, line: &Line) -> Result<usize, Fault> {
        Ok(chunks(self.blocks.longest() * self.source.dtype().size(), lane(line)))
    }

    fn fill(&mut self, line: &Line, step: usize, phase: u64) {
        for member in (0..line.size()).filter(|&member| member != line.rank()) {
            let part = self.part(line, member, step);
            let to = line.input(line.rank(), phase).wrapping_add(member * lane(line));
            // SAFETY: the part lies within the block and the lane; nobody reads this input until this rank has arrived.
            unsafe { std::ptr::copy_nonoverlapping(self.block(member, part.start), to, part.len()) };
        }
    }

    fn drain(&mut self, line: &Line, step: usize, phase: u64) {
        let (me, offset) = (line.rank(), line.rank() * lane(line));
        let part = self.part(line, me, step);
        let own = self.block(me, part.start);
        self.sources.clear();
        self.sources.extend((0..line.size()).map(|member| match member == me {
            true => own,
            false => line.input(member, phase).wrapping_add(offset).cast_const(),
        }));
        let (dtype, out) = (self.target.dtype(), self.target.as_ptr().wrapping_add(part.start));
        // SAFETY: all ranks have arrived, so their lanes are complete and stay until this rank arrives again; the target is
        // apart from the source or exactly this rank's block of it.
        unsafe { reduce(dtype, self.op, &self.sources, out, part.len() / dtype.size()) };
    }
}
