//! All-to-all: an input is divided into one lane for each rank; what a pair exchanges may differ from pair to pair.

use super::all_reduce::{chunk_of, chunks};
use super::collective::Staged;
use super::line::Line;
use super::reduce_scatter::lane;
use crate::operation::Fault;
use crate::request::Request;
use std::sync::Arc;

pub struct AllToAll {
    /// An all-to-all.
    request: Arc<Request>,
    sequence: u64,
}

/// Byte offset and length of block `member` among blocks of `counts` elements.
fn block(counts: &[usize], member: usize, size: usize) -> (usize, usize) {
    (counts[..member].iter().sum::<usize>() * size, counts[member] * size)
}

impl AllToAll {
    pub fn new(request: Arc<Request>, sequence: u64) -> Self {
        Self { request, sequence }
    }
}

impl Staged for AllToAll {
    fn steps(&mut self, line: &Line) -> Result<usize, Fault> {
        let Request::AllToAll { source, .. } = &*self.request else { return Ok(1) };
        let mut longest = 0;
        for from in 0..line.size() {
            for to in 0..line.size() {
                let (sent, expected) = line.counts(self.sequence, from, to);
                if sent != expected {
                    return Err(Fault::Uneven { from, to, sent, expected });
                }
                longest = longest.max(sent as usize);
            }
        }
        Ok(chunks(longest * source.dtype().size(), lane(line)))
    }

    fn fill(&mut self, line: &Line, step: usize, phase: u64) {
        let Request::AllToAll { source, target, send, receive } = &*self.request else { return };
        let (me, size) = (line.rank(), source.dtype().size());
        if step == 0 {
            line.post_counts(self.sequence, send, receive);
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
        let Request::AllToAll { target, receive, .. } = &*self.request else { return };
        let (me, size) = (line.rank(), target.dtype().size());
        for member in (0..line.size()).filter(|&member| member != me) {
            let (start, length) = block(receive, member, size);
            let part = chunk_of(length, lane(line), step);
            let from = line.input(member, phase).wrapping_add(me * lane(line));
            // SAFETY: `member` has arrived and sends exactly this many elements; its lane stays until this rank arrives again.
            unsafe { std::ptr::copy_nonoverlapping(from, target.as_ptr().add(start + part.start), part.len()) };
        }
    }
}
