//! The state machine that all collectives share: fill, arrive, wait for all, drain, step by step.

use super::line::{Line, LineSlot};
use crate::descriptor::Descriptor;
use crate::operation::{Fault, Operation, Step};
use std::sync::Arc;

/// What is particular to one collective. A step is a phase of the line.
pub trait Staged: Send {
    /// How many steps there are, at least 1. Asked once all ranks have arrived at the first.
    fn steps(&mut self, line: &Line) -> Result<usize, Fault>;

    /// Told, before `steps`, the most elements that any rank sends to another, where ranks posted what they send.
    fn agree(&mut self, _longest: usize) {}

    /// Writes this rank's input of `phase`.
    fn fill(&mut self, line: &Line, step: usize, phase: u64);

    /// Uses what all ranks wrote in `phase`.
    fn drain(&mut self, line: &Line, step: usize, phase: u64);
}

enum State {
    Unconnected,
    /// Arrived at this phase with the input of `step`.
    Arrived {
        step: usize,
        phase: u64,
    },
}

/// A collective in flight.
pub struct Collective<S> {
    slot: Arc<LineSlot>,
    descriptor: Descriptor,
    staged: S,
    /// What this rank sends to each and expects from each, where the ranks must compare that.
    pairs: Option<(Vec<usize>, Vec<usize>)>,
    /// Known from the first drain on.
    steps: usize,
    state: State,
}

impl<S: Staged> Collective<S> {
    pub fn new(slot: Arc<LineSlot>, descriptor: Descriptor, staged: S, pairs: Option<(Vec<usize>, Vec<usize>)>) -> Self {
        Self { slot, descriptor, staged, pairs, steps: usize::MAX, state: State::Unconnected }
    }
}

/// Whether all have arrived at the first phase of `descriptor`; an error as soon as one of them is about something else.
fn gathered(line: &Line, descriptor: &Descriptor, phase: u64) -> Result<bool, Fault> {
    let mut all = true;
    for member in 0..line.size() {
        if !line.has_arrived(member, phase) {
            all = false;
        } else if !line.agrees(member, descriptor) {
            return Err(Fault::Disagree);
        }
    }
    Ok(all)
}

/// The most elements that any rank sends to another; an error when a pair disagrees.
fn longest(line: &Line, sequence: u64) -> Result<usize, Fault> {
    let mut longest = 0;
    for from in 0..line.size() {
        for to in 0..line.size() {
            let (sent, expected) = line.counts(sequence, from, to);
            if sent != expected {
                return Err(Fault::Uneven { from, to, sent, expected });
            }
            longest = longest.max(sent as usize);
        }
    }
    Ok(longest)
}

impl<S: Staged> Operation for Collective<S> {
    fn poll(&mut self) -> Result<Step, Fault> {
        let State::Arrived { step, phase } = self.state else {
            let Some(line) = self.slot.connect()? else { return Ok(Step::Waiting) };
            line.post(&self.descriptor);
            if let Some((send, receive)) = &self.pairs {
                line.post_counts(self.descriptor.sequence, send, receive);
            }
            // This rank's next phase: all members have gone through the same ones.
            self.staged.fill(line, 0, line.next_phase());
            self.state = State::Arrived { step: 0, phase: line.arrive() };
            return Ok(Step::Moved);
        };
        let Some(line) = self.slot.get() else { return Ok(Step::Waiting) };
        if step == 0 {
            if !gathered(line, &self.descriptor, phase)? {
                return Ok(Step::Waiting);
            }
            if self.pairs.is_some() {
                self.staged.agree(longest(line, self.descriptor.sequence)?);
            }
            self.steps = self.staged.steps(line)?;
        } else if !line.all_arrived(phase) {
            return Ok(Step::Waiting);
        }
        self.staged.drain(line, step, phase);
        if step + 1 == self.steps {
            return Ok(Step::Done);
        }
        self.staged.fill(line, step + 1, line.next_phase());
        self.state = State::Arrived { step: step + 1, phase: line.arrive() };
        Ok(Step::Moved)
    }

    fn missing(&self) -> Vec<usize> {
        let me = self.slot.spec().rank;
        let others = (0..self.slot.spec().ranks.len()).filter(|&member| member != me);
        match (&self.state, self.slot.get()) {
            (State::Arrived { phase, .. }, Some(line)) => others.filter(|&member| !line.has_arrived(member, *phase)).collect(),
            _ => others.collect(),
        }
    }

    fn posted(&self, member: usize) -> Option<Descriptor> {
        let (State::Arrived { step, phase }, Some(line)) = (&self.state, self.slot.get()) else { return None };
        // The phase in which this operation began.
        let first = phase - *step as u64;
        line.has_arrived(member, first).then(|| line.posted(member, self.descriptor.sequence)).flatten()
    }
}
