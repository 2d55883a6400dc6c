//! A request as operations of NCCL on memory of the device, and for memory of the host what goes there first and what comes back.

use super::link::Way;
use crate::blocks::Blocks;
use crate::descriptor::ReduceOp;
use crate::request::Request;
use crate::uses::Use;
use cuda::{Batch, Block, Device, Error, Landing, Mark, Part, Reduction, Stream};
use std::sync::Arc;
use storage::{DType, Span};

/// The stream in whose order memory for the host's is taken and given back. Nothing else is asked of it here, so that it never waits.
const HOME: Stream = Stream::Communication;

/// One operation of NCCL.
enum Move {
    AllReduce(Part, Reduction),
    AllGather { own: Part, whole: Part },
    ReduceScatter { whole: Part, own: Part, by: Reduction },
    Broadcast(Part, usize),
    Reduce { source: Part, target: Part, by: Reduction, root: usize },
    Send(Part, usize),
    Receive(Part, usize),
}

/// Everything that one request asks of the device.
#[derive(Default)]
pub(super) struct Plan {
    /// What holds values of the host before.
    brings: Vec<(Part, Span)>,
    /// What stays on this rank; before the operations.
    copies: Vec<(Part, Part)>,
    moves: Vec<Move>,
    /// What is copied to the host afterwards.
    returns: Vec<(Part, Span)>,
}

/// What is under way: everything that it uses is held.
pub(super) struct UnderWay {
    way: Way,
    parts: Vec<Part>,
    returns: Vec<(Part, Span)>,
    landings: Vec<(Landing, Span)>,
    mark: Option<Arc<Mark>>,
    is_over: bool,
}

fn reduction(op: ReduceOp) -> Reduction {
    match op {
        ReduceOp::Sum => Reduction::Sum,
        ReduceOp::Avg => Reduction::Average,
        ReduceOp::Max => Reduction::Maximum,
        ReduceOp::Min => Reduction::Minimum,
        ReduceOp::Product => Reduction::Product,
    }
}

fn block(whole: &Part, blocks: &Blocks, member: usize) -> Result<Part, Error> {
    whole.alias(blocks.of(member).start, blocks.of(member).len())
}

/// Members with a block that is not empty.
fn filled(blocks: &Blocks) -> impl Iterator<Item = usize> + '_ {
    (0..blocks.ranks()).filter(|&member| !blocks.of(member).is_empty())
}

/// The memory of one message.
#[derive(Clone)]
pub(super) enum Load {
    OnHost(Span),
    OnDevice(Part),
}

impl Load {
    pub fn is_on_device(&self) -> bool {
        matches!(self, Load::OnDevice(_))
    }

    pub fn dtype(&self) -> DType {
        match self {
            Load::OnHost(data) => data.dtype(),
            Load::OnDevice(data) => data.dtype(),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Load::OnHost(data) => data.len(),
            Load::OnDevice(data) => data.len(),
        }
    }
}

impl Plan {
    /// What group rank `rank` does for a request on memory of the host that is no message and no barrier.
    pub fn staged(request: &Request, device: &Device, rank: usize) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        let staged = request.on(rank, |data, what| plan.stage(device, data, what))?;
        plan.arrange(&staged, rank)?;
        Ok(plan)
    }

    /// The same for memory of the device.
    pub fn direct(request: &Request<Part>, rank: usize) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        plan.arrange(request, rank)?;
        Ok(plan)
    }

    /// One message, to or from the other of two ranks.
    pub fn of_message(device: &Device, load: &Load, is_send: bool) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        let part = match load {
            Load::OnHost(data) => plan.stage(device, data, Use { is_read: is_send, is_written: !is_send })?,
            Load::OnDevice(part) => part.clone(),
        };
        if is_send {
            plan.send(part, 1)
        } else {
            plan.receive(part, 0)
        }
        Ok(plan)
    }

    /// Memory of the device in place of memory of the host.
    fn stage(&mut self, device: &Device, data: &Span, what: Use) -> Result<Part, Error> {
        let block = Block::new(device, HOME, data.byte_len())?;
        let part = Part::whole(&Arc::new(block), data.dtype());
        if what.is_read && !data.is_empty() {
            self.brings.push((part.clone(), data.clone()));
        }
        if what.is_written && !data.is_empty() {
            self.returns.push((part.clone(), data.clone()));
        }
        Ok(part)
    }

    fn arrange(&mut self, request: &Request<Part>, rank: usize) -> Result<(), Error> {
        match request {
            Request::AllReduce { data, op } if !data.is_empty() => self.moves.push(Move::AllReduce(data.clone(), reduction(*op))),
            Request::Broadcast { data, root } if !data.is_empty() => self.moves.push(Move::Broadcast(data.clone(), *root)),
            Request::Reduce { data, op, root } if !data.is_empty() => self.reduce((data, data), *op, *root),
            Request::AllGather { source, target, blocks } => self.all_gather((source, target), blocks, rank)?,
            Request::ReduceScatter { source, target, op, blocks } => self.reduce_scatter((source, target), *op, (blocks, rank))?,
            Request::Gather { source, target: Some(target), blocks, .. } => {
                for member in filled(blocks).filter(|&member| member != rank) {
                    self.receive(block(target, blocks, member)?, member);
                }
                self.copies.push((source.clone(), block(target, blocks, rank)?));
            }
            Request::Gather { source, root, .. } => self.send(source.clone(), *root),
            Request::Scatter { source: Some(source), target, blocks, .. } => {
                for member in filled(blocks).filter(|&member| member != rank) {
                    self.send(block(source, blocks, member)?, member);
                }
                self.copies.push((block(source, blocks, rank)?, target.clone()));
            }
            Request::Scatter { target, root, .. } => self.receive(target.clone(), *root),
            Request::AllToAll { source, target, send, receive } => {
                for member in filled(send).filter(|&member| member != rank) {
                    self.send(block(source, send, member)?, member);
                }
                for member in filled(receive).filter(|&member| member != rank) {
                    self.receive(block(target, receive, member)?, member);
                }
                self.copies.push((block(source, send, rank)?, block(target, receive, rank)?));
            }
            // Nothing to move; messages come one by one, and barriers never.
            _ => {}
        }
        self.copies.retain(|(source, target)| !source.is_empty() && source.address() != target.address());
        Ok(())
    }

    fn reduce(&mut self, (source, target): (&Part, &Part), op: ReduceOp, root: usize) {
        self.moves.push(Move::Reduce { source: source.clone(), target: target.clone(), by: reduction(op), root });
    }

    fn all_gather(&mut self, (source, target): (&Part, &Part), blocks: &Blocks, rank: usize) -> Result<(), Error> {
        if blocks.is_even() {
            if !target.is_empty() {
                self.moves.push(Move::AllGather { own: source.clone(), whole: target.clone() });
            }
            return Ok(());
        }
        self.copies.push((source.clone(), block(target, blocks, rank)?));
        for member in filled(blocks) {
            self.moves.push(Move::Broadcast(block(target, blocks, member)?, member));
        }
        Ok(())
    }

    fn reduce_scatter(&mut self, (source, target): (&Part, &Part), op: ReduceOp, (blocks, rank): (&Blocks, usize)) -> Result<(), Error> {
        if blocks.is_even() {
            if !source.is_empty() {
                self.moves.push(Move::ReduceScatter { whole: source.clone(), own: target.clone(), by: reduction(op) });
            }
            return Ok(());
        }
        for member in filled(blocks) {
            let own = block(source, blocks, member)?;
            // What is reduced to another rank has no target here.
            self.reduce((&own, if member == rank { target } else { &own }), op, member);
        }
        Ok(())
    }

    fn send(&mut self, part: Part, peer: usize) {
        if !part.is_empty() {
            self.moves.push(Move::Send(part, peer));
        }
    }

    fn receive(&mut self, part: Part, peer: usize) {
        if !part.is_empty() {
            self.moves.push(Move::Receive(part, peer));
        }
    }

    /// All memory of the device that it uses.
    fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = self.brings.iter().chain(&self.returns).map(|(part, _)| part.clone()).collect();
        parts.extend(self.copies.iter().flat_map(|(source, target)| [source.clone(), target.clone()]));
        parts.extend(self.moves.iter().flat_map(Move::parts));
        parts
    }

    /// Asks for all of it, after `ready` where its memory is that of the device. None where nothing is to be done.
    pub fn begin(self, way: &Way, ready: Option<&Mark>) -> Result<Option<UnderWay>, Error> {
        if self.moves.is_empty() && self.copies.is_empty() {
            return Ok(None);
        }
        let (Way { communicator, queue }, parts) = (way, self.parts());
        ready.map_or_else(|| queue.follow(HOME), |ready| queue.wait(ready))?;
        // From here on the queue uses the memory: it is held by what is under way, also when something fails.
        let under_way = UnderWay { way: way.clone(), parts, returns: self.returns, landings: Vec::new(), mark: None, is_over: false };
        self.brings.iter().try_for_each(|(part, data)| queue.upload(part, data.bytes()))?;
        self.copies.iter().try_for_each(|(source, target)| queue.copy(source, target))?;
        if !self.moves.is_empty() {
            communicator.issue(queue, |batch| self.moves.iter().try_for_each(|one| one.issue(batch)))?;
        }
        Ok(Some(under_way))
    }
}

impl Move {
    fn parts(&self) -> Vec<Part> {
        match self {
            Move::AllReduce(part, _) | Move::Broadcast(part, _) | Move::Send(part, _) | Move::Receive(part, _) => vec![part.clone()],
            Move::AllGather { own, whole } | Move::ReduceScatter { whole, own, .. } => vec![own.clone(), whole.clone()],
            Move::Reduce { source, target, .. } => vec![source.clone(), target.clone()],
        }
    }

    fn issue(&self, batch: &Batch) -> Result<(), Error> {
        match self {
            Move::AllReduce(part, by) => batch.all_reduce(part, part, *by),
            Move::AllGather { own, whole } => batch.all_gather(own, whole),
            Move::ReduceScatter { whole, own, by } => batch.reduce_scatter(whole, own, *by),
            Move::Broadcast(part, root) => batch.broadcast(part, *root),
            Move::Reduce { source, target, by, root } => batch.reduce(source, target, *by, *root),
            Move::Send(part, peer) => batch.send(part, *peer),
            Move::Receive(part, peer) => batch.receive(part, *peer),
        }
    }
}

impl UnderWay {
    /// Whether all of it is done and the results are in place.
    pub fn poll(&mut self) -> Result<bool, Error> {
        let has_taken = self.way.communicator.poll()?;
        let mark = match &self.mark {
            Some(mark) => mark,
            None if !has_taken => return Ok(false),
            None => {
                // Only now has all of it reached the stream, so that what is asked of it from here on comes after.
                let queue = &self.way.queue;
                let landings = self.returns.drain(..).map(|(part, data)| Ok((queue.download(&part)?, data)));
                self.landings = landings.collect::<Result<_, Error>>()?;
                self.mark.insert(Arc::new(queue.mark()?))
            }
        };
        if !mark.is_done()? {
            return Ok(false);
        }
        for (landing, data) in self.landings.drain(..) {
            // SAFETY: the request holds the memory until it ends, and nobody else writes to it.
            landing.read(unsafe { data.bytes_mut() });
        }
        self.is_over = true;
        Ok(true)
    }

    /// Where its results are there, once NCCL has taken the operations, so that others may follow in the queue.
    pub fn mark(&self) -> Option<&Arc<Mark>> {
        self.mark.as_ref()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.is_over {
            // Without the others it would keep the queue for ever.
            _ = self.way.communicator.abort("the operation was given up.");
            self.way.queue.leave(std::mem::take(&mut self.parts));
        }
    }
}
