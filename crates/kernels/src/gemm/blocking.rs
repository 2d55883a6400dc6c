//! How a product is cut. Everything here follows from the shape alone, never from the number of threads.

use super::kernel::Kernel;

/// The most steps of k that one tile sums in registers: a 32-wide panel of 48 KiB stays in the second-level cache.
const DEPTH: usize = 384;
/// Rows of A that one item holds in the second-level cache (96 x 384 values are 147 KiB); a multiple of every kernel's ROWS.
const ITEM_ROWS: usize = 96;
/// Values of B packed at a time (8 MiB): a share of the third-level cache.
const SLAB: usize = 2 << 20;
/// Below this many columns a slab is not cut further, or A would be read too often.
const SLAB_COLS: usize = 1024;
/// Items wanted: many more than cores, so that one preempted core does not hold up the rest.
const ITEMS: usize = 32;
/// Multiply-adds that an item should have at least: some ten microseconds.
const ITEM_WORK: usize = 1 << 20;
/// Values that an item of the packing should have at least.
const PACK_WORK: usize = 1 << 15;

/// The steps of k in a block: a function of k alone, because an element's bits follow from it.
pub(super) fn block_depth(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEPTH).max(1)).next_multiple_of(16)
}

/// The cut of one product.
pub(super) struct Blocking {
    /// Steps of k that one tile sums in registers.
    pub depth: usize,
    /// Columns and steps of k of B that are packed together.
    pub slab_cols: usize,
    pub slab_depth: usize,
    /// Extents of C in one item of the pool.
    pub item_rows: usize,
    pub item_cols: usize,
    /// Panels in one item of the packing.
    pub pack_panels: usize,
}

impl Blocking {
    pub fn new<K: Kernel>(m: usize, n: usize, k: usize) -> Blocking {
        let depth = block_depth(k);
        let padded = n.next_multiple_of(K::COLS);
        let fitting = SLAB / k.next_multiple_of(depth) / K::COLS * K::COLS;
        let slab_cols = padded.min(fitting.max(SLAB_COLS));
        let slab_depth = (SLAB / slab_cols / depth).max(1) * depth;
        let (width, steps) = (slab_cols, slab_depth.min(k));

        let wanted = (m * width * steps / ITEM_WORK).clamp(1, ITEMS);
        let col_items = wanted.div_ceil(m.div_ceil(ITEM_ROWS)).min(width.div_ceil(4 * K::COLS));
        let row_items = m.div_ceil(ITEM_ROWS).max(wanted.div_ceil(col_items).min(m / (2 * K::ROWS)));
        Blocking {
            depth,
            slab_cols,
            slab_depth,
            item_rows: m.div_ceil(row_items).next_multiple_of(K::ROWS),
            item_cols: width.div_ceil(col_items).next_multiple_of(K::COLS),
            pack_panels: PACK_WORK.div_ceil(steps * K::COLS),
        }
    }
}
