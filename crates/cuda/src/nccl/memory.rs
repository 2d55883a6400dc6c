//! Memory of NCCL's own, which communicators reach without copying, and its registration.

use super::calls::SUCCESS;
use super::communicator::Communicator;
use super::library::Nccl;
use crate::driver::{Device, Stream};
use crate::error::{Code, Error};
use crate::memory::{Block, Lender};
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

impl Lender for Nccl {
    fn take_back(&self, device: &Device, (address, _): (u64, usize), home: Stream, users: &[Stream]) {
        // NCCL knows no streams: this thread waits. Such blocks live as long as a model.
        _ = users.iter().chain([&home]).try_for_each(|&stream| device.synchronize(stream));
        let Some(free) = self.0.calls.ncclMemFree else { return };
        // SAFETY: it came from ncclMemAlloc, and all streams that used it have passed. What fails here nobody could mend.
        _ = device.enter().map(|()| unsafe { free(ptr::without_provenance_mut(address as usize)) });
    }
}

impl Nccl {
    /// `bytes` bytes that collectives may use in place: from NCCL where it gives out memory, otherwise from the device's pool.
    pub fn block(&self, device: &Device, home: Stream, bytes: usize) -> Result<Block, Error> {
        let Some(allocate) = self.0.calls.ncclMemAlloc.filter(|_| bytes > 0 && self.has_memory()) else {
            return Block::new(device, home, bytes);
        };
        device.enter()?;
        let mut place: *mut c_void = ptr::null_mut();
        // SAFETY: one address is written.
        let status = unsafe { allocate(&mut place, bytes) };
        if status != SUCCESS {
            let words = self.0.calls.words(status, ptr::null_mut());
            let message = format!("NCCL: ncclMemAlloc of {bytes} bytes fails ({words}). Free memory, or use smaller buckets.");
            return Err(Error::new(Code::OutOfMemory, message));
        }
        Block::lent(device, home, (place.addr() as u64, bytes), Arc::new(self.clone()))
    }
}

/// A block that a communicator knows. It ends before the communicator does.
pub struct Registration {
    communicator: Communicator,
    handle: *mut c_void,
    _block: Arc<Block>,
}

// SAFETY: NCCL's handles may be used on any thread.
unsafe impl Send for Registration {}

impl Communicator {
    /// Lets NCCL use a block in place; None where it does not offer that.
    pub fn register(&self, block: &Arc<Block>) -> Result<Option<Registration>, Error> {
        let Some(register) = self.library().0.calls.ncclCommRegister.filter(|_| self.library().has_registration()) else {
            return Ok(None);
        };
        self.settle("the call before ncclCommRegister")?;
        let (place, bytes, mut handle) = (ptr::without_provenance_mut(block.address() as usize), block.len(), ptr::null_mut());
        // SAFETY: the block lives as long as the registration; one handle is written.
        self.ask("ncclCommRegister", |_, raw| unsafe { register(raw, place, bytes, &mut handle) })?;
        Ok(Some(Registration { communicator: self.clone(), handle, _block: Arc::clone(block) }))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Some(deregister) = self.communicator.library().0.calls.ncclCommDeregister else { return };
        // SAFETY: the handle lives. A communicator that has ended has forgotten it.
        _ = self.communicator.ask("ncclCommDeregister", |_, raw| unsafe { deregister(raw, self.handle) });
    }
}
