//! All-gather: every rank shows a chunk, every rank copies all of them.

use super::all_reduce::{chunk_of, chunks};
use super::collective::Staged;
use super::line::Line;
use crate::operation::Fault;
use storage::Span;

pub struct AllGather {
    pub source: Span,
    pub target: Span,
}

impl AllGather {
    /// Where the block of `member` goes.
    fn block(&self, member: usize) -> *mut u8 {
        self.target.as_ptr().wrapping_add(member * self.source.byte_len())
    }
}

impl Staged for AllGather {
    fn steps(&mut self, line: &Line) -> Result<usize, Fault> {
        Ok(chunks(self.source.byte_len(), line.chunk()))
    }

    fn fill(&mut self, line: &Line, step: usize, phase: u64) {
        let chunk = chunk_of(self.source.byte_len(), line.chunk(), step);
        let (source, own) = (self.source.as_ptr().wrapping_add(chunk.start), self.block(line.rank()).wrapping_add(chunk.start));
        // SAFETY: the chunk lies within source, input and this rank's block, which may be the source itself;
        // nobody reads this input until this rank has arrived.
        unsafe {
            std::ptr::copy_nonoverlapping(source, line.input(line.rank(), phase), chunk.len());
            std::ptr::copy(source, own, chunk.len());
        }
    }

    fn drain(&mut self, line: &Line, step: usize, phase: u64) {
        let chunk = chunk_of(self.source.byte_len(), line.chunk(), step);
        for member in (0..line.size()).filter(|&member| member != line.rank()) {
            // SAFETY: `member` has arrived; its input holds the chunk until this rank arrives again.
            unsafe { std::ptr::copy_nonoverlapping(line.input(member, phase), self.block(member).add(chunk.start), chunk.len()) };
        }
    }
}
