//! Packing for kernels whose words are f32: copies, widens bf16, or rounds f32 to what bf16 can hold.

use super::kernel::{PackedA, prefetch};
use super::operand::{Operand, Source, factor};
use crate::stored::Value;

/// Packs rows that lie dense in memory: NN and TN.
///
/// # Safety
/// `b.col == 1`; else as [`Kernel::pack_b`](super::kernel::Kernel::pack_b).
#[inline(always)]
pub(super) unsafe fn pack_rows<T: Value, const COLS: usize, const ROUND: bool>(b: Operand<T>, depth: usize, cols: usize, panel: *mut f32) {
    for k in 0..depth {
        // SAFETY: row k holds `cols` values from here, and the panel's row COLS >= cols.
        unsafe {
            let (from, to) = (b.start.add(k * b.row), panel.add(k * COLS));
            prefetch(from.wrapping_add(AHEAD * b.row));
            prefetch(from.wrapping_add(AHEAD * b.row + COLS / 2));
            if cols == COLS {
                let (from, to) = (&*from.cast::<[T; COLS]>(), &mut *to.cast::<[f32; COLS]>());
                *to = from.map(factor::<T, ROUND>);
            } else {
                for j in 0..COLS {
                    *to.add(j) = if j < cols { factor::<T, ROUND>(*from.add(j)) } else { 0.0 };
                }
            }
        }
    }
}

/// Packs a matrix of any strides, one value at a time.
///
/// # Safety
/// As [`Kernel::pack_b`](super::kernel::Kernel::pack_b).
#[inline(always)]
pub(super) unsafe fn pack_any<T: Value, const COLS: usize, const ROUND: bool>(b: Operand<T>, depth: usize, cols: usize, panel: *mut f32) {
    for k in 0..depth {
        for j in 0..COLS {
            // SAFETY: (k, j) is read inside `depth x cols` only; the panel holds `depth * COLS`.
            unsafe { *panel.add(k * COLS + j) = if j < cols { factor::<T, ROUND>(*b.at(k, j).start) } else { 0.0 } };
        }
    }
}

/// Copies `rows x depth` of `a` so that the tiles read it fast, and says where the tile of row `i` begins: rows stay rows
/// (padded, so that they do not all fall on one cache set); a matrix of dense columns becomes panels [depth][ROWS].
///
/// # Safety
/// `a` is valid for `rows x depth`; `to` for [`packed_a_len`] values.
#[inline(always)]
pub(super) unsafe fn pack_a<T: Value, const ROWS: usize, const ROUND: bool>(
    a: Operand<T>,
    rows: usize,
    depth: usize,
    to: *mut f32,
) -> PackedA {
    if a.col == 1 {
        let row = padded_row(depth);
        for i in 0..rows {
            // SAFETY: row i of `a` holds `depth` dense values, and the copy's row as many.
            unsafe {
                let (from, to) = (a.start.add(i * a.row), to.add(i * row));
                for k in (0..depth).step_by(16) {
                    prefetch(from.wrapping_add(2 * a.row + k));
                    if k + 16 <= depth {
                        let (from, to) = (&*from.add(k).cast::<[T; 16]>(), &mut *to.add(k).cast::<[f32; 16]>());
                        *to = from.map(factor::<T, ROUND>);
                    } else {
                        for k in k..depth {
                            *to.add(k) = factor::<T, ROUND>(*from.add(k));
                        }
                    }
                }
            }
        }
        return PackedA { a: Operand { start: to, row, col: 1 }, tile_stride: ROWS * row };
    }
    // Line after line of A, so that each is read once even where all of them fall on one cache set.
    let stride = panel_stride(ROWS, depth);
    for k in 0..depth {
        for (panel, first) in (0..rows).step_by(ROWS).enumerate() {
            let height = ROWS.min(rows - first);
            // SAFETY: reads rows first..first + height, all below `rows`; writes inside its panel.
            unsafe {
                let (from, to) = (a.at(first, k).start, to.add(panel * stride + k * ROWS));
                if a.row == 1 && height == ROWS {
                    prefetch(from.wrapping_add(AHEAD * a.col));
                    let (from, to) = (&*from.cast::<[T; ROWS]>(), &mut *to.cast::<[f32; ROWS]>());
                    *to = from.map(factor::<T, ROUND>);
                } else {
                    for i in 0..height {
                        *to.add(i) = factor::<T, ROUND>(*from.add(i * a.row));
                    }
                }
            }
        }
    }
    PackedA { a: Operand { start: to, row: 1, col: ROWS }, tile_stride: panel_stride(ROWS, depth) }
}

/// Lines of a strided matrix that packing asks for before it reads them.
pub(super) const AHEAD: usize = 8;

/// From one copied row of A to the next: some words of padding keep the rows of a tile on different cache sets.
pub(super) fn padded_row(depth: usize) -> usize {
    let row = depth.next_multiple_of(16) + 16;
    if row.is_multiple_of(SET_STRIDE) { row + 16 } else { row }
}

/// From one panel [depth][tile_rows] of A to the next: a line of padding keeps panels on different cache sets.
pub(super) fn panel_stride(tile_rows: usize, depth: usize) -> usize {
    tile_rows * depth + 16
}

/// Words that packing A writes at most, for rows of `depth` words.
pub(super) fn packed_a_len(tile_rows: usize, rows: usize, depth: usize) -> usize {
    rows.next_multiple_of(tile_rows) * padded_row(depth)
}

/// `a` where it may be read as it lies: f32 in dense rows whose stride does not put the rows of a tile on one cache set.
pub(super) fn readable_in_place<const ROUND: bool>(a: Source) -> Option<Operand> {
    match a {
        Source::F32(a) if !ROUND && a.col == 1 && !a.row.is_multiple_of(CROWDED_STRIDE) => Some(a),
        _ => None,
    }
}

/// 4 KiB: at multiples of it, all rows of a tile are on one set. At those of 1 KiB each set still has room for its three rows,
/// which a tile reads along at one pace.
const CROWDED_STRIDE: usize = 1024;

/// 1 KiB: at multiples of it, a 32 KiB 8-way cache maps the rows of a tile to four sets or fewer.
const SET_STRIDE: usize = 256;
