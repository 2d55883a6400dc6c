//! The collectives, checked: their memory must have the sizes that they need.

use super::batch::Batch;
use super::communicator::Communicator;
use super::reduction::Reduction;
use crate::driver::Stream;
use crate::error::Error;
use crate::memory::Part;
use crate::work::Work;
use std::ffi::c_int;

impl Batch<'_> {
    fn expect(&self, what: &str, source: &Part, target: &Part, lengths: (usize, usize)) -> Result<(), Error> {
        if source.dtype() != target.dtype() {
            let (from, to) = (source.dtype().name(), target.dtype().name());
            return Err(self.communicator.refused(&format!("{what}: the source is {from} and the target {to}. Cast one of them.")));
        }
        let wrong = |side: &str, have: usize, want: usize| {
            let message = format!("{what}: the {side} has {have} elements where {want} are needed. Pass memory of that size.");
            Err(self.communicator.refused(&message))
        };
        match (source.len(), target.len()) {
            (have, _) if have != lengths.0 => wrong("source", have, lengths.0),
            (_, have) if have != lengths.1 => wrong("target", have, lengths.1),
            _ => Ok(()),
        }
    }

    fn expect_rank(&self, what: &str, rank: usize) -> Result<c_int, Error> {
        let size = self.communicator.size();
        if rank < size {
            return Ok(rank as c_int);
        }
        Err(self.communicator.refused(&format!("{what} {rank} is outside the group. Use a rank from 0 to {}.", size - 1)))
    }

    /// `target` becomes the combination of all `source`s; the two may be the same.
    pub fn all_reduce(&self, source: &Part, target: &Part, by: Reduction) -> Result<(), Error> {
        let count = source.len();
        self.expect("all-reduce", source, target, (count, count))?;
        self.issue("ncclAllReduce", (source, target), |calls, at| {
            // SAFETY: both hold so many elements and are kept until the work is waited for.
            unsafe { (calls.ncclAllReduce)(at.source, at.target, count, at.dtype, by.raw(), at.comm, at.stream) }
        })
    }

    /// `target` becomes the `source`s of all ranks, one after the other. A source may be its own block of the target.
    pub fn all_gather(&self, source: &Part, target: &Part) -> Result<(), Error> {
        let count = source.len();
        self.expect("all-gather", source, target, (count, count * self.communicator.size()))?;
        self.issue("ncclAllGather", (source, target), |calls, at| {
            // SAFETY: as above.
            unsafe { (calls.ncclAllGather)(at.source, at.target, count, at.dtype, at.comm, at.stream) }
        })
    }

    /// `target` becomes this rank's block of the combination of all `source`s. It may be that block of the source.
    pub fn reduce_scatter(&self, source: &Part, target: &Part, by: Reduction) -> Result<(), Error> {
        let count = target.len();
        self.expect("reduce-scatter", source, target, (count * self.communicator.size(), count))?;
        self.issue("ncclReduceScatter", (source, target), |calls, at| {
            // SAFETY: as above.
            unsafe { (calls.ncclReduceScatter)(at.source, at.target, count, at.dtype, by.raw(), at.comm, at.stream) }
        })
    }

    /// `data` of all ranks becomes that of `root`.
    pub fn broadcast(&self, data: &Part, root: usize) -> Result<(), Error> {
        let (count, root) = (data.len(), self.expect_rank("broadcast: root", root)?);
        self.issue("ncclBroadcast", (data, data), |calls, at| {
            // SAFETY: as above.
            unsafe { (calls.ncclBroadcast)(at.source, at.target, count, at.dtype, root, at.comm, at.stream) }
        })
    }

    /// `target` of `root` becomes the combination of all `source`s; the other targets stay as they are.
    pub fn reduce(&self, source: &Part, target: &Part, by: Reduction, root: usize) -> Result<(), Error> {
        let (count, root) = (source.len(), self.expect_rank("reduce: root", root)?);
        self.expect("reduce", source, target, (count, count))?;
        self.issue("ncclReduce", (source, target), |calls, at| {
            // SAFETY: as above.
            unsafe { (calls.ncclReduce)(at.source, at.target, count, at.dtype, by.raw(), root, at.comm, at.stream) }
        })
    }

    /// `source` goes to `peer`.
    pub fn send(&self, source: &Part, peer: usize) -> Result<(), Error> {
        let (count, peer) = (source.len(), self.expect_rank("send: peer", peer)?);
        self.issue("ncclSend", (source, source), |calls, at| {
            // SAFETY: as above.
            unsafe { (calls.ncclSend)(at.source, count, at.dtype, peer, at.comm, at.stream) }
        })
    }

    /// `target` comes from `peer`.
    pub fn receive(&self, target: &Part, peer: usize) -> Result<(), Error> {
        let (count, peer) = (target.len(), self.expect_rank("receive: peer", peer)?);
        self.issue("ncclRecv", (target, target), |calls, at| {
            // SAFETY: as above.
            unsafe { (calls.ncclRecv)(at.target, count, at.dtype, peer, at.comm, at.stream) }
        })
    }

    /// `counts.0[rank]` elements of `source`, one after the other, go to each rank, and `counts.1[rank]` of `target` come from it.
    pub fn all_to_all(&self, source: &Part, target: &Part, counts: (&[usize], &[usize])) -> Result<(), Error> {
        let size = self.communicator.size();
        if counts.0.len() != size || counts.1.len() != size {
            let message = format!("all-to-all: {} and {} counts for {size} ranks. Pass one for each.", counts.0.len(), counts.1.len());
            return Err(self.communicator.refused(&message));
        }
        self.expect("all-to-all", source, target, (counts.0.iter().sum(), counts.1.iter().sum()))?;
        let (mut from, mut to) = (0, 0);
        for (peer, (&sent, &received)) in counts.0.iter().zip(counts.1).enumerate() {
            if sent > 0 {
                self.send(&source.alias(from, sent)?, peer)?;
            }
            if received > 0 {
                self.receive(&target.alias(to, received)?, peer)?;
            }
            (from, to) = (from + sent, to + received);
        }
        Ok(())
    }
}

impl Communicator {
    /// See [`Batch::all_reduce`]; begins after all that was asked of `after`.
    pub fn all_reduce(&self, after: Stream, source: &Part, target: &Part, by: Reduction) -> Result<Work, Error> {
        self.start("all-reduce", after, |batch| batch.all_reduce(source, target, by))
    }

    /// See [`Batch::all_gather`]; begins after all that was asked of `after`.
    pub fn all_gather(&self, after: Stream, source: &Part, target: &Part) -> Result<Work, Error> {
        self.start("all-gather", after, |batch| batch.all_gather(source, target))
    }

    /// See [`Batch::reduce_scatter`]; begins after all that was asked of `after`.
    pub fn reduce_scatter(&self, after: Stream, source: &Part, target: &Part, by: Reduction) -> Result<Work, Error> {
        self.start("reduce-scatter", after, |batch| batch.reduce_scatter(source, target, by))
    }

    /// See [`Batch::broadcast`]; begins after all that was asked of `after`.
    pub fn broadcast(&self, after: Stream, data: &Part, root: usize) -> Result<Work, Error> {
        self.start("broadcast", after, |batch| batch.broadcast(data, root))
    }

    /// See [`Batch::reduce`]; begins after all that was asked of `after`.
    pub fn reduce(&self, after: Stream, (source, target): (&Part, &Part), by: Reduction, root: usize) -> Result<Work, Error> {
        self.start("reduce", after, |batch| batch.reduce(source, target, by, root))
    }

    /// See [`Batch::all_to_all`]; begins after all that was asked of `after`.
    pub fn all_to_all(&self, after: Stream, source: &Part, target: &Part, counts: (&[usize], &[usize])) -> Result<Work, Error> {
        self.together("all-to-all", after, |batch| batch.all_to_all(source, target, counts))
    }
}
