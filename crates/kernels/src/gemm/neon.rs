//! NEON: 6 x 16 tiles, 24 accumulators in registers, A by broadcast, B by four loads a step.

use super::kernel::{Kernel, PackedA, Tile, for_operand, for_rows, prefetch};
use super::operand::{Operand, Source};
use super::pack::{pack_a, pack_any, pack_rows, readable_in_place};
use crate::stored::Value;
use std::arch::aarch64::*;

/// `ROUND`: packing rounds f32 to what bf16 can hold.
pub(super) struct Neon<const ROUND: bool>;

const COLS: usize = 16;

impl<const ROUND: bool> Kernel for Neon<ROUND> {
    const ROWS: usize = 6;
    const COLS: usize = COLS;
    const PAIR: usize = 1;

    unsafe fn tile(tile: &Tile) {
        for_rows!(tile, multiply, 1 2 3 4 5 6)
    }

    unsafe fn pack_b(b: Source, depth: usize, cols: usize, panel: *mut f32) {
        // SAFETY: the caller's promise, handed on.
        unsafe { for_operand!(b => pack_panel::<_, ROUND>(b, depth, cols, panel)) }
    }

    unsafe fn pack_a(a: Source, rows: usize, depth: usize, to: *mut f32) -> PackedA {
        // SAFETY: the caller's promise, handed on.
        unsafe { for_operand!(a => pack_a::<_, 6, ROUND>(a, rows, depth, to)) }
    }

    fn in_place(a: Source) -> Option<Operand> {
        readable_in_place::<ROUND>(a)
    }
}

unsafe fn pack_panel<T: Lanes, const ROUND: bool>(b: Operand<T>, depth: usize, cols: usize, panel: *mut f32) {
    // SAFETY: the caller's promise, handed on.
    unsafe {
        if b.col == 1 {
            pack_rows::<T, COLS, ROUND>(b, depth, cols, panel);
        } else if b.row == 1 && cols == COLS {
            pack_columns::<T, ROUND>(b, depth, panel);
        } else {
            pack_any::<T, COLS, ROUND>(b, depth, cols, panel);
        }
    }
}

#[target_feature(enable = "neon")]
unsafe fn multiply<const ROWS: usize>(tile: &Tile) {
    let mut sums = [[vdupq_n_f32(0.0); 4]; ROWS];
    for i in 0..ROWS {
        prefetch(tile.c.wrapping_add(i * tile.c_row));
    }
    let (mut a, mut b, mut ahead) = (tile.a.start, tile.panel, tile.ahead);
    let (row, step) = (tile.a.row, tile.a.col);
    // SAFETY: `a` walks ROWS x depth of the tile's A and `b` depth rows of 16 of its panel.
    unsafe {
        for k in 0..tile.depth {
            if k % 4 == 0 {
                prefetch(ahead);
                ahead = ahead.wrapping_add(4 * tile.ahead_step);
            }
            let columns = [vld1q_f32(b), vld1q_f32(b.add(4)), vld1q_f32(b.add(8)), vld1q_f32(b.add(12))];
            for (i, sum) in sums.iter_mut().enumerate() {
                let value = vld1q_dup_f32(a.add(i * row));
                for (sum, column) in sum.iter_mut().zip(columns) {
                    *sum = vfmaq_f32(*sum, value, column);
                }
            }
            a = a.wrapping_add(step);
            b = b.add(COLS);
        }
    }
    for (i, sum) in sums.iter().enumerate() {
        let c = tile.c.wrapping_add(i * tile.c_row);
        // SAFETY: whole vectors only where all 16 columns are inside the tile, else one value at a time below `cols`.
        unsafe {
            if tile.cols == COLS {
                for (part, sum) in sum.iter().enumerate() {
                    let (mut value, c) = (*sum, c.add(4 * part));
                    if !tile.bias.is_null() {
                        value = vaddq_f32(value, vld1q_f32(tile.bias.add(4 * part)));
                    }
                    if tile.accumulate {
                        value = vaddq_f32(value, vld1q_f32(c));
                    }
                    vst1q_f32(c, value);
                }
            } else {
                let mut values = [0f32; COLS];
                for (part, sum) in sum.iter().enumerate() {
                    vst1q_f32(values.as_mut_ptr().add(4 * part), *sum);
                }
                tile.store_row(&values, c);
            }
        }
    }
}

/// Elements that load into f32 lanes.
trait Lanes: Value {
    /// Four elements from `from` on.
    ///
    /// # Safety
    /// The elements are valid.
    unsafe fn load(from: *const Self) -> float32x4_t;
}

impl Lanes for f32 {
    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vld1q_f32(from) }
    }
}

impl Lanes for u16 {
    #[inline(always)]
    unsafe fn load(from: *const u16) -> float32x4_t {
        // SAFETY: the caller's promise; every aarch64 has NEON.
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from))) }
    }
}

/// What bf16 can hold, to nearest even; NaN becomes quiet.
#[target_feature(enable = "neon")]
fn round(x: float32x4_t) -> float32x4_t {
    let bits = vreinterpretq_u32_f32(x);
    let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
    let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    let number = vceqq_f32(x, x);
    let kept = vbslq_u32(number, rounded, vorrq_u32(bits, vdupq_n_u32(0x0040_0000)));
    vreinterpretq_f32_u32(vandq_u32(kept, vdupq_n_u32(0xffff_0000)))
}

/// Packs a full panel of a matrix whose columns lie dense (NT): 4 x 4 blocks are transposed in registers.
#[target_feature(enable = "neon")]
unsafe fn pack_columns<T: Lanes, const ROUND: bool>(b: Operand<T>, depth: usize, panel: *mut f32) {
    let whole = depth - depth % 4;
    for first in (0..COLS).step_by(4) {
        for k in (0..whole).step_by(4) {
            let mut block = [vdupq_n_f32(0.0); 4];
            for (j, column) in block.iter_mut().enumerate() {
                // SAFETY: column first + j < 16, rows k..k + 4 <= depth.
                let values = unsafe { T::load(b.at(k, first + j).start) };
                *column = if ROUND { round(values) } else { values };
            }
            for (i, row) in transposed(block).into_iter().enumerate() {
                // SAFETY: panel row k + i < depth.
                unsafe { vst1q_f32(panel.add((k + i) * COLS + first), row) };
            }
        }
    }
    // SAFETY: the rows that are left, of all 16 columns.
    unsafe { pack_any::<T, COLS, ROUND>(b.at(whole, 0), depth - whole, COLS, panel.add(whole * COLS)) };
}

/// Rows become columns: pairs, then pairs of pairs.
#[target_feature(enable = "neon")]
fn transposed([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    let wide = vreinterpretq_f64_f32;
    let (ab_even, ab_odd, cd_even, cd_odd) = (vtrn1q_f32(a, b), vtrn2q_f32(a, b), vtrn1q_f32(c, d), vtrn2q_f32(c, d));
    [
        vreinterpretq_f32_f64(vtrn1q_f64(wide(ab_even), wide(cd_even))),
        vreinterpretq_f32_f64(vtrn1q_f64(wide(ab_odd), wide(cd_odd))),
        vreinterpretq_f32_f64(vtrn2q_f64(wide(ab_even), wide(cd_even))),
        vreinterpretq_f32_f64(vtrn2q_f64(wide(ab_odd), wide(cd_odd))),
    ]
}
