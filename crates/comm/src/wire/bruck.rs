//! Little data of every rank to every rank in log2 rounds, after Bruck: what a rank holds doubles from round to round.

use super::flight::Port;
use super::memory::Block;
use crate::operation::Fault;
use std::sync::Arc;

pub struct Bruck {
    /// Bytes that each rank brings.
    each: usize,
    /// What this rank holds: its own data, then that of the ranks after it.
    held: Arc<Block>,
    /// Of how many ranks.
    count: usize,
    is_posted: bool,
}

impl Bruck {
    pub fn new(port: &mut Port<'_>, own: *const u8, each: usize) -> Result<Self, Fault> {
        let held = port.stage(each * port.size())?;
        // SAFETY: the caller's memory holds what it brings; the staging memory is free and large enough.
        unsafe { std::ptr::copy_nonoverlapping(own, held.at(0), each) };
        Ok(Self { each, held, count: 1, is_posted: false })
    }

    /// Whether this rank holds everything. Else true in `moved` when another round has begun.
    pub fn advance(&mut self, port: &mut Port<'_>, moved: &mut bool) -> Result<bool, Fault> {
        let size = port.size();
        if self.is_posted && port.is_done(self.count) {
            self.count = (2 * self.count).min(size);
            self.is_posted = false;
        }
        if self.count == size {
            return Ok(true);
        }
        if !self.is_posted {
            let blocks = self.count.min(size - self.count);
            let (after, before) = port.neighbours(self.count);
            let (held, start) = (0..blocks * self.each, self.count * self.each);
            port.send(before, port.staged(&self.held, held.clone()), self.count)?;
            port.receive(after, port.staged(&self.held, start..start + held.end), self.count);
            self.is_posted = true;
            *moved = true;
        }
        Ok(false)
    }

    /// The data of `member`, once everything is here.
    pub fn of(&self, port: &Port<'_>, member: usize) -> *const u8 {
        let size = port.size();
        self.held.at((member + size - port.rank()) % size * self.each).cast_const()
    }
}
