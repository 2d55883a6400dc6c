//! The operations of one group in flight: collectives one after the other, exchanges side by side. A collective that has been handed to a
//! device, which keeps their order, goes on beside the next one, so that nobody waits for the device between two.

use crate::backend::{GroupSpec, Transport, Wait};
use crate::device_request::Asked;
use crate::failure::Failure;
use crate::operation::{Fault, Operation, Step};
use crate::watchdog::{self, Dispute};
use crate::work::Task;
use crate::world::WorldState;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An operation that has been started.
pub(crate) struct Active {
    pub task: Arc<Task>,
    pub operation: Box<dyn Operation>,
    pub started: Instant,
    /// After how long the next warning is due.
    pub warn_after: Duration,
    /// Once this rank knows that the ranks disagree.
    pub dispute: Option<Dispute>,
    /// The program does not go on before this has ended.
    pub is_awaited: bool,
    /// The ranks that were seen to wait for each other because of it.
    pub circle: Vec<(u32, crate::backend::Wait)>,
    /// The others may have been told that this rank waits in it.
    is_told: bool,
}

/// What became of an operation after a poll.
enum After {
    Ended,
    Moved,
    Waiting,
    Failed(Failure),
}

pub(crate) struct Lane {
    transport: Box<dyn Transport>,
    queue: VecDeque<Arc<Task>>,
    collective: Option<Active>,
    /// Exchanges, and collectives that let others follow.
    beside: Vec<Active>,
}

impl Lane {
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self { transport, queue: VecDeque::new(), collective: None, beside: Vec::new() }
    }

    /// Takes a collective into the queue, or starts an exchange at once.
    pub fn accept(&mut self, world: &WorldState, task: Arc<Task>) {
        if task.descriptor.signature.kind.is_messages() {
            let active = self.start(world, task);
            self.beside.push(active);
        } else {
            self.queue.push_back(task);
        }
    }

    fn start(&mut self, world: &WorldState, task: Arc<Task>) -> Active {
        world.control().enter(&task.descriptor);
        let started = Instant::now();
        world.recorder.start(task.entry, started);
        let operation = match &task.asked {
            Asked::OnHost(request) => self.transport.start(task.descriptor, request),
            Asked::OnDevice(request) => self.transport.start_on_device(task.descriptor, request),
        };
        Active { warn_after: task.slow, task, operation, started, dispute: None, circle: Vec::new(), is_awaited: false, is_told: false }
    }

    /// Polls what is under way once. Returns (operations ended, whether anything moved).
    pub fn poll(&mut self, world: &WorldState, spec: &GroupSpec) -> (usize, bool) {
        if let Some(failure) = world.failure() {
            return (self.fail(world, &failure), true);
        }
        let (mut ended, mut moved) = (0, false);
        if self.collective.is_none() {
            self.collective = self.queue.pop_front().map(|task| self.start(world, task));
        }
        if let Some(active) = &mut self.collective {
            match active.poll(world, spec) {
                After::Ended => {
                    self.collective = None;
                    (ended, moved) = (1, true);
                }
                After::Moved => moved = true,
                After::Waiting => {}
                After::Failed(failure) => return (self.fail(world, &failure), true),
            }
        }
        let mut index = 0;
        while index < self.beside.len() {
            match self.beside[index].poll(world, spec) {
                After::Ended => {
                    self.beside.remove(index);
                    (ended, moved) = (ended + 1, true);
                    continue;
                }
                After::Moved => moved = true,
                After::Waiting => {}
                After::Failed(failure) => return (ended + self.fail(world, &failure), true),
            }
            index += 1;
        }
        if let Some(active) = self.collective.take_if(|active| active.operation.lets_follow()) {
            self.beside.push(active);
            moved = true;
        }
        (ended, moved)
    }

    /// Whether something is under way that the program has let a stream of a device wait for, and does not wait for itself any more.
    pub fn is_led(&self) -> bool {
        let active = self.collective.iter().chain(&self.beside).map(|active| &active.task);
        active.chain(&self.queue).any(|task| task.is_led())
    }

    /// Looks after whatever waits: liveness, deadlines, warnings. Returns the number of operations ended.
    pub fn inspect(&mut self, world: &WorldState, spec: &GroupSpec) -> usize {
        let now = Instant::now();
        // Who waits for an operation in the queue waits for the one in front.
        let is_queue_awaited = self.queue.iter().any(|task| task.is_awaited());
        let collective = self.collective.iter_mut().map(|active| (is_queue_awaited, active));
        let mut failure = None;
        for (is_awaited, active) in collective.chain(self.beside.iter_mut().map(|active| (false, active))) {
            active.is_awaited = is_awaited || active.task.is_awaited();
            let found = active.inspect(world, spec, now);
            active.tell(world, spec);
            failure = failure.or(found);
        }
        let failure = failure.or_else(|| self.inspect_queue(world, spec, now));
        failure.map_or(0, |failure| self.fail(world, &world.fail(failure)))
    }

    /// The limits of operations that have not begun.
    fn inspect_queue(&self, world: &WorldState, spec: &GroupSpec, now: Instant) -> Option<Failure> {
        let front = self.collective.as_ref()?;
        let (task, limit) = self.queue.iter().find_map(|task| Some((task, task.overrun(None, now)?)))?;
        Some(watchdog::queue_timeout(world, spec, front, &task.descriptor, limit))
    }

    /// Ends everything with `failure`. Returns how many operations that were.
    pub fn fail(&mut self, world: &WorldState, failure: &Failure) -> usize {
        let active = self.collective.take().into_iter().chain(self.beside.drain(..));
        let active = active.inspect(|active| active.withdraw(world)).map(|active| active.task);
        let tasks: Vec<_> = active.chain(self.queue.drain(..)).collect();
        for task in &tasks {
            task.settle(world, Err(failure.clone()));
        }
        tasks.len()
    }
}

impl Active {
    fn poll(&mut self, world: &WorldState, spec: &GroupSpec) -> After {
        if self.dispute.is_some() {
            return self.verdict(world, spec);
        }
        match self.operation.poll() {
            Ok(Step::Moved) => After::Moved,
            Ok(Step::Waiting) => After::Waiting,
            // A result is not delivered once the world has failed.
            Ok(Step::Done) => match world.failure() {
                Some(failure) => After::Failed(failure),
                None => {
                    self.withdraw(world);
                    self.task.settle(world, Ok(()));
                    After::Ended
                }
            },
            Err(Fault::Disagree) => self.verdict(world, spec),
            Err(fault) => After::Failed(world.fail(watchdog::fault(world, spec, self, fault))),
        }
    }

    fn verdict(&mut self, world: &WorldState, spec: &GroupSpec) -> After {
        match watchdog::verdict(world, spec, self) {
            Some(failure) => After::Failed(world.fail(failure)),
            None => After::Waiting,
        }
    }

    /// The failure that this operation's waiting amounts to, if any.
    fn inspect(&mut self, world: &WorldState, spec: &GroupSpec, now: Instant) -> Option<Failure> {
        if self.dispute.is_some() {
            return watchdog::verdict(world, spec, self);
        }
        let failure = watchdog::inspect(world, spec, self, now)?;
        // What a rank did before it ended counts: look again before blaming it.
        match self.operation.poll() {
            Ok(Step::Waiting) => Some(failure),
            Ok(Step::Moved) => None,
            Ok(Step::Done) => {
                self.operation = Box::new(Ended);
                None
            }
            Err(Fault::Disagree) => watchdog::verdict(world, spec, self),
            Err(fault) => Some(watchdog::fault(world, spec, self, fault)),
        }
    }

    /// Tells the others whom the program waits for in this operation, if it does.
    fn tell(&mut self, world: &WorldState, spec: &GroupSpec) {
        match self.operation.missing().first() {
            Some(&member) if self.is_awaited => {
                self.is_told = true;
                world.tell_wait(self.task.entry, self.started, Wait { operation: self.task.descriptor, rank: spec.ranks[member] });
            }
            _ => self.withdraw(world),
        }
    }

    fn withdraw(&self, world: &WorldState) {
        if self.is_told {
            world.end_wait(self.task.entry);
        }
    }
}

/// An operation whose end was seen outside the ordinary poll.
struct Ended;

impl Operation for Ended {
    fn poll(&mut self) -> Result<Step, Fault> {
        Ok(Step::Done)
    }

    fn missing(&self) -> Vec<usize> {
        Vec::new()
    }

    fn posted(&self, _member: usize) -> Option<crate::Descriptor> {
        None
    }
}
