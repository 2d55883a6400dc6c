//! The pool of a device: the driver's own, told to keep what is freed. What another stream still uses is freed once an event of that
//! stream has passed; nobody waits for it until memory runs out.

use super::usage::PoolStats;
use crate::driver::{Calls, Device, OUT_OF_MEMORY, RawEvent, Stream};
use crate::error::{Code, Error};
use cudarc::driver::sys::{CUmemPool_attribute, CUmemoryPool, CUstream};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use storage::Category;

/// The memory of one device.
pub(crate) struct Pool {
    raw: CUmemoryPool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stats: PoolStats,
    pending: Vec<Pending>,
}

/// A block that nobody holds, and what has to pass before it is free.
struct Pending {
    address: u64,
    bytes: usize,
    home: Stream,
    events: Vec<RawEvent>,
}

// SAFETY: the driver's handles may be used on any thread.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    /// The pool of a device, which from now on keeps what is freed until it is trimmed.
    pub fn of(device: &Device) -> Result<Pool, Error> {
        let mut raw = ptr::null_mut();
        // SAFETY: one handle is written.
        device.run("cuDeviceGetDefaultMemPool", |calls| unsafe { (calls.cuDeviceGetDefaultMemPool)(&mut raw, device.handle()) })?;
        let mut threshold = u64::MAX;
        let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        let value = (&raw mut threshold).cast();
        // SAFETY: the value of this attribute has 64 bits.
        device.run("cuMemPoolSetAttribute", |calls| unsafe { (calls.cuMemPoolSetAttribute)(raw, attribute, value) })?;
        Ok(Pool { raw, state: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where `bytes` bytes are, counted under `category`.
    pub fn allocate(&self, device: &Device, home: Stream, bytes: usize, category: Category) -> Result<u64, Error> {
        if !device.captures_here() {
            self.collect(device);
        }
        let address = if bytes == 0 { 0 } else { self.take(device, home, bytes)? };
        self.count_block(bytes, category);
        Ok(address)
    }

    /// Counts a block, the pool's own or lent.
    pub fn count_block(&self, bytes: usize, category: Category) {
        let stats = &mut self.held().stats;
        stats.count(category, bytes);
        stats.live_blocks += 1;
        stats.allocations += 1;
    }

    /// Counts it no longer.
    pub fn discount_block(&self, bytes: usize, category: Category) {
        let stats = &mut self.held().stats;
        stats.discount(category, bytes);
        stats.live_blocks -= 1;
    }

    /// Takes memory from the driver: when there is none, once more after all that can be given back has been.
    fn take(&self, device: &Device, home: Stream, bytes: usize) -> Result<u64, Error> {
        let mut address = 0;
        let mut ask = |calls: &Calls| {
            // SAFETY: one address is written.
            unsafe { (calls.cuMemAllocAsync)(&mut address, bytes, device.raw(home)) }
        };
        let mut status = device.status(&mut ask)?;
        if status == OUT_OF_MEMORY && !device.captures_here() {
            self.give_back(device)?;
            status = device.status(&mut ask)?;
        }
        match status {
            0 => Ok(address),
            OUT_OF_MEMORY => Err(self.refused(device, bytes)),
            status => Err(device.error("cuMemAllocAsync", status)),
        }
    }

    /// Waits for what other streams still use and for what was freed, and lets the driver return all of it.
    pub fn give_back(&self, device: &Device) -> Result<(), Error> {
        let pending = std::mem::take(&mut self.held().pending);
        for block in pending {
            // On a device that is lost the wait fails, and so does the return of the block, which then counts as leaked.
            _ = block.events.iter().try_for_each(|event| device.await_event(event));
            self.settle(device, &block);
        }
        for stream in Stream::ALL {
            device.synchronize(stream)?;
        }
        // SAFETY: the pool lives as long as the device.
        device.run("cuMemPoolTrimTo", |calls| unsafe { (calls.cuMemPoolTrimTo)(self.raw, 0) })
    }

    /// The sentence of a refusal.
    fn refused(&self, device: &Device, asked: usize) -> Error {
        let (mut free, mut total) = (0, 0);
        // SAFETY: two numbers are written.
        _ = device.run("cuMemGetInfo", |calls| unsafe { (calls.cuMemGetInfo_v2)(&mut free, &mut total) });
        let (cached, live) = (self.cached(device), self.held().stats.all.live);
        let index = device.report().index;
        let message = format!(
            "device {index}: out of memory: {asked} bytes were asked for while {free} of {total} are free, {cached} are cached and {live} are \
             live. Use smaller microbatches, more ranks, recomputation or a sharded optimizer."
        );
        Error::new(Code::OutOfMemory, message)
    }

    /// Bytes that the driver keeps and nobody uses.
    pub fn cached(&self, device: &Device) -> u64 {
        let ask = |attribute| {
            let mut bytes = 0u64;
            let value = (&raw mut bytes).cast();
            // SAFETY: the values of these attributes have 64 bits.
            _ = device.run("cuMemPoolGetAttribute", |calls| unsafe { (calls.cuMemPoolGetAttribute)(self.raw, attribute, value) });
            bytes
        };
        let reserved = ask(CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
        reserved.saturating_sub(ask(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT))
    }

    /// Ends the use of a block: at once in the order of its own stream, or after the events of the others that use it.
    pub fn release(&self, device: &Device, place: (u64, usize), home: Stream, users: impl Iterator<Item = Stream>, category: Category) {
        self.discount_block(place.1, category);
        match device.captured() {
            _ if place.1 == 0 => {}
            Some(captured) => captured.keep(place, home),
            None => self.free_after(device, place, home, users),
        }
    }

    /// Frees a block that is counted no longer: at once in the order of its own stream, or after the events of `users`.
    pub fn free_after(&self, device: &Device, (address, bytes): (u64, usize), home: Stream, users: impl Iterator<Item = Stream>) {
        let events: Result<Vec<RawEvent>, Error> = users.map(|user| device.record_raw(user)).collect();
        match events {
            Err(_) => self.held().stats.leaked_bytes += bytes,
            Ok(events) => {
                let block = Pending { address, bytes, home, events };
                if block.events.is_empty() {
                    self.settle(device, &block);
                } else {
                    self.held().pending.push(block);
                }
            }
        }
    }

    /// Frees what other streams have done with.
    pub fn collect(&self, device: &Device) {
        let passed = |block: &mut Pending| block.events.iter().all(|event| device.has_passed(event).unwrap_or(false));
        let free: Vec<Pending> = self.held().pending.extract_if(.., passed).collect();
        for block in free {
            self.settle(device, &block);
        }
    }

    /// Gives a block back to the driver; on a device that is lost it cannot be, and is counted.
    fn settle(&self, device: &Device, block: &Pending) {
        // SAFETY: nobody uses the block any more, or only in the order of this stream.
        let freed = device.run("cuMemFreeAsync", |calls| unsafe { (calls.cuMemFreeAsync)(block.address, device.raw(block.home)) });
        block.events.iter().for_each(|event| device.end_event(event));
        if freed.is_err() {
            self.held().stats.leaked_bytes += block.bytes;
        }
    }

    /// Frees what is still pending when the device is closed: then nobody is told of an error.
    pub fn end(&mut self, calls: &Calls, streams: &[CUstream]) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for block in state.pending.drain(..) {
            for event in block.events {
                // SAFETY: the event lives, and nobody uses it after this.
                unsafe {
                    (calls.cuEventSynchronize)(event.0);
                    (calls.cuEventDestroy_v2)(event.0);
                }
            }
            // SAFETY: what used the block has passed.
            unsafe { (calls.cuMemFreeAsync)(block.address, streams[block.home as usize]) };
        }
    }

    pub fn recount(&self, bytes: usize, from: Category, to: Category) {
        let stats = &mut self.held().stats;
        stats.discount(from, bytes);
        stats.count(to, bytes);
    }

    fn stats(&self) -> PoolStats {
        let held = self.held();
        let pending_bytes = held.pending.iter().map(|block| block.bytes).sum();
        PoolStats { pending_blocks: held.pending.len(), pending_bytes, ..held.stats }
    }
}

impl Device {
    /// The counters of its memory now.
    pub fn memory_stats(&self) -> Result<PoolStats, Error> {
        let pool = self.pool()?;
        if !self.captures_here() {
            pool.collect(self);
        }
        Ok(pool.stats())
    }

    /// Bytes that the driver keeps for it and nobody uses.
    pub fn cached_bytes(&self) -> Result<u64, Error> {
        Ok(self.pool()?.cached(self))
    }

    /// Counts the peaks anew from what is live now.
    pub fn reset_peak(&self) -> Result<(), Error> {
        self.pool()?.held().stats.reset_peaks();
        Ok(())
    }

    /// Waits for the device and gives all free memory back.
    pub fn trim_cache(&self) -> Result<(), Error> {
        self.pool()?.give_back(self)
    }
}
