//! A request as operations of NCCL on memory of the device, what goes there first, and what comes back.

use super::link::Way;
use crate::blocks::Blocks;
use crate::descriptor::ReduceOp;
use crate::request::Request;
use crate::solo::copy_span;
use cuda::{Batch, Block, Device, Error, Landing, Mark, Part, Reduction, Stream};
use std::sync::Arc;
use storage::{DType, Span};

/// The stream in whose order the memory is taken and given back. Nothing else is asked of it here, so that it never waits.
const HOME: Stream = Stream::Communication;

/// One operation of NCCL.
enum Move {
    AllReduce(Part, Reduction),
    AllGather { own: Part, whole: Part },
    ReduceScatter { whole: Part, own: Part, by: Reduction },
    Broadcast(Part, usize),
    Reduce(Part, Reduction, usize),
    Send(Part, usize),
    Receive(Part, usize),
}

/// Everything that one request asks of the device.
#[derive(Default)]
pub(super) struct Plan {
    /// What holds values before.
    brings: Vec<(Part, Span)>,
    moves: Vec<Move>,
    /// What is copied back afterwards.
    returns: Vec<(Part, Span)>,
    /// What stays on this rank.
    copies: Vec<(Span, Span)>,
}

/// What is under way: everything that it uses is held.
pub(super) struct UnderWay {
    way: Way,
    parts: Vec<Part>,
    returns: Vec<(Part, Span)>,
    landing: Option<(Mark, Vec<(Landing, Span)>)>,
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

fn blank(device: &Device, dtype: DType, len: usize) -> Result<Part, Error> {
    Ok(Part::whole(&Arc::new(Block::new(device, HOME, len * dtype.size())?), dtype))
}

fn block(whole: &Part, blocks: &Blocks, member: usize) -> Result<Part, Error> {
    whole.alias(blocks.of(member).start, blocks.of(member).len())
}

/// As above, of memory of the host.
fn slice(whole: &Span, blocks: &Blocks, member: usize) -> Result<Span, Error> {
    let alias = whole.alias(blocks.of(member).start, blocks.of(member).len());
    alias.map_err(|message| Error { code: cuda::Code::Refused, message })
}

/// Members with a block that is not empty.
fn filled(blocks: &Blocks) -> impl Iterator<Item = usize> + '_ {
    (0..blocks.ranks()).filter(|&member| !blocks.of(member).is_empty())
}

impl Plan {
    /// What group rank `rank` does for a request that is no message and no barrier.
    pub fn of(request: &Request, device: &Device, rank: usize) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        match request {
            Request::AllReduce { data, op } if !data.is_empty() => {
                let part = plan.lift(device, data)?;
                plan.moves.push(Move::AllReduce(part.clone(), reduction(*op)));
                plan.returns.push((part, data.clone()));
            }
            Request::Broadcast { data, root } if !data.is_empty() => {
                let part = if rank == *root { plan.lift(device, data)? } else { blank(device, data.dtype(), data.len())? };
                plan.moves.push(Move::Broadcast(part.clone(), *root));
                if rank != *root {
                    plan.returns.push((part, data.clone()));
                }
            }
            Request::Reduce { data, op, root } if !data.is_empty() => {
                let part = plan.lift(device, data)?;
                plan.moves.push(Move::Reduce(part.clone(), reduction(*op), *root));
                if rank == *root {
                    plan.returns.push((part, data.clone()));
                }
            }
            Request::AllGather { source, target, blocks } if !target.is_empty() => {
                let whole = blank(device, target.dtype(), target.len())?;
                let own = block(&whole, blocks, rank)?;
                plan.brings.push((own.clone(), source.clone()));
                plan.returns.push((whole.clone(), target.clone()));
                if blocks.is_even() {
                    plan.moves.push(Move::AllGather { own, whole });
                } else {
                    for member in filled(blocks) {
                        plan.moves.push(Move::Broadcast(block(&whole, blocks, member)?, member));
                    }
                }
            }
            Request::ReduceScatter { source, target, op, blocks } if !source.is_empty() => {
                let (whole, by) = (plan.lift(device, source)?, reduction(*op));
                let own = block(&whole, blocks, rank)?;
                plan.returns.push((own.clone(), target.clone()));
                if blocks.is_even() {
                    plan.moves.push(Move::ReduceScatter { whole, own, by });
                } else {
                    for member in filled(blocks) {
                        plan.moves.push(Move::Reduce(block(&whole, blocks, member)?, by, member));
                    }
                }
            }
            Request::Gather { source, target: Some(target), blocks, .. } => plan.collect(device, (source, target), blocks, rank)?,
            Request::Gather { source, root, .. } => plan.send(device, source, *root)?,
            Request::Scatter { source: Some(source), target, blocks, .. } => plan.hand_out(device, (source, target), blocks, rank)?,
            Request::Scatter { target, root, .. } => plan.receive(device, target, *root)?,
            Request::AllToAll { source, target, send, receive } => {
                for member in filled(send).filter(|&member| member != rank) {
                    plan.send(device, &slice(source, send, member)?, member)?;
                }
                for member in filled(receive).filter(|&member| member != rank) {
                    plan.receive(device, &slice(target, receive, member)?, member)?;
                }
                plan.copies.push((slice(source, send, rank)?, slice(target, receive, rank)?));
            }
            _ => {}
        }
        Ok(plan)
    }

    /// One message, to or from the other of two ranks.
    pub fn of_message(device: &Device, data: &Span, is_send: bool) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        if is_send {
            plan.send(device, data, 1)?
        } else {
            plan.receive(device, data, 0)?
        }
        Ok(plan)
    }

    /// Memory on the device that will hold the values of `data`.
    fn lift(&mut self, device: &Device, data: &Span) -> Result<Part, Error> {
        let part = blank(device, data.dtype(), data.len())?;
        self.brings.push((part.clone(), data.clone()));
        Ok(part)
    }

    fn send(&mut self, device: &Device, data: &Span, peer: usize) -> Result<(), Error> {
        if !data.is_empty() {
            let part = self.lift(device, data)?;
            self.moves.push(Move::Send(part, peer));
        }
        Ok(())
    }

    fn receive(&mut self, device: &Device, data: &Span, peer: usize) -> Result<(), Error> {
        if !data.is_empty() {
            let part = blank(device, data.dtype(), data.len())?;
            self.moves.push(Move::Receive(part.clone(), peer));
            self.returns.push((part, data.clone()));
        }
        Ok(())
    }

    fn collect(&mut self, device: &Device, (source, target): (&Span, &Span), blocks: &Blocks, rank: usize) -> Result<(), Error> {
        for member in filled(blocks).filter(|&member| member != rank) {
            self.receive(device, &slice(target, blocks, member)?, member)?;
        }
        self.copies.push((source.clone(), slice(target, blocks, rank)?));
        Ok(())
    }

    fn hand_out(&mut self, device: &Device, (source, target): (&Span, &Span), blocks: &Blocks, rank: usize) -> Result<(), Error> {
        for member in filled(blocks).filter(|&member| member != rank) {
            self.send(device, &slice(source, blocks, member)?, member)?;
        }
        self.copies.push((slice(source, blocks, rank)?, target.clone()));
        Ok(())
    }

    /// Asks for all of it. None where nothing is left to do.
    pub fn begin(self, way: &Way) -> Result<Option<UnderWay>, Error> {
        self.copies.iter().for_each(|(source, target)| copy_span(source, target));
        if self.moves.is_empty() {
            return Ok(None);
        }
        let Way { communicator, queue } = way;
        queue.follow(HOME)?;
        // From here on the queue uses the memory: it is held by what is under way, also when something fails.
        let parts = self.brings.iter().chain(&self.returns).map(|(part, _)| part.clone()).collect();
        let under_way = UnderWay { way: way.clone(), parts, returns: self.returns, landing: None, is_over: false };
        for (part, data) in &self.brings {
            queue.upload(part, data.bytes())?;
        }
        communicator.issue(queue, |batch| self.moves.iter().try_for_each(|one| one.issue(batch)))?;
        Ok(Some(under_way))
    }
}

impl Move {
    fn issue(&self, batch: &Batch) -> Result<(), Error> {
        match self {
            Move::AllReduce(part, by) => batch.all_reduce(part, part, *by),
            Move::AllGather { own, whole } => batch.all_gather(own, whole),
            Move::ReduceScatter { whole, own, by } => batch.reduce_scatter(whole, own, *by),
            Move::Broadcast(part, root) => batch.broadcast(part, *root),
            Move::Reduce(part, by, root) => batch.reduce(part, part, *by, *root),
            Move::Send(part, peer) => batch.send(part, *peer),
            Move::Receive(part, peer) => batch.receive(part, *peer),
        }
    }
}

impl UnderWay {
    /// Whether all of it is done and the results are in place.
    pub fn poll(&mut self) -> Result<bool, Error> {
        let has_taken = self.way.communicator.poll()?;
        if self.landing.is_none() {
            if !has_taken {
                return Ok(false);
            }
            // Only now has all of it reached the stream, so that what is asked of it from here on comes after.
            let queue = &self.way.queue;
            let landings = self.returns.drain(..).map(|(part, data)| Ok((queue.download(&part)?, data)));
            let landings = landings.collect::<Result<Vec<_>, Error>>()?;
            self.landing = Some((queue.mark()?, landings));
        }
        let is_done = self.landing.as_ref().map_or(Ok(false), |(mark, _)| mark.is_done())?;
        let Some((_, landings)) = self.landing.take_if(|_| is_done) else { return Ok(false) };
        for (landing, data) in landings {
            // SAFETY: the request holds the memory until it ends, and nobody else writes to it.
            landing.read(unsafe { data.bytes_mut() });
        }
        self.is_over = true;
        Ok(true)
    }

    /// Whether NCCL has taken the operations, so that others may follow in the queue.
    pub fn is_taken(&self) -> bool {
        self.landing.is_some() || self.is_over
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
