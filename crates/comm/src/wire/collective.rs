//! The state machine that all collectives over messages share.

use super::Wire;
use super::flight::{Flight, Port, Sizes};
use super::ledger::Ledger;
use super::link::Link;
use super::memory::Block;
use super::notices::Notices;
use crate::backend::GroupSpec;
use crate::descriptor::Descriptor;
use crate::group::lock;
use crate::operation::{Fault, Operation, Step};
use crate::request::Request;
use std::sync::{Arc, Mutex};

/// What is particular to one collective: which messages it posts, and what it does with those that have come.
pub trait Algorithm: Send {
    /// Posts and uses whatever it can. `Done` once nothing is left to post and all messages have ended.
    fn advance(&mut self, port: &mut Port<'_>) -> Result<Step, Fault>;
}

/// What the collectives of one group share, one after the other.
pub struct Meeting {
    link: Link,
    ledger: Ledger,
    notices: Notices,
    staging: Option<Arc<Block>>,
    pub sizes: Sizes,
}

impl Meeting {
    pub fn new(wire: &Arc<dyn Wire>, spec: &Arc<GroupSpec>, sizes: Sizes) -> Self {
        let link = |purpose, inline| Link::new(Arc::clone(wire), Arc::clone(spec), purpose, inline);
        Self {
            link: link("collectives", sizes.inline),
            ledger: Ledger::new(spec.ranks.len()),
            notices: Notices::new(link("notices", 0)),
            staging: None,
            sizes,
        }
    }
}

/// A collective in flight.
pub struct Collective {
    meeting: Arc<Mutex<Meeting>>,
    flight: Flight,
    algorithm: Box<dyn Algorithm>,
    is_begun: bool,
}

impl Collective {
    pub fn new(meeting: &Arc<Mutex<Meeting>>, descriptor: Descriptor, request: &Arc<Request>, algorithm: Box<dyn Algorithm>) -> Self {
        let flight = Flight::new(descriptor, request, &lock(meeting).link);
        Self { meeting: Arc::clone(meeting), flight, algorithm, is_begun: false }
    }

    /// Looks for a rank that is about something else, also where nothing is needed from it.
    fn look_around(&mut self, meeting: &mut Meeting) -> Result<(), Fault> {
        let Meeting { link, ledger, notices, .. } = meeting;
        for member in link.others() {
            if self.flight.may_look(member)
                && let Some(header) = link.look(member)?
            {
                ledger.hear(member, header.descriptor, &self.flight.descriptor, true)?;
            }
        }
        let awaited = self.flight.awaited().first().copied();
        notices.exchange(&self.flight.descriptor, awaited, ledger)
    }
}

impl Operation for Collective {
    fn poll(&mut self) -> Result<Step, Fault> {
        let shared = Arc::clone(&self.meeting);
        let mut meeting = lock(&shared);
        if !meeting.link.connect()? {
            return Ok(Step::Waiting);
        }
        if !std::mem::replace(&mut self.is_begun, true) {
            meeting.ledger.begin(&self.flight.descriptor);
            meeting.notices.rest();
        }
        let Meeting { link, ledger, staging, sizes, .. } = &mut *meeting;
        let moved = self.flight.poll(link, ledger)?;
        let mut port = Port { link, flight: &mut self.flight, staging, sizes: *sizes };
        let step = self.algorithm.advance(&mut port)?;
        if moved || step != Step::Waiting {
            meeting.notices.rest();
            return Ok(if step == Step::Done { Step::Done } else { Step::Moved });
        }
        if meeting.notices.is_impatient() {
            self.look_around(&mut meeting)?;
        }
        Ok(Step::Waiting)
    }

    fn missing(&self) -> Vec<usize> {
        if self.is_begun { self.flight.awaited() } else { lock(&self.meeting).link.others().collect() }
    }

    fn blockers(&self) -> Vec<usize> {
        let missing = self.missing();
        let meeting = lock(&self.meeting);
        let resolve = |member| meeting.notices.resolve(member, &self.flight.descriptor);
        let mut members: Vec<usize> = missing.into_iter().map(resolve).collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    fn posted(&self, member: usize) -> Option<Descriptor> {
        let mut meeting = lock(&self.meeting);
        let own = &self.flight.descriptor;
        let Meeting { link, ledger, .. } = &mut *meeting;
        // Whoever asks knows already that not all are about the same.
        if self.is_begun
            && self.flight.may_look(member)
            && let Ok(Some(header)) = link.look(member)
        {
            let _ = ledger.hear(member, header.descriptor, own, true);
        }
        ledger.posted(member, own)
    }
}
