//! One rank's end of a group: how it is made, watched, divided and ended.

use super::calls::{Calls, IN_PROGRESS, SUCCESS};
use super::config::Config;
use super::library::{Nccl, UniqueId};
use crate::driver::Device;
use crate::error::{Code, Error};
use crate::work::Work;
use cudarc::nccl::sys::ncclComm_t;
use std::ffi::c_int;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at a call that is under way: short at first, since most end at once.
const PAUSES: (Duration, Duration) = (Duration::from_micros(20), Duration::from_millis(1));
/// The color of a rank that a split leaves out.
const NO_COLOR: c_int = -1;

/// One rank's end of a group. Clones are the same; when the last is gone and nobody has called `destroy`, it is aborted.
#[derive(Clone)]
pub struct Communicator(Arc<Open>);

struct Open {
    library: Nccl,
    device: Device,
    /// As users call the group.
    name: String,
    rank: usize,
    size: usize,
    config: Config,
    handle: Mutex<Handle>,
}

struct Handle {
    raw: ncclComm_t,
    /// Why nothing is asked of it any more.
    ended: Option<Error>,
    /// Whether NCCL has it no longer.
    is_gone: bool,
}

// SAFETY: NCCL's handles may be used on any thread, one at a time: the lock sees to that.
unsafe impl Send for Handle {}

/// Which rank of which group.
struct Place<'a> {
    name: &'a str,
    rank: usize,
    size: usize,
}

impl Place<'_> {
    fn error(&self, what: &str) -> Error {
        let Place { name, rank, size } = self;
        Error::new(Code::Collective, format!("group {name}: rank {rank} of {size}: {what}"))
    }

    fn failed(&self, call: &str, words: &str) -> Error {
        self.error(&format!("{call} fails ({words}). Look at the first rank that failed, and run again with NCCL_DEBUG=WARN."))
    }
}

impl Communicator {
    /// Joins a world of `size` ranks as `rank`. Unless the configuration is a blocking one this returns at once: see `ready`.
    pub fn init(device: &Device, name: &str, id: UniqueId, (rank, size): (usize, usize), config: Config) -> Result<Communicator, Error> {
        let place = Place { name, rank, size };
        if rank >= size || c_int::try_from(size).is_err() {
            return Err(place.error("there is no such rank. Use ranks from 0 to the size of the group less one."));
        }
        let library = device.toolkit().nccl()?.clone();
        device.enter()?;
        let (mut raw, mut settings) = (ptr::null_mut(), config.raw());
        let (own, all) = (rank as c_int, size as c_int);
        // SAFETY: one handle is written; NCCL copies what it needs of the configuration before it returns.
        let status = unsafe { (library.0.calls.ncclCommInitRankConfig)(&mut raw, all, id.raw(), own, &mut settings) };
        if (status != SUCCESS && status != IN_PROGRESS) || raw.is_null() {
            let words = library.0.calls.words(status, ptr::null_mut());
            return Err(place.failed("ncclCommInitRankConfig", &words));
        }
        Ok(Communicator::of(library, device, place, config, raw))
    }

    fn of(library: Nccl, device: &Device, place: Place, config: Config, raw: ncclComm_t) -> Communicator {
        let handle = Mutex::new(Handle { raw, ended: None, is_gone: false });
        let Place { name, rank, size } = place;
        Communicator(Arc::new(Open { library, device: device.clone(), name: name.into(), rank, size, config, handle }))
    }

    /// This rank within the group.
    pub fn rank(&self) -> usize {
        self.0.rank
    }

    /// Ranks of the group.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// Whether the two are the same.
    pub fn is(&self, other: &Communicator) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The device of this rank.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    pub(super) fn library(&self) -> &Nccl {
        &self.0.library
    }

    /// An error with the group and the rank before it.
    pub(super) fn refused(&self, what: &str) -> Error {
        Error { code: Code::Refused, ..self.0.place().error(what) }
    }

    fn calls(&self) -> &Calls {
        &self.0.library.0.calls
    }

    /// Asks NCCL for something: refused with the first cause once something has failed.
    pub(super) fn ask(&self, call: &str, ask: impl FnOnce(&Calls, ncclComm_t) -> u32) -> Result<(), Error> {
        self.0.device.enter()?;
        let mut handle = self.0.held();
        if let Some(ended) = &handle.ended {
            return Err(ended.clone());
        }
        let status = ask(self.calls(), handle.raw);
        self.judge(&mut handle, call, status)
    }

    fn judge(&self, handle: &mut Handle, call: &str, status: u32) -> Result<(), Error> {
        if status == SUCCESS || status == IN_PROGRESS {
            return Ok(());
        }
        let words = self.calls().words(status, handle.raw);
        Err(handle.ended.insert(self.0.place().failed(call, &words)).clone())
    }

    /// Whether NCCL has done what it was asked for last, or what it tells of: an error of this rank or of another one.
    /// What runs on the device is not meant.
    pub fn poll(&self) -> Result<bool, Error> {
        let mut handle = self.0.held();
        if let Some(ended) = &handle.ended {
            return Err(ended.clone());
        }
        let mut told = SUCCESS;
        let place = (&raw mut told).cast();
        // SAFETY: one number is written, read as such since a newer NCCL has more of them.
        let status = unsafe { (self.calls().ncclCommGetAsyncError)(handle.raw, place) };
        self.judge(&mut handle, "ncclCommGetAsyncError", status)?;
        self.judge(&mut handle, "an operation under way", told)?;
        Ok(told == SUCCESS)
    }

    /// Waits until all ranks have joined.
    pub fn ready(&self) -> Result<(), Error> {
        self.settle("ncclCommInitRankConfig")
    }

    /// Waits until NCCL has done what it was asked for last: nothing else may be asked before.
    pub(super) fn settle(&self, call: &str) -> Result<(), Error> {
        self.until(call, self.0.config.limit, || self.poll())
    }

    /// Waits until an operation is done on the device, or this group fails, or is aborted by another thread.
    pub fn finish(&self, work: &Work, limit: Duration) -> Result<(), Error> {
        self.until(work.name(), limit, || self.poll().and_then(|_| work.is_done()))
    }

    fn until(&self, what: &str, limit: Duration, is_done: impl Fn() -> Result<bool, Error>) -> Result<(), Error> {
        let (begin, mut pause) = (Instant::now(), PAUSES.0);
        while !is_done()? {
            if begin.elapsed() >= limit {
                let message = format!(
                    "{what} is not done after {} s: not all ranks have come to it. See what the others do, or allow more time.",
                    limit.as_secs_f64()
                );
                return Err(self.0.place().error(&message));
            }
            thread::sleep(pause);
            pause = PAUSES.1.min(pause * 2);
        }
        Ok(())
    }

    /// Divides the group: ranks of one color, in the order of their keys, are a new one; None for a rank without a color.
    /// All ranks call this.
    pub fn split(&self, name: &str, color: Option<u16>, key: usize, config: Config) -> Result<Option<Communicator>, Error> {
        self.settle("the call before ncclCommSplit")?;
        let color = color.map_or(NO_COLOR, c_int::from);
        let key = c_int::try_from(key).map_err(|_| self.refused("the key of a split is too large. Use the rank."))?;
        // NCCL writes the handle when all ranks have come, which may be after this has given up: then the place stays.
        let place: *mut ncclComm_t = Box::into_raw(Box::new(ptr::null_mut()));
        let mut settings = config.raw();
        // SAFETY: the place lives until the split is done; NCCL copies what it needs of the configuration.
        self.ask("ncclCommSplit", |calls, raw| unsafe { (calls.ncclCommSplit)(raw, color, key, place, &mut settings) })?;
        self.settle("ncclCommSplit")?;
        // SAFETY: it came from `into_raw`, and the split is done.
        let raw = *unsafe { Box::from_raw(place) };
        if color == NO_COLOR {
            return Ok(None);
        }
        let (mut rank, mut size) = (0, 0);
        // SAFETY: a number each is written.
        let statuses = unsafe { [(self.calls().ncclCommUserRank)(raw, &mut rank), (self.calls().ncclCommCount)(raw, &mut size)] };
        if raw.is_null() || statuses != [SUCCESS; 2] {
            return Err(self.0.place().failed("ncclCommSplit", "it made nothing"));
        }
        let place = Place { name, rank: rank as usize, size: size as usize };
        Ok(Some(Communicator::of(self.0.library.clone(), &self.0.device, place, config, raw)))
    }

    /// Ends it when all ranks have done what was asked: all ranks call this.
    pub fn destroy(&self) -> Result<(), Error> {
        self.settle("the call before ncclCommFinalize")?;
        self.finalize()?;
        self.settle("ncclCommFinalize")?;
        self.release()
    }

    /// Begins the end, which all ranks do: once `poll` says that it is done, `release`. Returns at once.
    pub fn finalize(&self) -> Result<(), Error> {
        // SAFETY: the handle lives.
        self.ask("ncclCommFinalize", |calls, raw| unsafe { (calls.ncclCommFinalize)(raw) })
    }

    /// Gives it back to NCCL, after `finalize`.
    pub fn release(&self) -> Result<(), Error> {
        self.0.device.enter()?;
        let mut handle = self.0.held();
        if handle.ended.is_some() {
            return Ok(());
        }
        let mut ended = self.0.place().error("it was destroyed. Make another one.");
        ended.code = Code::Refused;
        (handle.ended, handle.is_gone) = (Some(ended), true);
        // SAFETY: the handle lives, and nobody uses it any more.
        let status = unsafe { (self.calls().ncclCommDestroy)(handle.raw) };
        if status == SUCCESS { Ok(()) } else { Err(self.0.place().failed("ncclCommDestroy", &self.calls().words(status, ptr::null_mut()))) }
    }

    /// Gives it up at once, whatever the others do: what is under way ends without a result, and who waits for it is told `reason`.
    pub fn abort(&self, reason: &str) -> Result<(), Error> {
        let ended = self.0.place().error(&format!("it was given up: {reason}"));
        self.0.device.enter()?;
        self.0.give_up(ended)
    }
}

impl Open {
    fn held(&self) -> MutexGuard<'_, Handle> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> Place<'_> {
        Place { name: &self.name, rank: self.rank, size: self.size }
    }

    fn give_up(&self, reason: Error) -> Result<(), Error> {
        let mut handle = self.held();
        if handle.is_gone {
            return Ok(());
        }
        handle.is_gone = true;
        handle.ended.get_or_insert(reason);
        let (raw, calls) = (handle.raw, &self.library.0.calls);
        drop(handle);
        // SAFETY: the handle lives, and nobody uses it any more.
        let status = unsafe { (calls.ncclCommAbort)(raw) };
        if status == SUCCESS { Ok(()) } else { Err(self.place().failed("ncclCommAbort", &calls.words(status, ptr::null_mut()))) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Nobody is left to be told.
        _ = self.device.enter().and_then(|()| self.give_up(self.place().error("nobody holds it any more.")));
    }
}
