//! Operations that go to NCCL together, and become one piece of work.

use super::calls::Calls;
use super::communicator::Communicator;
use super::queue::Queue;
use super::reduction::raw_type;
use crate::driver::Stream;
use crate::error::Error;
use crate::memory::Part;
use crate::work::Work;
use cudarc::driver::sys::CUstream;
use cudarc::nccl::sys::{cudaStream_t, ncclComm_t, ncclDataType_t};
use std::cell::RefCell;
use std::ffi::c_void;

/// What is collected before it goes to NCCL.
pub struct Batch<'a> {
    pub(super) communicator: &'a Communicator,
    stream: CUstream,
    used: RefCell<Vec<Part>>,
}

/// What NCCL is given for one operation.
pub(super) struct Places {
    pub source: *const c_void,
    pub target: *mut c_void,
    pub dtype: ncclDataType_t,
    pub comm: ncclComm_t,
    pub stream: cudaStream_t,
}

impl Batch<'_> {
    /// Hands one operation to NCCL: `ask` gets the places, and what they lie in is kept until the work is waited for.
    pub(super) fn issue(&self, call: &str, (source, target): (&Part, &Part), ask: impl FnOnce(&Calls, Places) -> u32) -> Result<(), Error> {
        let device = self.communicator.device();
        if !source.block().device().is(device) || !target.block().device().is(device) {
            return Err(self.communicator.refused("the memory is on another device. Use that of the group."));
        }
        self.used.borrow_mut().extend([source.clone(), target.clone()]);
        let stream = self.stream.cast();
        self.communicator.ask(call, |calls, comm| {
            ask(calls, Places { source: source.raw(), target: target.raw(), dtype: raw_type(source.dtype()), comm, stream })
        })
    }
}

impl Communicator {
    /// Starts operations together, in the communication stream, after all that was asked of `after`: none of them waits for another
    /// one, so that sends and receives may cross.
    pub fn together(&self, name: &'static str, after: Stream, issue: impl FnOnce(&Batch) -> Result<(), Error>) -> Result<Work, Error> {
        self.start(name, after, |batch| self.as_one(batch, issue))
    }

    fn as_one(&self, batch: &Batch, issue: impl FnOnce(&Batch) -> Result<(), Error>) -> Result<(), Error> {
        // SAFETY: this takes nothing.
        self.ask("ncclGroupStart", |calls, _| unsafe { (calls.ncclGroupStart)() })?;
        let issued = issue(batch);
        // Also after an error: the thread would stay in the group. The first cause is the one that is told.
        // SAFETY: as above.
        let ended = self.ask("ncclGroupEnd", |calls, _| unsafe { (calls.ncclGroupEnd)() });
        issued.and(ended)
    }

    /// Hands operations to NCCL together, in a queue, and returns at once. Nothing else is asked of the communicator or of the queue before
    /// `poll` has said that NCCL has taken them. Returns what they use: it is kept until the queue has come past them.
    pub fn issue(&self, queue: &Queue, issue: impl FnOnce(&Batch) -> Result<(), Error>) -> Result<Vec<Part>, Error> {
        self.device().refuse_in_capture("a collective of a group")?;
        let batch = Batch { communicator: self, stream: queue.raw(), used: RefCell::default() };
        self.as_one(&batch, issue)?;
        Ok(batch.used.into_inner())
    }

    pub(super) fn start(&self, name: &'static str, after: Stream, issue: impl FnOnce(&Batch) -> Result<(), Error>) -> Result<Work, Error> {
        self.settle("the call before")?;
        if after != Stream::Communication {
            let produced = self.device().record(after)?;
            self.device().wait(Stream::Communication, &produced)?;
        }
        let stream = self.device().raw(Stream::Communication);
        let batch = Batch { communicator: self, stream, used: RefCell::default() };
        issue(&batch)?;
        // Only now has all of it reached the stream, so that an event after it means what it says.
        self.settle(name)?;
        let used = batch.used.into_inner().iter().map(|part| part.block().clone()).collect();
        Work::begun(self.device(), Stream::Communication, name, used)
    }
}
