//! Runs a product on the pool: packs a slab of B once for all, then computes the items of C that use it.

use super::blocking::Blocking;
use super::kernel::{Kernel, Operand, PackedA, Tile, packed_a_len, reads_in_place};
use crate::{pool, scratch::Scratch};
use std::ops::Range;

/// C = A B, with raw places: C may be a strided part of a buffer whose other parts other threads write.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Operand,
    pub b: Operand,
    /// Element (i, j) of C is at `c + i * c_row + j`.
    pub c: *mut f32,
    pub c_row: usize,
    /// Null, or n values added to each row.
    pub bias: *const f32,
    /// Add to C instead of overwriting it.
    pub accumulate: bool,
}

// SAFETY: who builds a product answers for the memory behind it; items write disjoint parts of C.
unsafe impl Sync for Product {}
// SAFETY: as above.
unsafe impl Send for Product {}

/// A packed slab of B: block of k after block of k, each as whole panels.
#[derive(Clone, Copy)]
struct Slab {
    start: *mut f32,
    first_col: usize,
    first_k: usize,
    cols: usize,
}

// SAFETY: packing items write disjoint panels, and computing items only read.
unsafe impl Sync for Slab {}

impl Slab {
    /// The panel of column `col` in the block that begins at `k`, `depth` steps deep.
    fn panel(&self, k: usize, depth: usize, col: usize) -> *mut f32 {
        self.start.wrapping_add((k - self.first_k) * self.cols + (col - self.first_col) * depth)
    }
}

/// # Safety
/// The CPU has the features of `K`; A and B are valid for m x k and k x n; C for m x n, written by nobody else meanwhile and
/// apart from A and B; `bias` is null or valid for n.
pub(super) unsafe fn multiply<K: Kernel>(product: &Product) {
    let Product { m, n, k, .. } = *product;
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        // SAFETY: the caller's promise, handed on.
        return unsafe { fill_empty_sums(product) };
    }
    let cut = Blocking::new::<K>(m, n, k);
    if m <= cut.item_rows {
        let items = n.div_ceil(cut.item_cols);
        return pool::run(items, &|item| {
            let cols = part(n, cut.item_cols, item);
            // SAFETY: items have disjoint columns.
            unsafe { block::<K>(product, &cut, 0..m, cols, 0..k, None) };
        });
    }
    let steps = cut.slab_depth.min(k.next_multiple_of(cut.depth));
    let mut memory = Scratch::take(cut.slab_cols * steps);
    let start = memory.as_mut_ptr();
    for first_col in (0..n).step_by(cut.slab_cols) {
        for first_k in (0..k).step_by(cut.slab_depth) {
            let cols = first_col..n.min(first_col + cut.slab_cols);
            let ks = first_k..k.min(first_k + cut.slab_depth);
            let slab = Slab { start, first_col, first_k, cols: cols.len().next_multiple_of(K::COLS) };
            // SAFETY: the scratch holds a whole slab; the caller answers for the rest.
            unsafe {
                pack_slab::<K>(product, &cut, slab, &cols, &ks);
                compute_slab::<K>(product, &cut, slab, &cols, &ks);
            }
        }
    }
}

/// Part number `index` of `0..total` in parts of `size`.
fn part(total: usize, size: usize, index: usize) -> Range<usize> {
    index * size..total.min((index + 1) * size)
}

/// # Safety
/// As [`multiply`]; the slab has room for `cols x ks`.
unsafe fn pack_slab<K: Kernel>(product: &Product, cut: &Blocking, slab: Slab, cols: &Range<usize>, ks: &Range<usize>) {
    let width = cut.pack_panels * K::COLS;
    pool::run(cols.len().div_ceil(width), &|item| {
        for col in part(cols.len(), width, item).step_by(K::COLS) {
            let col = cols.start + col;
            for k in ks.clone().step_by(cut.depth) {
                let depth = cut.depth.min(ks.end - k);
                // SAFETY: each panel belongs to one item.
                unsafe { K::pack_b(product.b.at(k, col), depth, K::COLS.min(cols.end - col), slab.panel(k, depth, col)) };
            }
        }
    });
}

/// # Safety
/// As [`multiply`]; the slab is packed.
unsafe fn compute_slab<K: Kernel>(product: &Product, cut: &Blocking, slab: Slab, cols: &Range<usize>, ks: &Range<usize>) {
    let across = cols.len().div_ceil(cut.item_cols);
    pool::run(product.m.div_ceil(cut.item_rows) * across, &|item| {
        let rows = part(product.m, cut.item_rows, item / across);
        let part = part(cols.len(), cut.item_cols, item % across);
        // SAFETY: items have disjoint blocks of C.
        unsafe { block::<K>(product, cut, rows, cols.start + part.start..cols.start + part.end, ks.clone(), Some(slab)) };
    });
}

/// One block of C over `ks`, from a packed slab or packing each panel just before its use.
///
/// # Safety
/// As [`multiply`]; nobody else writes these rows and columns of C.
unsafe fn block<K: Kernel>(p: &Product, cut: &Blocking, rows: Range<usize>, cols: Range<usize>, ks: Range<usize>, slab: Option<Slab>) {
    let own_panel = cut.depth * K::COLS;
    let mut memory = Scratch::take(own_panel + packed_a_len(K::ROWS, rows.len(), cut.depth));
    let (own, a_copy) = memory.as_mut_slice().split_at_mut(own_panel);
    for k in ks.clone().step_by(cut.depth) {
        let depth = cut.depth.min(ks.end - k);
        let a = p.a.at(rows.start, k);
        let a = if reads_in_place(a) {
            PackedA::in_place(a, K::ROWS)
        } else {
            // SAFETY: `a` is valid for rows x depth, the copy's memory has the length asked for.
            unsafe { K::pack_a(a, rows.len(), depth, a_copy.as_mut_ptr()) }
        };
        for col in cols.clone().step_by(K::COLS) {
            let width = K::COLS.min(cols.end - col);
            let panel = match slab {
                Some(slab) => slab.panel(k, depth, col).cast_const(),
                None => {
                    // SAFETY: `own` holds a panel of the deepest block.
                    unsafe { K::pack_b(p.b.at(k, col), depth, width, own.as_mut_ptr()) };
                    own.as_ptr()
                }
            };
            for (index, row) in rows.clone().step_by(K::ROWS).enumerate() {
                let tile = Tile {
                    rows: K::ROWS.min(rows.end - row),
                    cols: width,
                    depth,
                    a: a.tile(index),
                    panel,
                    c: p.c.wrapping_add(row * p.c_row + col),
                    c_row: p.c_row,
                    bias: if k == 0 && !p.bias.is_null() { p.bias.wrapping_add(col) } else { std::ptr::null() },
                    accumulate: p.accumulate || k > 0,
                };
                // SAFETY: the tile lies in this block.
                unsafe { K::tile(&tile) };
            }
        }
    }
}

/// k = 0: every sum is zero, the epilogue stays.
///
/// # Safety
/// As [`multiply`].
unsafe fn fill_empty_sums(product: &Product) {
    for i in 0..product.m {
        for j in 0..product.n {
            // SAFETY: (i, j) lies in C, and j in the bias.
            unsafe {
                let c = product.c.add(i * product.c_row + j);
                let bias = if product.bias.is_null() { 0.0 } else { *product.bias.add(j) };
                *c = if product.accumulate { *c + bias } else { bias };
            }
        }
    }
}
