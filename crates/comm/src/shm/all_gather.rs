//! All-gather and gather: every rank shows a chunk of its block, and every rank, or the root alone, copies all of them.

use super::collective::Staged;
use super::line::Line;
use crate::blocks::Blocks;
use crate::chunks::{chunk_of, chunks};
use crate::operation::Fault;
use std::ops::Range;
use storage::Span;

pub struct AllGather {
    pub source: Span,
    /// None where the result is not wanted.
    pub target: Option<Span>,
    pub blocks: Blocks,
}

impl AllGather {
    /// Bytes `step` of the block of `member`, counted from its beginning.
    fn part(&self, line: &Line, member: usize, step: usize) -> Range<usize> {
        chunk_of(self.blocks.of(member).len() * self.source.dtype().size(), line.chunk(), step)
    }

    /// Copies a part of the block of `member` to its place in the result.
    fn place(&self, line: &Line, member: usize, step: usize, from: *const u8) {
        let Some(target) = &self.target else { return };
        let part = self.part(line, member, step);
        let start = self.blocks.of(member).start * self.source.dtype().size() + part.start;
        // SAFETY: the part lies within the block, and the block within the target; `from` holds the part and may be that place itself.
        unsafe { std::ptr::copy(from, target.as_ptr().add(start), part.len()) };
    }
}

impl Staged for AllGather {
    fn steps(&mut self, line: &Line) -> Result<usize, Fault> {
        Ok(chunks(self.blocks.longest() * self.source.dtype().size(), line.chunk()))
    }

    fn fill(&mut self, line: &Line, step: usize, phase: u64) {
        let part = self.part(line, line.rank(), step);
        let source = self.source.as_ptr().wrapping_add(part.start);
        // SAFETY: the part lies within source and input; nobody reads this input until this rank has arrived.
        unsafe { std::ptr::copy_nonoverlapping(source, line.input(line.rank(), phase), part.len()) };
        self.place(line, line.rank(), step, source);
    }

    fn drain(&mut self, line: &Line, step: usize, phase: u64) {
        // Each has arrived, and its input holds its part until this rank arrives again.
        (0..line.size())
            .filter(|&member| member != line.rank())
            .for_each(|member| self.place(line, member, step, line.input(member, phase)));
    }
}
