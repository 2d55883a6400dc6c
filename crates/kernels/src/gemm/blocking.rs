//! How a product is cut. Everything here follows from the shape and the kernel alone, never from the number of threads.

use super::kernel::Kernel;

/// The most words of k that one tile sums in registers: fewer passes over C, while a block of A stays in the second-level cache.
const DEPTH: usize = 768;
/// The most rows of A that one item holds there (96 x 768 words are 288 KiB); a multiple of every kernel's ROWS.
const ITEM_ROWS: usize = 96;
/// Fewer rows than this read a packed slab of B too often, unless it fits the second-level cache itself.
const FEW_ROWS: usize = 48;
const FEWEST_ROWS: usize = 24;
/// Words of B (512 KiB) that do.
const SMALL_SLAB: usize = 1 << 17;
/// Items are cut along the columns where they stay this wide, because each packs its rows of A itself.
const WIDE: usize = 512;
/// Words of B packed at a time (8 MiB): a share of the third-level cache.
const SLAB: usize = 2 << 20;
/// Below this many columns a slab is not cut further, or A would be read too often.
const SLAB_COLS: usize = 1024;
/// Items wanted: many more than cores, so that one preempted core does not hold up the rest.
const ITEMS: usize = 32;
/// Word multiply-adds that an item should have at least: some ten microseconds.
const ITEM_WORK: usize = 1 << 20;
/// Words that an item of the packing should have at least.
const PACK_WORK: usize = 1 << 15;

/// The steps of k in a block: a function of k and the kernel's words, because an element's bits follow from it.
pub(super) fn block_depth(k: usize, pair: usize) -> usize {
    k.div_ceil(k.div_ceil(DEPTH * pair).max(1)).next_multiple_of(16 * pair)
}

/// The cut of one product. Steps of k count elements, not words.
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
        let depth = block_depth(k, K::PAIR);
        let padded = n.next_multiple_of(K::COLS);
        let fitting = SLAB * K::PAIR / k.next_multiple_of(depth) / K::COLS * K::COLS;
        let slab_cols = padded.min(fitting.max(SLAB_COLS));
        let slab_depth = (SLAB * K::PAIR / slab_cols / depth).max(1) * depth;
        let (width, steps) = (slab_cols, slab_depth.min(k).div_ceil(K::PAIR));

        let wanted = (m.saturating_mul(width).saturating_mul(steps) / ITEM_WORK).clamp(1, ITEMS);
        let fewest = if width * steps <= SMALL_SLAB { FEWEST_ROWS } else { FEW_ROWS };
        let row_items = wanted.min(m.div_ceil(fewest)).max(m.div_ceil(ITEM_ROWS));
        let narrowest = if m > fewest { WIDE } else { 4 * K::COLS };
        let col_items = wanted.div_ceil(row_items).min(width.div_ceil(narrowest));
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
