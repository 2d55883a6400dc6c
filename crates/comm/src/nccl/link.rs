//! The way of some ranks to a communicator: one of them makes an id, it is told to the others, and then NCCL lets them meet.

use super::Shared;
use crate::operation::Fault;
use cuda::{Communicator, Queue, UniqueId};
use std::sync::Arc;

/// A communicator and what it runs in, or the way to it.
pub(super) struct Link {
    shared: Arc<Shared>,
    /// What sentences call it.
    name: String,
    rank: usize,
    size: usize,
    stage: Stage,
}

enum Stage {
    /// The id is not here yet.
    Apart,
    Joining(Way),
    Ready(Way),
    Broken(Fault),
}

/// Where operations go.
#[derive(Clone)]
pub(super) struct Way {
    pub communicator: Communicator,
    pub queue: Queue,
}

/// An id as words that other ranks are told.
pub(super) const ID_WORDS: usize = UniqueId::BYTES / 8;

pub(super) fn broken(error: cuda::Error) -> Fault {
    Fault::Broken(error.message)
}

impl Link {
    pub fn new(shared: &Arc<Shared>, name: String, (rank, size): (usize, usize)) -> Link {
        Link { shared: Arc::clone(shared), name, rank, size, stage: Stage::Apart }
    }

    /// Over a communicator that is there.
    pub fn over(shared: &Arc<Shared>, name: String, communicator: Communicator) -> Link {
        let place = (communicator.rank(), communicator.size());
        let mut link = Link::new(shared, name, place);
        link.proceed(communicator);
        link
    }

    /// Whether the ranks still have to be told an id.
    pub fn is_apart(&self) -> bool {
        matches!(self.stage, Stage::Apart)
    }

    /// A new id on the first rank; nothing on the others.
    pub fn id(&self) -> Result<[i64; ID_WORDS], Fault> {
        if self.rank > 0 {
            return Ok([0; ID_WORDS]);
        }
        let id = self.shared.device.nccl().and_then(|nccl| nccl.unique_id()).map_err(broken)?;
        let bytes = id.bytes();
        Ok(std::array::from_fn(|word| (0..8).rev().fold(0, |sum, byte| sum << 8 | i64::from(bytes[word * 8 + byte]))))
    }

    /// Goes to meet the others by the id that the first rank has told. Does nothing once that has been done.
    pub fn join(&mut self, id: &[i64]) {
        if !self.is_apart() {
            return;
        }
        let bytes = std::array::from_fn(|at| id[at / 8].to_le_bytes()[at % 8]);
        let (shared, place) = (Arc::clone(&self.shared), (self.rank, self.size));
        match Communicator::init(&shared.device, &self.name, UniqueId::from_bytes(bytes), place, shared.config) {
            Ok(communicator) => {
                shared.communicators.add(&communicator);
                self.proceed(communicator);
            }
            Err(error) => self.stage = Stage::Broken(broken(error)),
        }
    }

    fn proceed(&mut self, communicator: Communicator) {
        self.stage = match Queue::new(communicator.device()) {
            Ok(queue) => Stage::Joining(Way { communicator, queue }),
            Err(error) => Stage::Broken(broken(error)),
        };
    }

    /// The way, once all ranks have met; None before.
    pub fn poll(&mut self) -> Result<Option<Way>, cuda::Error> {
        match &self.stage {
            Stage::Apart | Stage::Broken(_) => Ok(None),
            Stage::Ready(way) => Ok(Some(way.clone())),
            Stage::Joining(way) => {
                if !way.communicator.poll()? {
                    return Ok(None);
                }
                let way = way.clone();
                self.stage = Stage::Ready(way.clone());
                Ok(Some(way))
            }
        }
    }

    /// Why it never comes to a communicator.
    pub fn fault(&self) -> Result<(), Fault> {
        if let Stage::Broken(fault) = &self.stage { Err(fault.clone()) } else { Ok(()) }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Stage::Joining(way) | Stage::Ready(way) = &self.stage {
            self.shared.communicators.retire(&way.communicator);
        }
    }
}
