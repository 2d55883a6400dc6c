//! One operation in flight: a state machine that is polled and never blocks.

use crate::descriptor::Descriptor;

/// What a poll achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The operation has ended and its results are in place.
    Done,
    /// Something moved; there may be more to do at once.
    Moved,
    /// Nothing to do until another rank acts.
    Waiting,
}

/// Why an operation cannot go on. Ranks are group ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// At least one rank has posted another operation: `Operation::posted` tells which.
    Disagree,
    /// An uneven exchange of counts: `from` sends `sent` elements where `to` expects `expected`.
    Uneven { from: usize, to: usize, sent: u64, expected: u64 },
    /// The next message from `peer` is not the one this receive was posted for.
    Unexpected(Box<Unexpected>),
    /// The transport itself gave up, with a sentence.
    Broken(String),
}

/// A message from `peer` that nobody asked for at this point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexpected {
    pub peer: usize,
    pub theirs: Descriptor,
    pub expected: Descriptor,
}

/// An operation that could not begin.
pub struct Failed(pub Fault);

impl Operation for Failed {
    fn poll(&mut self) -> Result<Step, Fault> {
        Err(self.0.clone())
    }

    fn missing(&self) -> Vec<usize> {
        Vec::new()
    }

    fn posted(&self, _member: usize) -> Option<Descriptor> {
        None
    }
}

/// One operation in flight.
pub trait Operation: Send {
    /// Advances as far as one bounded piece of work. Is not called again after `Done` or an error.
    fn poll(&mut self) -> Result<Step, Fault>;

    /// Whether the next collective of the group may begin: this one has been handed to a device, which does them in order.
    fn lets_follow(&self) -> bool {
        false
    }

    /// The group ranks whose next action this operation waits for.
    fn missing(&self) -> Vec<usize>;

    /// The group ranks that the waiting comes down to, as far as the others have said whom they wait for themselves.
    fn blockers(&self) -> Vec<usize> {
        self.missing()
    }

    /// What `member` has posted as this operation; None as long as it has not arrived.
    fn posted(&self, member: usize) -> Option<Descriptor>;
}
