//! Where buffers come from: an arena that keeps what it got, so that a step asks the system for nothing.

use crate::arena::{Arena, pointer};
use crate::category::Category;
use crate::pages;
use crate::small_blocks::{ALIGN, SmallBlocks, class_of};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard};

/// Bytes in use, now and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that were asked for and are in use.
    pub live: usize,
    /// The most that `live` has been since the last [`reset_peak`].
    pub peak: usize,
}

impl Usage {
    fn add(&mut self, bytes: usize) {
        self.live += bytes;
        self.peak = self.peak.max(self.live);
    }
}

/// Counters of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// All categories but the workspace, which threads keep between operations.
    pub all: Usage,
    /// Each category, in the order of its code.
    pub by_category: [Usage; Category::ALL.len()],
    /// Bytes that the system has given.
    pub reserved: usize,
    /// Buffers given out since the process began.
    pub allocations: u64,
    /// Requests to the system for memory since the process began.
    pub system_calls: u64,
}

/// A piece of memory, aligned to [`ALIGN`].
pub(crate) struct Block {
    pub start: NonNull<u8>,
    /// None for a piece of the arena itself.
    class: Option<usize>,
}

// SAFETY: a block is plain memory that belongs to whoever holds the block.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

struct Store {
    arena: Arena,
    small: SmallBlocks,
    all: Usage,
    by_category: [Usage; Category::ALL.len()],
    allocations: u64,
}

static STORE: Mutex<Store> = Mutex::new(Store {
    arena: Arena::new(),
    small: SmallBlocks::new(),
    all: Usage { live: 0, peak: 0 },
    by_category: [Usage { live: 0, peak: 0 }; Category::ALL.len()],
    allocations: 0,
});

fn store() -> MutexGuard<'static, Store> {
    STORE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Store {
    #[inline]
    fn take(&mut self, class: Option<usize>, bytes: usize) -> Option<Block> {
        let address = match class {
            Some(class) => self.small.take(class, &mut self.arena)?,
            None => self.arena.take(bytes)?,
        };
        Some(Block { start: pointer(address)?, class })
    }

    /// The block that `take` did not find, from memory that the system gives for it.
    #[cold]
    fn grow_and_take(&mut self, class: Option<usize>, asked: usize) -> Result<Block, String> {
        let live = self.all.live;
        let whole = asked.checked_next_multiple_of(ALIGN).ok_or_else(|| refused(asked, None, live))?;
        self.grow(asked, class.map_or(whole, SmallBlocks::slab_bytes))?;
        self.take(class, whole).ok_or_else(|| refused(asked, None, live))
    }

    /// Makes room for `bytes` more, after giving back what is free if that helps; else the sentence of the refusal.
    fn grow(&mut self, asked: usize, bytes: usize) -> Result<(), String> {
        let mut available = pages::available(self.arena.reserved());
        if available.is_some_and(|available| available < bytes) {
            self.trim();
            available = pages::available(self.arena.reserved());
        }
        let fits = available.is_none_or(|available| bytes <= available);
        if fits && self.arena.grow(bytes, available) { Ok(()) } else { Err(refused(asked, available, self.all.live)) }
    }

    fn trim(&mut self) {
        self.small.trim(&mut self.arena);
        self.arena.trim();
    }

    fn count(&mut self, category: Category, bytes: usize) {
        self.by_category[category as usize].add(bytes);
        if category != Category::Workspace {
            self.all.add(bytes);
        }
    }

    fn discount(&mut self, category: Category, bytes: usize) {
        self.by_category[category as usize].live -= bytes;
        if category != Category::Workspace {
            self.all.live -= bytes;
        }
    }
}

/// A block for `bytes`, counted under `category`; its contents are arbitrary.
pub(crate) fn allocate(bytes: usize, category: Category) -> Result<Block, String> {
    let class = class_of(bytes);
    let mut held = store();
    // What cannot be rounded up is found nowhere, and refused when room is to be made.
    let whole = bytes.checked_next_multiple_of(ALIGN).unwrap_or(bytes);
    let block = match held.take(class, whole) {
        Some(block) => block,
        None => held.grow_and_take(class, bytes)?,
    };
    held.count(category, bytes);
    held.allocations += 1;
    Ok(block)
}

/// Keeps the block of a dropped buffer.
pub(crate) fn release(block: &Block, bytes: usize, category: Category) {
    let mut held = store();
    held.discount(category, bytes);
    let address = block.start.as_ptr().expose_provenance();
    match block.class {
        Some(class) => held.small.give(class, address),
        None => held.arena.give(address),
    }
}

/// Counts `bytes` under another category.
pub(crate) fn recount(bytes: usize, from: Category, to: Category) {
    let mut held = store();
    held.discount(from, bytes);
    held.count(to, bytes);
}

const OUT_OF_MEMORY: &str = "out of memory: ";

/// The sentence of a refused allocation.
fn refused(asked: usize, available: Option<usize>, live: usize) -> String {
    let available = available.map_or_else(String::new, |available| format!("{available} are available and "));
    format!(
        "{OUT_OF_MEMORY}{asked} bytes were asked for while {available}{live} are live. \
         Use smaller tensors or more ranks, or release tensors sooner."
    )
}

/// The sentence for a tensor whose bytes no number holds.
pub(crate) fn too_long(len: usize, size: usize) -> String {
    let live = store().all.live;
    format!(
        "{OUT_OF_MEMORY}{len} elements of {size} bytes were asked for, more than can be addressed, while {live} are live. \
         Use smaller tensors."
    )
}

/// Whether an error sentence tells of a refused allocation.
pub fn is_out_of_memory(message: &str) -> bool {
    message.contains(OUT_OF_MEMORY)
}

/// The counters now.
pub fn memory_stats() -> MemoryStats {
    let Store { all, by_category, allocations, arena, .. } = &*store();
    let (reserved, system_calls) = (arena.reserved(), pages::system_calls());
    MemoryStats { all: *all, by_category: *by_category, reserved, allocations: *allocations, system_calls }
}

/// Counts the peaks anew from what is live now.
pub fn reset_peak() {
    let mut held = store();
    held.all.peak = held.all.live;
    held.by_category.iter_mut().for_each(|usage| usage.peak = usage.live);
}

/// Gives what is free back to the system, as far as whole regions are.
pub fn trim_cache() {
    store().trim();
}
