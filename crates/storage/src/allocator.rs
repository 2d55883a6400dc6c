//! Where buffers come from: freed blocks are kept by size class and given out again, so that a step asks the system for nothing.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard};

/// Alignment of every block: a cache line, and the widest vector.
pub(crate) const ALIGN: usize = 64;

/// Classes between a power of two and the next: a block is at most an eighth larger than what was asked.
const STEPS: usize = 8;

/// Classes up to 2^47 bytes, which is all that an x86-64 process can address.
const CLASSES: usize = 42 * STEPS;

/// Counters of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Bytes that live buffers asked for.
    pub live: usize,
    /// The most that `live` has been since the last [`reset_peak`].
    pub peak: usize,
    /// Bytes of freed blocks kept for reuse.
    pub cached: usize,
    /// Buffers given out since the process began.
    pub allocations: u64,
}

/// A piece of memory of one class; `start` is aligned, `base` is what the system gave.
pub(crate) struct Block {
    pub start: NonNull<u8>,
    base: NonNull<u8>,
    class: usize,
}

// SAFETY: a block is plain memory that belongs to whoever holds the block.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

struct Cache {
    free: [Vec<Block>; CLASSES],
    stats: MemoryStats,
}

static CACHE: Mutex<Cache> =
    Mutex::new(Cache { free: [const { Vec::new() }; CLASSES], stats: MemoryStats { live: 0, peak: 0, cached: 0, allocations: 0 } });

fn cache() -> MutexGuard<'static, Cache> {
    CACHE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The class of blocks for `bytes`: the number of the power of two, and the eighth within it.
fn class_of(bytes: usize) -> Option<usize> {
    let lines = bytes.div_ceil(ALIGN).max(1);
    let class = if lines <= STEPS {
        lines - 1
    } else {
        let power = (lines - 1).ilog2() as usize;
        let eighth = (lines - 1) >> (power - 3);
        (power - 2) * STEPS + eighth - STEPS
    };
    (class < CLASSES).then_some(class)
}

/// Bytes of a block of `class`.
fn class_bytes(class: usize) -> usize {
    let (power, eighth) = (class / STEPS, class % STEPS);
    let lines = if power == 0 { eighth + 1 } else { (STEPS + eighth + 1) << (power - 1) };
    lines * ALIGN
}

fn layout(class: usize) -> Option<Layout> {
    Layout::from_size_align(class_bytes(class) + ALIGN, align_of::<u128>()).ok()
}

/// Zeroed memory from the system. Small alignment and room to shift keep it lazy: large pieces cost nothing until touched.
fn from_system(class: usize) -> Option<Block> {
    let layout = layout(class)?;
    // SAFETY: the layout has a size above zero.
    let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
    let shift = base.as_ptr().align_offset(ALIGN);
    // SAFETY: the block is ALIGN bytes larger than its class.
    let start = unsafe { base.add(shift) };
    Some(Block { start, base, class })
}

fn to_system(block: Block) {
    if let Some(layout) = layout(block.class) {
        // SAFETY: the block came from the system with this layout, and nobody holds it any more.
        unsafe { dealloc(block.base.as_ptr(), layout) };
    }
}

/// A block for `bytes`; its contents are arbitrary.
pub(crate) fn allocate(bytes: usize) -> Result<Block, String> {
    let class = class_of(bytes).ok_or_else(|| refused(bytes))?;
    let mut held = cache();
    let block = match held.free[class].pop() {
        Some(block) => {
            held.stats.cached -= class_bytes(class);
            block
        }
        None => {
            drop(held);
            let fresh = from_system(class).or_else(|| {
                trim_cache();
                from_system(class)
            });
            held = cache();
            fresh.ok_or_else(|| refused_with(bytes, held.stats.live))?
        }
    };
    held.stats.live += bytes;
    held.stats.peak = held.stats.peak.max(held.stats.live);
    held.stats.allocations += 1;
    Ok(block)
}

/// Keeps the block of a dropped buffer.
pub(crate) fn release(block: Block, bytes: usize) {
    let mut held = cache();
    held.stats.live -= bytes;
    held.stats.cached += class_bytes(block.class);
    let class = block.class;
    held.free[class].push(block);
}

const OUT_OF_MEMORY: &str = "out of memory: ";

fn refused(bytes: usize) -> String {
    refused_with(bytes, cache().stats.live)
}

/// The sentence of a refused allocation.
pub(crate) fn refused_with(bytes: usize, live: usize) -> String {
    format!(
        "{OUT_OF_MEMORY}{bytes} bytes were asked for while {live} are live. Use smaller tensors or more ranks, or release tensors sooner."
    )
}

/// Whether an error sentence tells of a refused allocation.
pub fn is_out_of_memory(message: &str) -> bool {
    message.contains(OUT_OF_MEMORY)
}

/// The counters now.
pub fn memory_stats() -> MemoryStats {
    cache().stats
}

/// Counts the peak anew from what is live now.
pub fn reset_peak() {
    let mut held = cache();
    held.stats.peak = held.stats.live;
}

/// Gives all kept blocks back to the system.
pub fn trim_cache() {
    let mut held = cache();
    let blocks: Vec<Block> = held.free.iter_mut().flat_map(std::mem::take).collect();
    held.stats.cached = 0;
    drop(held);
    blocks.into_iter().for_each(to_system);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_what_was_asked_and_wastes_an_eighth_at_most() {
        for bytes in (0..20_000).chain((0..40).map(|power| (1 << power) + 1)).chain([1 << 47]) {
            let class = class_of(bytes).unwrap();
            let got = class_bytes(class);
            assert!(got >= bytes && got <= bytes.max(1) + bytes / 8 + ALIGN, "{bytes} -> class {class} of {got}");
            assert!(class == 0 || class_bytes(class - 1) < bytes.max(1), "{bytes} fits the class below {class}");
        }
        assert_eq!(class_of(usize::MAX), None);
    }
}
