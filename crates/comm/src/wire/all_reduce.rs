//! All-reduce and reduce of much data, chunk by chunk: every rank reduces its own stripe in rank order and sends the result to whoever wants
//! it. The next chunk travels meanwhile.

use super::collective::Algorithm;
use super::flight::Port;
use super::memory::Block;
use crate::chunks::{chunk_of, chunks, stripe, stripe_width};
use crate::descriptor::ReduceOp;
use crate::operation::{Fault, Step};
use crate::reduce::reduce;
use std::ops::Range;
use std::sync::Arc;
use storage::Span;

pub struct AllReduce {
    data: Span,
    op: ReduceOp,
    /// The only rank that wants the result; None when all do.
    root: Option<usize>,
    /// Twice, for every member, what it brings for this rank's stripe; in this rank's own place a result on its way to the root.
    staging: Option<Arc<Block>>,
    /// Chunks whose raw data was posted, and whose results were.
    posted: usize,
    reduced: usize,
}

impl AllReduce {
    pub fn new(data: Span, op: ReduceOp, root: Option<usize>) -> Self {
        Self { data, op, root, staging: None, posted: 0, reduced: 0 }
    }

    fn wants_result(&self, member: usize) -> bool {
        self.root.is_none_or(|root| root == member)
    }

    /// The bytes of `member`'s stripe of chunk `step`.
    fn stripe(&self, port: &Port<'_>, step: usize, member: usize) -> Range<usize> {
        let chunk = chunk_of(self.data.byte_len(), port.sizes.chunk, step);
        let stripe = stripe(chunk.len(), member, port.size());
        chunk.start + stripe.start..chunk.start + stripe.end
    }

    /// Where staging of chunk `step` holds what `member` brings.
    fn place(&self, port: &Port<'_>, step: usize, member: usize) -> usize {
        let width = stripe_width(port.sizes.chunk.min(self.data.byte_len()), port.size());
        (step % 2 * port.size() + member) * width
    }

    fn stage(&mut self, port: &mut Port<'_>) -> Result<Arc<Block>, Fault> {
        let halves = chunks(self.data.byte_len(), port.sizes.chunk).min(2);
        let bytes = if halves == 2 { 2 * self.place(port, 1, 0) } else { self.place(port, 0, port.size()) };
        match &self.staging {
            Some(staging) => Ok(Arc::clone(staging)),
            None => Ok(Arc::clone(self.staging.insert(port.stage(bytes)?))),
        }
    }

    /// Sends the raw data of chunk `step` to those who reduce it.
    fn post(&mut self, port: &mut Port<'_>, step: usize) -> Result<(), Fault> {
        let staging = self.stage(port)?;
        let own = self.stripe(port, step, port.rank());
        for distance in 1..port.size() {
            let (to, from) = port.neighbours(distance);
            let theirs = self.stripe(port, step, to);
            // Everyone meets everyone once, even about nothing.
            if step == 0 || !theirs.is_empty() {
                port.send(to, port.memory(&self.data, theirs), 2 * step)?;
            }
            if step == 0 || !own.is_empty() {
                let place = self.place(port, step, from);
                port.receive(from, port.staged(&staging, place..place + own.len()), 2 * step);
            }
        }
        Ok(())
    }

    /// Reduces this rank's stripe of chunk `step`, whose raw data has all come, and sends the result.
    fn reduce(&mut self, port: &mut Port<'_>, step: usize) -> Result<(), Fault> {
        let staging = self.stage(port)?;
        let (me, batch) = (port.rank(), 2 * step + 1);
        let own = self.stripe(port, step, me);
        let raw = self.data.as_ptr().wrapping_add(own.start);
        let source = |member| if member == me { raw } else { staging.at(self.place(port, step, member)) }.cast_const();
        let sources: Vec<*const u8> = (0..port.size()).map(source).collect();
        let place = self.place(port, step, me);
        let (out, result) = match self.wants_result(me) {
            true => (raw, port.memory(&self.data, own.clone())),
            false => (staging.at(place), port.staged(&staging, place..place + own.len())),
        };
        let dtype = self.data.dtype();
        // SAFETY: all raw data of this chunk has come and nobody writes it; the result is one of the sources or apart from them.
        unsafe { reduce(dtype, self.op, &sources, out, own.len() / dtype.size()) };
        for distance in 1..port.size() {
            let (to, from) = port.neighbours(distance);
            if self.wants_result(to) && !own.is_empty() {
                port.send(to, result.clone(), batch)?;
            }
            let theirs = self.stripe(port, step, from);
            if self.wants_result(me) && !theirs.is_empty() {
                port.receive(from, port.memory(&self.data, theirs), batch);
            }
        }
        Ok(())
    }

    /// Whether the staging of chunk `step` is free: what was there two chunks ago is reduced, and a result that was staged has arrived.
    fn is_free(&self, port: &Port<'_>, step: usize) -> bool {
        step < 2 || self.wants_result(port.rank()) || port.is_done(2 * (step - 2) + 1)
    }
}

impl Algorithm for AllReduce {
    fn advance(&mut self, port: &mut Port<'_>) -> Result<Step, Fault> {
        let count = chunks(self.data.byte_len(), port.sizes.chunk);
        let mut moved = false;
        // Raw data and results share the ways between ranks: all ranks post them in this one order, whatever arrives first.
        let is_raw_next = self.posted < count && self.posted < self.reduced + 2;
        if is_raw_next && self.is_free(port, self.posted) {
            self.post(port, self.posted)?;
            self.posted += 1;
            moved = true;
        }
        if !is_raw_next && self.reduced < self.posted && port.is_done(2 * self.reduced) {
            self.reduce(port, self.reduced)?;
            self.reduced += 1;
            moved = true;
        }
        if self.reduced == count && port.is_idle() {
            return Ok(Step::Done);
        }
        Ok(if moved { Step::Moved } else { Step::Waiting })
    }
}
