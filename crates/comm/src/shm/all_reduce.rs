//! All-reduce and reduce: each rank that wants the result sums everything (two ranks, or little data), or every rank its own stripe of each
//! chunk, in rank order.

use super::collective::Staged;
use super::line::Line;
use crate::chunks::{chunk_of, chunks, stripe};
use crate::descriptor::ReduceOp;
use crate::operation::Fault;
use crate::reduce::reduce;
use std::ops::Range;
use storage::Span;

/// Up to so many bytes each rank sums everything: one meeting less is worth the repeated sums.
const DIRECT_BYTES: usize = 64 << 10;

pub struct AllReduce {
    data: Span,
    op: ReduceOp,
    /// The only rank that wants the result; None when all do.
    root: Option<usize>,
    sources: Vec<*const u8>,
}

// SAFETY: the pointers are refilled before each use and never outlive it.
unsafe impl Send for AllReduce {}

impl AllReduce {
    pub fn new(data: Span, op: ReduceOp, root: Option<usize>) -> Self {
        Self { data, op, root, sources: Vec::new() }
    }

    fn wants_result(&self, line: &Line) -> bool {
        self.root.is_none_or(|root| root == line.rank())
    }

    fn is_direct(&self, line: &Line) -> bool {
        line.size() == 2 || self.data.byte_len() <= DIRECT_BYTES
    }

    fn chunk(&self, line: &Line, step: usize) -> Range<usize> {
        chunk_of(self.data.byte_len(), line.chunk(), step)
    }

    /// Sums bytes `part` of the chunk that begins at `start` into `out`. This rank's own share is read from its memory.
    fn sum(&mut self, line: &Line, phase: u64, start: usize, part: Range<usize>, out: *mut u8) {
        let own = self.data.as_ptr().wrapping_add(start + part.start).cast_const();
        self.sources.clear();
        self.sources.extend((0..line.size()).map(|member| match member == line.rank() {
            true => own,
            false => line.input(member, phase).wrapping_add(part.start).cast_const(),
        }));
        let (dtype, op) = (self.data.dtype(), self.op);
        // SAFETY: all ranks have arrived, so the inputs of this phase are complete and stay until this rank arrives again;
        // the part lies within the chunk, and `out` is this rank's own memory or its own stripe of the result.
        unsafe { reduce(dtype, op, &self.sources, out, part.len() / dtype.size()) };
    }
}

impl Staged for AllReduce {
    fn steps(&mut self, line: &Line) -> Result<usize, Fault> {
        // Results lag by a step.
        Ok(chunks(self.data.byte_len(), line.chunk()) + usize::from(!self.is_direct(line)))
    }

    fn fill(&mut self, line: &Line, step: usize, phase: u64) {
        let chunk = self.chunk(line, step);
        let (source, input) = (self.data.as_ptr().wrapping_add(chunk.start), line.input(line.rank(), phase));
        // Nobody else sums this rank's own stripe.
        let skip = if self.is_direct(line) { 0..0 } else { stripe(chunk.len(), line.rank(), line.size()) };
        for part in [0..skip.start, skip.end..chunk.len()] {
            // SAFETY: the part lies within the chunk; nobody reads this input until this rank has arrived.
            unsafe { std::ptr::copy_nonoverlapping(source.add(part.start), input.add(part.start), part.len()) };
        }
    }

    fn drain(&mut self, line: &Line, step: usize, phase: u64) {
        let chunk = self.chunk(line, step);
        if self.is_direct(line) {
            if !self.wants_result(line) {
                return;
            }
            let out = self.data.as_ptr().wrapping_add(chunk.start);
            return self.sum(line, phase, chunk.start, 0..chunk.len(), out);
        }
        let own = stripe(chunk.len(), line.rank(), line.size());
        let out = line.result(phase).wrapping_add(own.start);
        self.sum(line, phase, chunk.start, own, out);
        if let Some(before) = step.checked_sub(1)
            && self.wants_result(line)
        {
            let chunk = self.chunk(line, before);
            // SAFETY: all ranks have summed their stripes of the chunk before they arrived at this phase.
            unsafe { std::ptr::copy_nonoverlapping(line.result(phase - 1), self.data.as_ptr().add(chunk.start), chunk.len()) };
        }
    }
}
