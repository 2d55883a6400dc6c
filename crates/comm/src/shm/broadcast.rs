//! Broadcast: the root shows a chunk, the others copy it. Barrier: nobody shows anything.

use super::collective::Staged;
use super::line::Line;
use crate::chunks::{chunk_of, chunks};
use crate::operation::Fault;
use storage::Span;

pub struct Broadcast {
    pub data: Span,
    pub root: usize,
}

impl Staged for Broadcast {
    fn steps(&mut self, line: &Line) -> Result<usize, Fault> {
        Ok(chunks(self.data.byte_len(), line.chunk()))
    }

    fn fill(&mut self, line: &Line, step: usize, phase: u64) {
        if line.rank() == self.root {
            let chunk = chunk_of(self.data.byte_len(), line.chunk(), step);
            // SAFETY: the chunk lies within data and input; nobody reads this input until this rank has arrived.
            unsafe { std::ptr::copy_nonoverlapping(self.data.as_ptr().add(chunk.start), line.input(self.root, phase), chunk.len()) };
        }
    }

    fn drain(&mut self, line: &Line, step: usize, phase: u64) {
        if line.rank() != self.root {
            let chunk = chunk_of(self.data.byte_len(), line.chunk(), step);
            // SAFETY: the root has arrived; its input holds the chunk until this rank arrives again.
            unsafe { std::ptr::copy_nonoverlapping(line.input(self.root, phase), self.data.as_ptr().add(chunk.start), chunk.len()) };
        }
    }
}

/// Ranks only meet.
pub struct Barrier;

impl Staged for Barrier {
    fn steps(&mut self, _line: &Line) -> Result<usize, Fault> {
        Ok(1)
    }

    fn fill(&mut self, _line: &Line, _step: usize, _phase: u64) {}

    fn drain(&mut self, _line: &Line, _step: usize, _phase: u64) {}
}
