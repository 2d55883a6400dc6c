//! The operations of one group in flight: collectives one after the other, exchanges side by side.

use crate::backend::{GroupSpec, Transport};
use crate::failure::Failure;
use crate::operation::{Fault, Operation, Step};
use crate::watchdog;
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
    /// Since when this rank knows that the ranks disagree.
    pub disputed: Option<Instant>,
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
    exchanges: Vec<Active>,
}

impl Lane {
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self { transport, queue: VecDeque::new(), collective: None, exchanges: Vec::new() }
    }

    /// Takes a collective into the queue, or starts an exchange at once.
    pub fn accept(&mut self, world: &WorldState, task: Arc<Task>) {
        if task.request.kind() == crate::Kind::Exchange {
            let active = self.start(world, task);
            self.exchanges.push(active);
        } else {
            self.queue.push_back(task);
        }
    }

    fn start(&mut self, world: &WorldState, task: Arc<Task>) -> Active {
        world.control().enter(&task.descriptor);
        let operation = self.transport.start(task.descriptor, &task.request);
        Active { task, operation, started: Instant::now(), warn_after: world.settings.slow, disputed: None }
    }

    /// Polls what is under way once. Returns (operations ended, whether anything moved).
    pub fn poll(&mut self, world: &WorldState, spec: &GroupSpec) -> (usize, bool) {
        if let Some(failure) = world.failure() {
            return (self.fail(&failure), true);
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
                After::Failed(failure) => return (self.fail(&failure), true),
            }
        }
        let mut index = 0;
        while index < self.exchanges.len() {
            match self.exchanges[index].poll(world, spec) {
                After::Ended => {
                    self.exchanges.remove(index);
                    (ended, moved) = (ended + 1, true);
                    continue;
                }
                After::Moved => moved = true,
                After::Waiting => {}
                After::Failed(failure) => return (ended + self.fail(&failure), true),
            }
            index += 1;
        }
        (ended, moved)
    }

    /// Looks after whatever waits: liveness, deadlines, warnings. Returns the number of operations ended.
    pub fn inspect(&mut self, world: &WorldState, spec: &GroupSpec) -> usize {
        let now = Instant::now();
        let suspects = self.collective.iter_mut().chain(&mut self.exchanges);
        let failures: Vec<Failure> = suspects.filter_map(|active| active.inspect(world, spec, now)).collect();
        failures.into_iter().next().map_or(0, |failure| self.fail(&world.fail(failure)))
    }

    /// Ends everything with `failure`. Returns how many operations that were.
    pub fn fail(&mut self, failure: &Failure) -> usize {
        let active = self.collective.take().into_iter().chain(self.exchanges.drain(..)).map(|active| active.task);
        let tasks: Vec<_> = active.chain(self.queue.drain(..)).collect();
        for task in &tasks {
            task.settle(Err(failure.clone()));
        }
        tasks.len()
    }
}

impl Active {
    fn poll(&mut self, world: &WorldState, spec: &GroupSpec) -> After {
        if self.disputed.is_some() {
            return self.verdict(world, spec);
        }
        match self.operation.poll() {
            Ok(Step::Moved) => After::Moved,
            Ok(Step::Waiting) => After::Waiting,
            // A result is not delivered once the world has failed.
            Ok(Step::Done) => match world.failure() {
                Some(failure) => After::Failed(failure),
                None => {
                    self.task.settle(Ok(()));
                    After::Ended
                }
            },
            Err(Fault::Disagree) => {
                self.disputed = Some(Instant::now());
                self.verdict(world, spec)
            }
            Err(fault) => After::Failed(world.fail(watchdog::fault(world, spec, self, fault))),
        }
    }

    fn verdict(&self, world: &WorldState, spec: &GroupSpec) -> After {
        match watchdog::verdict(spec, self) {
            Some(failure) => After::Failed(world.fail(failure)),
            None => After::Waiting,
        }
    }

    /// The failure that this operation's waiting amounts to, if any.
    fn inspect(&mut self, world: &WorldState, spec: &GroupSpec, now: Instant) -> Option<Failure> {
        if self.disputed.is_some() {
            return watchdog::verdict(spec, self);
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
            Err(fault) => Some(watchdog::fault(world, spec, self, fault)),
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
