//! Scatter: the root divides its input into one lane for each rank; each copies its own.

use super::collective::Staged;
use super::line::Line;
use super::reduce_scatter::lane;
use crate::blocks::Blocks;
use crate::chunks::{chunk_of, chunks};
use crate::operation::Fault;
use crate::solo::copy_bytes;
use std::ops::Range;
use storage::Span;

pub struct Scatter {
    /// The root's alone.
    pub source: Option<Span>,
    pub target: Span,
    pub root: usize,
    pub blocks: Blocks,
}

impl Scatter {
    /// Bytes `step` of the block for `member`, counted from its beginning.
    fn part(&self, line: &Line, member: usize, step: usize) -> Range<usize> {
        chunk_of(self.blocks.of(member).len() * self.target.dtype().size(), lane(line), step)
    }
}

impl Staged for Scatter {
    fn steps(&mut self, line: &Line) -> Result<usize, Fault> {
        Ok(chunks(self.blocks.longest() * self.target.dtype().size(), lane(line)))
    }

    fn fill(&mut self, line: &Line, step: usize, phase: u64) {
        let Some(source) = &self.source else { return };
        for member in 0..line.size() {
            let part = self.part(line, member, step);
            let start = self.blocks.of(member).start * self.target.dtype().size() + part.start;
            let to = match member == self.root {
                true => self.target.as_ptr().wrapping_add(part.start),
                false => line.input(self.root, phase).wrapping_add(member * lane(line)),
            };
            // SAFETY: the part lies within the block and the lane, or within the target, which may be the block itself;
            // nobody reads this input until this rank has arrived.
            unsafe { copy_bytes(source.as_ptr().wrapping_add(start), to, part.len()) };
        }
    }

    fn drain(&mut self, line: &Line, step: usize, phase: u64) {
        if line.rank() == self.root {
            return;
        }
        let part = self.part(line, line.rank(), step);
        let from = line.input(self.root, phase).wrapping_add(line.rank() * lane(line));
        // SAFETY: the root has arrived; its lane holds the part until this rank arrives again.
        unsafe { copy_bytes(from, self.target.as_ptr().wrapping_add(part.start), part.len()) };
    }
}
