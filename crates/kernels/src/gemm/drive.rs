//! Runs a product on the pool: packs a slab of B once for all, then computes the items of C that use it.

use super::blocking::Blocking;
use super::kernel::{Kernel, PackedA, Tile};
use super::operand::{Operand, Source, Start, Target};
use super::pack::packed_a_len;
use super::work::Work;
use crate::{pool, scratch::Scratch};
use std::ops::Range;

/// A packed slab of B: block of k after block of k, each as whole panels.
#[derive(Clone, Copy)]
struct Slab {
    start: *mut f32,
    first_col: usize,
    first_k: usize,
    cols: usize,
    /// Steps of k in a word.
    pair: usize,
}

// SAFETY: packing items write disjoint panels, and computing items only read.
unsafe impl Sync for Slab {}

impl Slab {
    /// The panel of column `col` in the block that begins at `k`, `words` deep.
    fn panel(&self, k: usize, words: usize, col: usize) -> *mut f32 {
        self.start.wrapping_add((k - self.first_k) / self.pair * self.cols + (col - self.first_col) * words)
    }
}

/// Where the sums grow: C itself, or f32 memory from which the finished sums go to C.
#[derive(Clone, Copy)]
struct Sums {
    /// Of element (first_row, first_col).
    start: *mut f32,
    row: usize,
    first_row: usize,
    first_col: usize,
    /// Whether this is not C.
    staged: bool,
}

// SAFETY: items use disjoint elements.
unsafe impl Sync for Sums {}

impl Sums {
    fn at(&self, row: usize, col: usize) -> *mut f32 {
        self.start.wrapping_add((row - self.first_row) * self.row + (col - self.first_col))
    }

    /// C itself, where kernels can write it.
    fn direct(c: Target) -> Option<Sums> {
        match c.start {
            Start::F32(start) if c.col == 1 => Some(Sums { start, row: c.row, first_row: 0, first_col: 0, staged: false }),
            _ => None,
        }
    }
}

/// # Safety
/// The CPU has the features of `K`; A and B are valid for m x k and k x n; C for m x n, its elements in places of their own,
/// written by nobody else meanwhile and apart from A and B; `bias` is null or valid for n; the steps of `finish` fit m x n.
pub(super) unsafe fn multiply<K: Kernel>(work: &Work) {
    // Columns of C that lie dense become rows.
    let across = work.c.col != 1 && work.c.row == 1 && work.bias.is_null() && work.finish.is_empty();
    let work = &if across { work.t() } else { *work };
    let Work { m, n, k, .. } = *work;
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        // SAFETY: the caller's promise, handed on.
        return unsafe { finish_empty_sums(work) };
    }
    let cut = Blocking::new::<K>(m, n, k);
    let direct = Sums::direct(work.c);
    if m <= cut.item_rows {
        let items = n.div_ceil(cut.item_cols);
        return pool::run(items, &|item| {
            let cols = part(n, cut.item_cols, item);
            // SAFETY: items have disjoint columns.
            unsafe { block::<K>(work, &cut, 0..m, cols, 0..k, None, direct) };
        });
    }
    let steps = cut.slab_depth.min(k.next_multiple_of(cut.depth));
    let mut memory = Scratch::take(cut.slab_cols * (steps / K::PAIR));
    // Sums of several slabs along k wait in memory that outlives an item.
    let staged_cols = if direct.is_none() && k > cut.slab_depth { cut.slab_cols } else { 0 };
    let mut stage = Scratch::take(m * staged_cols);
    let start = memory.as_mut_ptr();
    for first_col in (0..n).step_by(cut.slab_cols) {
        let waiting = Sums { start: stage.as_mut_ptr(), row: staged_cols, first_row: 0, first_col, staged: true };
        let sums = direct.or((staged_cols > 0).then_some(waiting));
        for first_k in (0..k).step_by(cut.slab_depth) {
            let cols = first_col..n.min(first_col + cut.slab_cols);
            let ks = first_k..k.min(first_k + cut.slab_depth);
            let slab = Slab { start, first_col, first_k, cols: cols.len().next_multiple_of(K::COLS), pair: K::PAIR };
            // SAFETY: the scratch holds a whole slab; the caller answers for the rest.
            unsafe {
                pack_slab::<K>(work, &cut, slab, &cols, &ks);
                compute_slab::<K>(work, &cut, slab, &cols, &ks, sums);
            }
        }
    }
}

/// How B is packed where its rows lie dense: so many of them before the next panel, and rows and panels of one item. The first
/// two are multiples of every kernel's PAIR.
const CHUNK: usize = 32;
const PACK_ROWS: usize = 128;
const PACK_PANELS: usize = 8;

/// Words of a cache line.
const LINE: usize = 16;

/// Part number `index` of `0..total` in parts of `size`.
fn part(total: usize, size: usize, index: usize) -> Range<usize> {
    index * size..total.min((index + 1) * size)
}

/// # Safety
/// As [`multiply`]; the slab has room for `cols x ks`.
unsafe fn pack_slab<K: Kernel>(work: &Work, cut: &Blocking, slab: Slab, cols: &Range<usize>, ks: &Range<usize>) {
    // Dense rows are read some at a time, each over many panels, because a panel's part of a row is but a few cache lines.
    let rows_dense = work.b.rows_dense();
    let (panels, run, chunk) = if rows_dense { (PACK_PANELS, PACK_ROWS, CHUNK) } else { (cut.pack_panels, cut.depth, cut.depth) };
    let (width, runs) = (panels * K::COLS, cut.depth.div_ceil(run));
    let down = ks.len().div_ceil(cut.depth) * runs;
    pool::run(cols.len().div_ceil(width) * down, &|item| {
        let (across, down) = (part(cols.len(), width, item / down), item % down);
        let k = ks.start + down / runs * cut.depth;
        let depth = cut.depth.min(ks.end - k);
        let rows = part(depth, run, down % runs);
        for (first, col) in rows.clone().step_by(chunk).flat_map(|first| across.clone().step_by(K::COLS).map(move |col| (first, col))) {
            let col = cols.start + col;
            let place = slab.panel(k, depth.div_ceil(K::PAIR), col).wrapping_add(first / K::PAIR * K::COLS);
            // SAFETY: each part of a panel belongs to one item.
            unsafe { K::pack_b(work.b.at(k + first, col), chunk.min(rows.end - first), K::COLS.min(cols.end - col), place) };
        }
    });
}

/// # Safety
/// As [`multiply`]; the slab is packed.
unsafe fn compute_slab<K: Kernel>(work: &Work, cut: &Blocking, slab: Slab, cols: &Range<usize>, ks: &Range<usize>, sums: Option<Sums>) {
    let across = cols.len().div_ceil(cut.item_cols);
    pool::run(work.m.div_ceil(cut.item_rows) * across, &|item| {
        let rows = part(work.m, cut.item_rows, item / across);
        let part = part(cols.len(), cut.item_cols, item % across);
        // SAFETY: items have disjoint blocks of C.
        unsafe { block::<K>(work, cut, rows, cols.start + part.start..cols.start + part.end, ks.clone(), Some(slab), sums) };
    });
}

/// One block of C over `ks`, from a packed slab or packing each panel just before its use. Without `sums` the block stages
/// its own.
///
/// # Safety
/// As [`multiply`]; nobody else writes these rows and columns of C.
unsafe fn block<K: Kernel>(
    work: &Work,
    cut: &Blocking,
    rows: Range<usize>,
    cols: Range<usize>,
    ks: Range<usize>,
    slab: Option<Slab>,
    sums: Option<Sums>,
) {
    let words = cut.depth / K::PAIR;
    let panel_step = K::COLS.div_ceil(rows.len().div_ceil(K::ROWS));
    let own_panel = if slab.is_some() { 0 } else { words * K::COLS };
    // Sums that one block of k completes need a place for one tile.
    let tile_stage = sums.is_none() && ks.len() <= cut.depth;
    let (stage_row, stage_rows) = if tile_stage { (K::COLS, K::ROWS) } else { (cols.len(), rows.len()) };
    let narrow = if K::STORES_BF16 && tile_stage { work.narrow_rows() } else { None };
    let own_sums = if sums.is_some() || narrow.is_some() { 0 } else { stage_row * stage_rows };
    let mut memory = Scratch::take(own_panel + packed_a_len(K::ROWS, rows.len(), words) + own_sums);
    let (own, rest) = memory.as_mut_slice().split_at_mut(own_panel);
    let (stage, a_copy) = rest.split_at_mut(own_sums);
    let own_stage = Sums { start: stage.as_mut_ptr(), row: stage_row, first_row: rows.start, first_col: cols.start, staged: true };
    let sums = sums.unwrap_or(own_stage);
    for k in ks.clone().step_by(cut.depth) {
        let depth = cut.depth.min(ks.end - k);
        let words = depth.div_ceil(K::PAIR);
        let source = work.a.at(rows.start, k);
        let in_place = K::in_place(source);
        // Dense rows are copied tile by tile, just before the first panel meets them.
        let by_tile = in_place.is_none() && source.rows_dense();
        let a = match in_place {
            Some(a) => PackedA::in_place(a, K::ROWS),
            // SAFETY: `a` is valid for rows x depth, the copy's memory has the length asked for.
            None => unsafe { K::pack_a(source, if by_tile { K::ROWS.min(rows.len()) } else { rows.len() }, depth, a_copy.as_mut_ptr()) },
        };
        let gapless = source.gapless(depth);
        for col in cols.clone().step_by(K::COLS) {
            let width = K::COLS.min(cols.end - col);
            let panel = match slab {
                Some(slab) => slab.panel(k, words, col).cast_const(),
                None => {
                    // SAFETY: `own` holds a panel of the deepest block.
                    unsafe { K::pack_b(work.b.at(k, col), depth, width, own.as_mut_ptr()) };
                    own.as_ptr()
                }
            };
            for (index, row) in rows.clone().step_by(K::ROWS).enumerate() {
                let c = if tile_stage { sums.start } else { sums.at(row, col) };
                let height = K::ROWS.min(rows.end - row);
                let first = col == cols.start;
                if by_tile && first && index > 0 {
                    let copy = a_copy.as_mut_ptr().wrapping_add(index * a.tile_stride);
                    // SAFETY: as above; the copy of this tile's rows.
                    unsafe { K::pack_a(work.a.at(row, k), height, depth, copy) };
                }
                // For the first panel the rows of A that the next tile meets; then, tile after tile, the panel that comes next.
                let (ahead, ahead_step) = match gapless {
                    Some((start, row)) if first => (start.wrapping_add((index + 1) * K::ROWS * row), (K::ROWS * row / words).min(LINE)),
                    _ => (panel.wrapping_add(words * (K::COLS + panel_step * index)), panel_step),
                };
                let tile = Tile {
                    rows: height,
                    cols: width,
                    depth: words,
                    a: a.tile(index),
                    panel,
                    ahead,
                    ahead_step,
                    c,
                    c_row: if narrow.is_some() { work.c.row } else { sums.row },
                    narrow: narrow.map_or(std::ptr::null_mut(), |start| start.wrapping_add(row * work.c.row + col)),
                    bias: if k == 0 && !work.bias.is_null() { work.bias.wrapping_add(col) } else { std::ptr::null() },
                    accumulate: work.accumulate || k > 0,
                };
                if narrow.is_some() {
                    // SAFETY: the tile lies in this block.
                    unsafe { K::tile(&tile) };
                    continue;
                }
                let last = k + depth == work.k;
                if sums.staged && last {
                    work.c.prefetch(tile.rows, row, col);
                }
                // SAFETY: the tile lies in this block.
                unsafe {
                    if sums.staged && work.accumulate && k == 0 {
                        fetch(work.c.source(), &tile, row, col);
                    }
                    K::tile(&tile);
                    if last && (sums.staged || !work.finish.is_empty()) {
                        finish(work, &tile, row, col, sums.staged);
                    }
                }
            }
        }
    }
}

/// Copies what C holds to where the tile's sums grow.
///
/// # Safety
/// As [`multiply`]; the tile is that of element (row, col).
unsafe fn fetch(c: Source, tile: &Tile, row: usize, col: usize) {
    for i in 0..tile.rows {
        // SAFETY: row i of the tile, which nobody else uses, and as many elements of C.
        unsafe {
            let sums = std::slice::from_raw_parts_mut(tile.c.add(i * tile.c_row), tile.cols);
            c.read_row(sums, row + i, col);
        }
    }
}

/// The steps of the epilogue on a tile whose sums are complete, and its way to C if it is staged.
///
/// # Safety
/// As [`multiply`]; the tile is that of element (row, col).
unsafe fn finish(work: &Work, tile: &Tile, row: usize, col: usize, staged: bool) {
    for (i, step) in (0..tile.rows).flat_map(|i| work.finish.iter().map(move |step| (i, step))) {
        // SAFETY: row i of the tile, which nobody else uses.
        unsafe { step.finish(std::slice::from_raw_parts_mut(tile.c.add(i * tile.c_row), tile.cols), row + i, col) };
    }
    if staged {
        let sums = Operand { start: tile.c.cast_const(), row: tile.c_row, col: 1 };
        // SAFETY: the tile's elements of C, which nobody else uses.
        unsafe { work.c.store_rows(sums, [tile.rows, tile.cols], row, col) };
    }
}

/// k = 0: every sum is zero, the epilogue stays.
///
/// # Safety
/// As [`multiply`].
unsafe fn finish_empty_sums(work: &Work) {
    const COLS: usize = 32;
    for (row, col) in (0..work.m).flat_map(|row| (0..work.n).step_by(COLS).map(move |col| (row, col))) {
        let mut sums = [0.0; COLS];
        let sums = &mut sums[..COLS.min(work.n - col)];
        // SAFETY: these elements lie in C, and their columns in the bias.
        unsafe {
            if work.accumulate {
                work.c.source().read_row(sums, row, col);
            }
            if !work.bias.is_null() {
                sums.iter_mut().enumerate().for_each(|(j, sum)| *sum += *work.bias.add(col + j));
            }
        }
        let tile = Tile {
            rows: 1,
            cols: sums.len(),
            depth: 0,
            a: Operand { start: std::ptr::null(), row: 0, col: 0 },
            panel: std::ptr::null(),
            ahead: std::ptr::null(),
            ahead_step: 0,
            c: sums.as_mut_ptr(),
            c_row: 0,
            narrow: std::ptr::null_mut(),
            bias: std::ptr::null(),
            accumulate: false,
        };
        // SAFETY: these elements are this call's.
        unsafe { finish(work, &tile, row, col, true) };
    }
}
