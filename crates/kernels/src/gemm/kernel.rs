//! What a micro-kernel must give, and the packing that all of them share.

/// Where a matrix lies: element (i, j) is at `start + i * row + j * col`.
#[derive(Clone, Copy)]
pub(crate) struct Operand {
    pub start: *const f32,
    pub row: usize,
    pub col: usize,
}

// SAFETY: an operand is only read through; who builds one answers for the memory behind it.
unsafe impl Send for Operand {}
// SAFETY: as above.
unsafe impl Sync for Operand {}

impl Operand {
    /// The same matrix from element (i, j) on.
    pub fn at(self, i: usize, j: usize) -> Operand {
        Operand { start: self.start.wrapping_add(i * self.row + j * self.col), ..self }
    }

    /// The transposed matrix.
    pub fn t(self) -> Operand {
        Operand { start: self.start, row: self.col, col: self.row }
    }
}

/// One tile of C: `rows x cols` sums over `depth`, then the epilogue.
pub(super) struct Tile {
    pub rows: usize,
    pub cols: usize,
    pub depth: usize,
    /// rows x depth.
    pub a: Operand,
    /// depth x COLS, dense, zero beyond `cols`.
    pub panel: *const f32,
    pub c: *mut f32,
    pub c_row: usize,
    /// Null, or `cols` values added to each row.
    pub bias: *const f32,
    /// Add to C instead of overwriting it.
    pub accumulate: bool,
}

impl Tile {
    /// The epilogue of one row, one value at a time: bias, then what was there.
    ///
    /// # Safety
    /// `c` is valid for `cols` values; `values` holds as many.
    pub unsafe fn store_row(&self, values: &[f32], c: *mut f32) {
        for (j, value) in values.iter().enumerate().take(self.cols) {
            let mut value = *value;
            // SAFETY: j < cols.
            unsafe {
                if !self.bias.is_null() {
                    value += *self.bias.add(j);
                }
                if self.accumulate {
                    value += *c.add(j);
                }
                *c.add(j) = value;
            }
        }
    }
}

/// A micro-kernel. Every element is a chain of `depth` multiply-adds that starts from zero, in the order of k, whatever the
/// tile's shape: its bits do not tell where in C it lies. The packed forms belong to the kernel, so that one for bf16 can
/// round while it packs and keep pairs in a word.
pub(super) trait Kernel {
    /// Rows of a full tile.
    const ROWS: usize;
    /// Columns of a full tile and of a panel.
    const COLS: usize;

    /// # Safety
    /// The CPU has the kernel's features; `tile.rows` is 1..=ROWS and `tile.cols` 1..=COLS; the tile's pointers are valid
    /// for those extents, and nobody else uses its part of C meanwhile.
    unsafe fn tile(tile: &Tile);

    /// Packs `depth x cols` of `b` as a panel: row k at `panel + k * COLS`, zero beyond `cols`.
    ///
    /// # Safety
    /// The CPU has the kernel's features; `b` is valid for `depth x cols` and `panel` for `depth * COLS` values.
    unsafe fn pack_b(b: Operand, depth: usize, cols: usize, panel: *mut f32);

    /// Copies `rows x depth` of `a` as the tiles read it fast.
    ///
    /// # Safety
    /// The CPU has the kernel's features; `a` is valid for `rows x depth` and `to` for [`packed_a_len`] values.
    unsafe fn pack_a(a: Operand, rows: usize, depth: usize, to: *mut f32) -> PackedA;
}

/// Packs rows that lie dense in memory: NN and TN.
///
/// # Safety
/// `b.col == 1`; else as [`Kernel::pack_b`].
#[inline(always)]
pub(super) unsafe fn pack_rows<const COLS: usize>(b: Operand, depth: usize, cols: usize, panel: *mut f32) {
    for k in 0..depth {
        // SAFETY: row k holds `cols` values from here, and the panel's row COLS >= cols.
        unsafe {
            let (from, to) = (b.start.add(k * b.row), panel.add(k * COLS));
            if cols == COLS {
                from.copy_to_nonoverlapping(to, COLS);
            } else {
                from.copy_to_nonoverlapping(to, cols);
                to.add(cols).write_bytes(0, COLS - cols);
            }
        }
    }
}

/// Packs a matrix of any strides, one value at a time.
///
/// # Safety
/// As [`Kernel::pack_b`].
#[inline(always)]
pub(super) unsafe fn pack_any<const COLS: usize>(b: Operand, depth: usize, cols: usize, panel: *mut f32) {
    for k in 0..depth {
        for j in 0..COLS {
            // SAFETY: (k, j) is read inside `depth x cols` only; the panel holds `depth * COLS`.
            unsafe { *panel.add(k * COLS + j) = if j < cols { *b.start.add(k * b.row + j * b.col) } else { 0.0 } };
        }
    }
}

/// Copies `rows x depth` of `a` so that the tiles read it fast, and says where the tile of row `i` begins: rows stay rows
/// (padded, so that they do not all fall on one cache set); a matrix of dense columns becomes panels [depth][ROWS].
///
/// # Safety
/// `a` is valid for `rows x depth`; `to` for [`packed_a_len`] values.
pub(super) unsafe fn pack_a<const ROWS: usize>(a: Operand, rows: usize, depth: usize, to: *mut f32) -> PackedA {
    if a.col == 1 {
        let row = padded_row(depth);
        for i in 0..rows {
            // SAFETY: row i of `a` holds `depth` dense values.
            unsafe { a.start.add(i * a.row).copy_to_nonoverlapping(to.add(i * row), depth) };
        }
        return PackedA { a: Operand { start: to, row, col: 1 }, tile_stride: ROWS * row };
    }
    // Line after line of A, so that each is read once even where all of them fall on one cache set.
    for k in 0..depth {
        for first in (0..rows).step_by(ROWS) {
            let height = ROWS.min(rows - first);
            // SAFETY: reads rows first..first + height, all below `rows`; writes below (first + ROWS) * depth.
            unsafe {
                let (from, to) = (a.at(first, k).start, to.add(first * depth + k * ROWS));
                if a.row == 1 && height == ROWS {
                    from.copy_to_nonoverlapping(to, ROWS);
                } else {
                    for i in 0..height {
                        *to.add(i) = *from.add(i * a.row);
                    }
                }
            }
        }
    }
    PackedA { a: Operand { start: to, row: 1, col: ROWS }, tile_stride: ROWS * depth }
}

/// A block of A as the tiles read it.
#[derive(Clone, Copy)]
pub(super) struct PackedA {
    pub a: Operand,
    /// From one tile of ROWS rows to the next.
    pub tile_stride: usize,
}

impl PackedA {
    /// `a` where it lies.
    pub fn in_place(a: Operand, tile_rows: usize) -> PackedA {
        PackedA { a, tile_stride: tile_rows * a.row }
    }

    /// The tile number `index`.
    pub fn tile(self, index: usize) -> Operand {
        Operand { start: self.a.start.wrapping_add(index * self.tile_stride), ..self.a }
    }
}

/// From one copied row of A to the next: some values of padding keep the rows of a tile on different cache sets.
fn padded_row(depth: usize) -> usize {
    let row = depth.next_multiple_of(16) + 16;
    if row.is_multiple_of(SET_STRIDE) { row + 16 } else { row }
}

/// Values that [`pack_a`] writes at most.
pub(super) fn packed_a_len(tile_rows: usize, rows: usize, depth: usize) -> usize {
    rows.next_multiple_of(tile_rows) * padded_row(depth)
}

/// Whether `a` may be read where it lies: dense rows whose stride does not put the rows of a tile on one cache set.
pub(super) fn reads_in_place(a: Operand) -> bool {
    a.col == 1 && !a.row.is_multiple_of(SET_STRIDE)
}

/// 1 KiB: at multiples of it, a 32 KiB 8-way cache maps the rows of a tile to four sets or fewer.
const SET_STRIDE: usize = 256;

/// Calls a kernel's `tile::<M>` for the run-time number of rows.
macro_rules! for_rows {
    ($tile:ident, $function:ident, $($rows:literal)+) => {
        match $tile.rows {
            // SAFETY: the caller's promise, handed on.
            $($rows => unsafe { $function::<$rows>($tile) },)+
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}
pub(super) use for_rows;
