//! All-gather of little data of many ranks.

use super::bruck::Bruck;
use super::collective::Algorithm;
use super::flight::Port;
use crate::operation::{Fault, Step};
use storage::Span;

pub struct SmallAllGather {
    source: Span,
    target: Span,
    bruck: Option<Bruck>,
}

impl SmallAllGather {
    pub fn new(source: Span, target: Span) -> Self {
        Self { source, target, bruck: None }
    }
}

impl Algorithm for SmallAllGather {
    fn advance(&mut self, port: &mut Port<'_>) -> Result<Step, Fault> {
        let each = self.source.byte_len();
        let bruck = match &mut self.bruck {
            Some(bruck) => bruck,
            none => none.insert(Bruck::new(port, self.source.as_ptr(), each)?),
        };
        let mut moved = false;
        if !bruck.advance(port, &mut moved)? {
            return Ok(if moved { Step::Moved } else { Step::Waiting });
        }
        for member in 0..port.size() {
            // SAFETY: staging holds `each` bytes of every member, and the target a block of `each` bytes for it.
            unsafe { std::ptr::copy_nonoverlapping(bruck.of(port, member), self.target.as_ptr().add(member * each), each) };
        }
        Ok(Step::Done)
    }
}
