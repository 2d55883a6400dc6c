//! Blocks of a few kilobytes and less: each size has a list of free ones, cut from slabs of the arena.

use crate::arena::Arena;

/// Alignment of every block: a cache line, and the widest vector.
pub(crate) const ALIGN: usize = 64;

/// Classes between a power of two and the next: a block is at most an eighth larger than what was asked.
const STEPS: usize = 8;

/// Classes up to 32 KiB.
const CLASSES: usize = 7 * STEPS;

/// The least size of a slab.
const SLAB: usize = 64 << 10;

/// Blocks of a slab, at least.
const BLOCKS: usize = 8;

/// Free blocks by class, and the slabs that all blocks were cut from.
pub(crate) struct SmallBlocks {
    free: [Vec<usize>; CLASSES],
    slabs: Vec<Slab>,
}

struct Slab {
    address: usize,
    bytes: usize,
    class: usize,
}

/// The class of blocks for `bytes`: the number of the power of two, and the eighth within it. None for what is not small.
pub(crate) fn class_of(bytes: usize) -> Option<usize> {
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

impl SmallBlocks {
    pub const fn new() -> SmallBlocks {
        SmallBlocks { free: [const { Vec::new() }; CLASSES], slabs: Vec::new() }
    }

    /// The address of a block of `class`; None when the arena has no room for a slab.
    #[inline]
    pub fn take(&mut self, class: usize, arena: &mut Arena) -> Option<usize> {
        self.free[class].pop().or_else(|| self.cut(class, arena))
    }

    /// Ends the use of a block.
    pub fn give(&mut self, class: usize, address: usize) {
        self.free[class].push(address);
    }

    /// Bytes of a slab of `class`: what the arena must have room for.
    pub fn slab_bytes(class: usize) -> usize {
        (BLOCKS * class_bytes(class)).max(SLAB)
    }

    /// The first block of a new slab; the others are free from now on.
    #[cold]
    fn cut(&mut self, class: usize, arena: &mut Arena) -> Option<usize> {
        let (bytes, block) = (SmallBlocks::slab_bytes(class), class_bytes(class));
        let address = arena.take(bytes)?;
        self.slabs.push(Slab { address, bytes, class });
        self.free[class].extend((1..bytes / block).rev().map(|index| address + index * block));
        Some(address)
    }

    /// Gives slabs without a used block back to the arena.
    pub fn trim(&mut self, arena: &mut Arena) {
        for slab in std::mem::take(&mut self.slabs) {
            let inside = slab.address..slab.address + slab.bytes;
            let free = &mut self.free[slab.class];
            let count = free.iter().filter(|address| inside.contains(address)).count();
            if count == slab.bytes / class_bytes(slab.class) {
                free.retain(|address| !inside.contains(address));
                arena.give(slab.address);
            } else {
                self.slabs.push(slab);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_what_was_asked_and_wastes_an_eighth_at_most() {
        let largest = class_bytes(CLASSES - 1);
        assert_eq!(largest, 32 << 10);
        for bytes in 0..=largest {
            let class = class_of(bytes).unwrap();
            let got = class_bytes(class);
            assert!(got >= bytes && got <= bytes.max(1) + bytes / 8 + ALIGN, "{bytes} -> class {class} of {got}");
            assert!(class == 0 || class_bytes(class - 1) < bytes.max(1), "{bytes} fits the class below {class}");
        }
        assert_eq!((class_of(largest + 1), class_of(usize::MAX)), (None, None));
    }
}
