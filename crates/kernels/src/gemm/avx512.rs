//! AVX-512 in f32: 12 x 32 tiles, 24 accumulators in registers, A by broadcast, B by two loads a step.

use super::avx512_lanes::{REACH, each_row, kept_apart, lanes, multiply_512, narrowed, prefetch_row, store, store_narrowed, transpose};
use super::kernel::{Kernel, PackedA, Tile, for_operand, for_rows, prefetch};
use super::operand::{Operand, Source};
use super::pack::{AHEAD, pack_a, pack_any, pack_rows, panel_stride, readable_in_place};
use crate::stored::Value;
use std::arch::x86_64::*;

const ROWS: usize = 12;

/// `ROUND`: packing rounds f32 to what bf16 can hold.
pub(super) struct Avx512<const ROUND: bool>;

impl<const ROUND: bool> Kernel for Avx512<ROUND> {
    const ROWS: usize = ROWS;
    const COLS: usize = 32;
    const PAIR: usize = 1;
    const STORES_BF16: bool = true;

    unsafe fn tile(tile: &Tile) {
        for_rows!(tile, multiply, 1 2 3 4 5 6 7 8 9 10 11 12)
    }

    unsafe fn pack_b(b: Source, depth: usize, cols: usize, panel: *mut f32) {
        // SAFETY: the caller's promise, handed on.
        unsafe { for_operand!(b => pack_panel::<_, ROUND>(b, depth, cols, panel)) }
    }

    unsafe fn pack_a(a: Source, rows: usize, depth: usize, to: *mut f32) -> PackedA {
        // SAFETY: the caller's promise, handed on.
        unsafe { for_operand!(a => pack_block::<_, ROUND>(a, rows, depth, to)) }
    }

    fn in_place(a: Source) -> Option<Operand> {
        readable_in_place::<ROUND>(a)
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn multiply_add(sum: __m512, a: __m512, b: __m512) -> __m512 {
    _mm512_fmadd_ps(a, b, sum)
}
multiply_512!("avx512f,avx512bw", multiply_add, narrowed);

/// Elements that load into f32 lanes.
trait Lanes: Value {
    /// The elements of `mask` from `from` on, zero in the other lanes.
    ///
    /// # Safety
    /// AVX-512 F, BW and VL; the elements of `mask` are valid.
    unsafe fn load(from: *const Self, mask: __mmask16) -> __m512;
}

impl Lanes for f32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load(from: *const f32, mask: __mmask16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
}

impl Lanes for u16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load(from: *const u16, mask: __mmask16) -> __m512 {
        // SAFETY: the caller's promise.
        let bits = unsafe { _mm256_maskz_loadu_epi16(mask, from.cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
    }
}

/// What bf16 can hold, to nearest even; NaN becomes quiet.
#[inline]
#[target_feature(enable = "avx512f")]
fn round(x: __m512) -> __m512 {
    let bits = _mm512_castps_si512(x);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
    let kept = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x0040_0000));
    _mm512_castsi512_ps(_mm512_and_si512(kept, _mm512_set1_epi32(0xffff_0000_u32 as i32)))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_panel<T: Lanes, const ROUND: bool>(b: Operand<T>, depth: usize, cols: usize, panel: *mut f32) {
    // SAFETY: the caller's promise, handed on.
    unsafe {
        if b.col == 1 {
            pack_rows::<T, 32, ROUND>(b, depth, cols, panel);
        } else if b.row == 1 {
            pack_columns::<T, ROUND>(b, depth, cols, panel);
        } else {
            pack_any::<T, 32, ROUND>(b, depth, cols, panel);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_block<T: Lanes, const ROUND: bool>(a: Operand<T>, rows: usize, depth: usize, to: *mut f32) -> PackedA {
    // SAFETY: the caller's promise, handed on.
    unsafe {
        if a.row == 1 && a.col != 1 { pack_lines::<T, ROUND>(a, rows, depth, to) } else { pack_a::<T, ROWS, ROUND>(a, rows, depth, to) }
    }
}

/// Packs A whose columns lie dense (TN) as panels [depth][12], line after line. A store writes 16 words: the last four are
/// overwritten by the panel's next row, or lie in the padding behind it.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_lines<T: Lanes, const ROUND: bool>(a: Operand<T>, rows: usize, depth: usize, to: *mut f32) -> PackedA {
    let stride = panel_stride(ROWS, depth);
    for k in 0..depth {
        let (mut from, mut to, mut left) = (a.at(0, k).start, to.wrapping_add(k * ROWS), rows);
        while left > 0 {
            prefetch(from.wrapping_add(AHEAD * a.col));
            // SAFETY: `left` elements are valid; row k of the panel and what is behind it belong to the copy.
            unsafe {
                let values = T::load(from, lanes(left));
                _mm512_storeu_ps(to, if ROUND { round(values) } else { values });
            }
            (from, to, left) = (from.wrapping_add(ROWS), to.wrapping_add(stride), left.saturating_sub(ROWS));
        }
    }
    PackedA { a: Operand { start: to, row: 1, col: ROWS }, tile_stride: stride }
}

/// Packs a matrix whose columns lie dense (NT): 16 x 16 blocks are transposed in registers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_columns<T: Lanes, const ROUND: bool>(b: Operand<T>, depth: usize, cols: usize, panel: *mut f32) {
    for k in (0..depth).step_by(16) {
        let height = (depth - k).min(16);
        for half in [0, 16] {
            let width = cols.saturating_sub(half).min(16);
            let mut block = [_mm512_setzero_ps(); 16];
            for (j, column) in block.iter_mut().enumerate().take(width) {
                let from = b.at(k, half + j).start;
                prefetch(from.wrapping_add(16 * AHEAD));
                // SAFETY: column half + j < cols, rows k..k + height < depth.
                let values = unsafe { T::load(from, lanes(height)) };
                *column = if ROUND { round(values) } else { values };
            }
            transpose(&mut block);
            for (i, row) in block.iter().enumerate().take(height) {
                // SAFETY: panel row k + i < depth.
                unsafe { _mm512_storeu_ps(panel.add((k + i) * 32 + half), *row) };
            }
        }
    }
}
