//! All-reduce and reduce of little data: whoever wants the result gets everything at once and reduces it in rank order.

use super::collective::Algorithm;
use super::flight::Port;
use super::memory::Block;
use crate::chunks::LINE;
use crate::descriptor::ReduceOp;
use crate::operation::{Fault, Step};
use crate::reduce::reduce;
use std::sync::Arc;
use storage::Span;

pub struct DirectReduce {
    data: Span,
    op: ReduceOp,
    /// The only rank that wants the result; None when all do.
    root: Option<usize>,
    /// What the others bring, by group rank.
    staging: Option<Arc<Block>>,
}

impl DirectReduce {
    pub fn new(data: Span, op: ReduceOp, root: Option<usize>) -> Self {
        Self { data, op, root, staging: None }
    }

    fn wants_result(&self, member: usize) -> bool {
        self.root.is_none_or(|root| root == member)
    }

    fn post(&mut self, port: &mut Port<'_>) -> Result<(), Fault> {
        let length = self.data.byte_len();
        let stride = length.next_multiple_of(LINE);
        let wanted = self.wants_result(port.rank());
        let staging = port.stage(if wanted { stride * port.size() } else { 0 })?;
        for step in 1..port.size() {
            let (to, from) = port.neighbours(step);
            if self.wants_result(to) {
                port.send(to, port.memory(&self.data, 0..length), 0)?;
            }
            if wanted {
                port.receive(from, port.staged(&staging, from * stride..from * stride + length), 0);
            }
        }
        self.staging = Some(staging);
        Ok(())
    }
}

impl Algorithm for DirectReduce {
    fn advance(&mut self, port: &mut Port<'_>) -> Result<Step, Fault> {
        let Some(staging) = &self.staging else {
            self.post(port)?;
            return Ok(Step::Moved);
        };
        if !port.is_idle() {
            return Ok(Step::Waiting);
        }
        let (rank, stride) = (port.rank(), self.data.byte_len().next_multiple_of(LINE));
        if self.wants_result(rank) {
            let source = |member: usize| if member == rank { self.data.as_ptr() } else { staging.at(member * stride) }.cast_const();
            let sources: Vec<*const u8> = (0..port.size()).map(source).collect();
            // SAFETY: all messages have ended, so staging is complete and nobody reads the tensor, which is one of the sources.
            unsafe { reduce(self.data.dtype(), self.op, &sources, self.data.as_ptr(), self.data.len()) };
        }
        Ok(Step::Done)
    }
}
