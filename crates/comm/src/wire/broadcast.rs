//! Broadcast: little data down a binomial tree; much of it in parts along a chain, where every rank receives and sends all of it once.

use super::collective::Algorithm;
use super::flight::Port;
use crate::chunks::{chunk_of, chunks};
use crate::operation::{Fault, Step};
use storage::Span;

/// Parts that are awaited, or under way from the root, at once.
const WINDOW: usize = 8;

pub struct Broadcast {
    data: Span,
    root: usize,
    /// Parts asked for, and parts here.
    asked: usize,
    arrived: usize,
}

/// Whom a rank hears from, and whom it tells, as distances from the root.
struct Place {
    parent: Option<usize>,
    children: Vec<usize>,
}

fn binomial(place: usize, size: usize) -> Place {
    let reach = if place == 0 { size.next_power_of_two() } else { 1 << place.trailing_zeros() };
    let bits = (0..usize::BITS).rev().map(|bit| 1usize << bit).filter(|&bit| bit < reach);
    // The child with most ranks behind it first.
    let children = bits.map(|bit| place + bit).filter(|&child| child < size).collect();
    Place { parent: (place > 0).then(|| place & (place - 1)), children }
}

fn chain(place: usize, size: usize) -> Place {
    Place { parent: place.checked_sub(1), children: (place + 1 < size).then_some(place + 1).into_iter().collect() }
}

impl Broadcast {
    pub fn new(data: Span, root: usize) -> Self {
        Self { data, root, asked: 0, arrived: 0 }
    }

    fn place(&self, port: &Port<'_>, is_chain: bool) -> Place {
        let (rank, size) = (port.rank(), port.size());
        let place = (rank + size - self.root) % size;
        let Place { parent, children } = if is_chain { chain(place, size) } else { binomial(place, size) };
        let member = |place: usize| (place + self.root) % size;
        Place { parent: parent.map(member), children: children.into_iter().map(member).collect() }
    }
}

impl Algorithm for Broadcast {
    fn advance(&mut self, port: &mut Port<'_>) -> Result<Step, Fault> {
        let bytes = self.data.byte_len();
        let part = port.sizes.chunk / 4;
        let is_chain = bytes > part;
        let count = chunks(bytes, part);
        let Place { parent, children } = self.place(port, is_chain);
        let before = (self.asked, self.arrived);
        while let Some(parent) = parent
            && self.asked < count.min(self.arrived + WINDOW)
        {
            port.receive(parent, port.memory(&self.data, chunk_of(bytes, part, self.asked)), self.asked);
            self.asked += 1;
        }
        let is_here = |port: &Port<'_>, step: usize| match parent {
            Some(_) => step < before.0 && port.is_done(step),
            None => step < WINDOW || port.is_done(count + step - WINDOW),
        };
        while self.arrived < count && is_here(port, self.arrived) {
            for &child in &children {
                port.send(child, port.memory(&self.data, chunk_of(bytes, part, self.arrived)), count + self.arrived)?;
            }
            self.arrived += 1;
        }
        match (self.asked, self.arrived) == before {
            false => Ok(Step::Moved),
            true if self.arrived == count && port.is_idle() => Ok(Step::Done),
            true => Ok(Step::Waiting),
        }
    }
}
