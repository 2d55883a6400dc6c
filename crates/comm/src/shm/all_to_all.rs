//! All-to-all: an input is divided into one lane for each rank; what a pair exchanges may differ from pair to pair.

use super::collective::Staged;
use super::line::Line;
use super::reduce_scatter::lane;
use crate::blocks::Blocks;
use crate::chunks::{chunk_of, chunks};
use crate::operation::Fault;
use storage::Span;

pub struct AllToAll {
    pub source: Span,
    pub target: Span,
    pub send: Blocks,
    pub receive: Blocks,
    /// Bytes of the longest block that any pair exchanges; known once all have arrived.
    pub longest: usize,
}

/// Byte offset and length of block `member`.
fn block(blocks: &Blocks, member: usize, size: usize) -> (usize, usize) {
    let elements = blocks.of(member);
    (elements.start * size, elements.len() * size)
}

impl Staged for AllToAll {
    fn steps(&mut self, line: &Line) -> Result<usize, Fault> {
        Ok(chunks(self.longest, lane(line)))
    }

    fn agree(&mut self, longest: usize) {
        self.longest = longest * self.source.dtype().size();
    }

    fn fill(&mut self, line: &Line, step: usize, phase: u64) {
        let Self { source, target, send, receive, .. } = self;
        let (me, size) = (line.rank(), source.dtype().size());
        if step == 0 {
            let ((from, length), (to, _)) = (block(send, me, size), block(receive, me, size));
            // SAFETY: the block to itself has the same length on both sides, and the two tensors are apart.
            unsafe { std::ptr::copy_nonoverlapping(source.as_ptr().add(from), target.as_ptr().add(to), length) };
        }
        for member in (0..line.size()).filter(|&member| member != me) {
            let (start, length) = block(send, member, size);
            let part = chunk_of(length, lane(line), step);
            let to = line.input(me, phase).wrapping_add(member * lane(line));
            // SAFETY: the part lies within the block and the lane; nobody reads this input until this rank has arrived.
            unsafe { std::ptr::copy_nonoverlapping(source.as_ptr().add(start + part.start), to, part.len()) };
        }
    }

    fn drain(&mut self, line: &Line, step: usize, phase: u64) {
        let (me, size) = (line.rank(), self.target.dtype().size());
        for member in (0..line.size()).filter(|&member| member != me) {
            let (start, length) = block(&self.receive, member, size);
            let part = chunk_of(length, lane(line), step);
            let from = line.input(member, phase).wrapping_add(me * lane(line));
            // SAFETY: `member` has arrived and sends exactly this many elements; its lane stays until this rank arrives again.
            unsafe { std::ptr::copy_nonoverlapping(from, self.target.as_ptr().add(start + part.start), part.len()) };
        }
    }
}
