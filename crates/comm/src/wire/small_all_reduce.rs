//! All-reduce of little data of many ranks: everyone gets all of it and reduces it in rank order.

use super::bruck::Bruck;
use super::collective::Algorithm;
use super::flight::Port;
use crate::descriptor::ReduceOp;
use crate::operation::{Fault, Step};
use crate::reduce::reduce;
use storage::Span;

pub struct SmallAllReduce {
    data: Span,
    op: ReduceOp,
    bruck: Option<Bruck>,
}

impl SmallAllReduce {
    pub fn new(data: Span, op: ReduceOp) -> Self {
        Self { data, op, bruck: None }
    }
}

impl Algorithm for SmallAllReduce {
    fn advance(&mut self, port: &mut Port<'_>) -> Result<Step, Fault> {
        let bruck = match &mut self.bruck {
            Some(bruck) => bruck,
            none => none.insert(Bruck::new(port, self.data.as_ptr(), self.data.byte_len())?),
        };
        let mut moved = false;
        if !bruck.advance(port, &mut moved)? {
            return Ok(if moved { Step::Moved } else { Step::Waiting });
        }
        let sources: Vec<*const u8> = (0..port.size()).map(|member| bruck.of(port, member)).collect();
        // SAFETY: staging holds the data of every member, one after the other and so aligned for its elements; the tensor is apart from it.
        unsafe { reduce(self.data.dtype(), self.op, &sources, self.data.as_ptr(), self.data.len()) };
        Ok(Step::Done)
    }
}
