//! Barrier by dissemination: in round r each rank hears of the 2^r ranks before it, and so of all after log2 rounds.

use super::Piece;
use super::collective::Algorithm;
use super::flight::Port;
use crate::operation::{Fault, Step};

#[derive(Default)]
pub struct Barrier {
    /// Distance of the round under way; 0 before the first.
    distance: usize,
}

impl Algorithm for Barrier {
    fn advance(&mut self, port: &mut Port<'_>) -> Result<Step, Fault> {
        if self.distance > 0 && !port.is_done(self.distance) {
            return Ok(Step::Waiting);
        }
        self.distance = (2 * self.distance).max(1);
        if self.distance >= port.size() {
            return Ok(Step::Done);
        }
        let (to, from) = port.neighbours(self.distance);
        port.send(to, Piece::empty(), self.distance)?;
        port.receive(from, Piece::empty(), self.distance);
        Ok(Step::Moved)
    }
}
