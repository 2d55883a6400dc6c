//! AVX-512 with bf16 pairs: 12 x 32 tiles as in f32, each word two neighbours along k. f32 operands are rounded to nearest
//! even while they are packed.

use super::avx512_lanes::{REACH, each_row, kept_apart, lanes, lanes32, multiply_512, prefetch_row, store, store_narrowed, transpose};
use super::kernel::{Kernel, PackedA, Tile, for_operand, for_rows, prefetch};
use super::operand::{Operand, Source};
use super::pack::{AHEAD, padded_row, panel_stride};
use crate::half::f32_to_bf16;
use crate::stored::Value;
use std::arch::x86_64::*;

pub(super) struct Avx512Bf16;

const ROWS: usize = 12;
const COLS: usize = 32;

impl Kernel for Avx512Bf16 {
    const ROWS: usize = ROWS;
    const COLS: usize = COLS;
    const PAIR: usize = 2;
    const STORES_BF16: bool = true;

    unsafe fn tile(tile: &Tile) {
        for_rows!(tile, multiply, 1 2 3 4 5 6 7 8 9 10 11 12)
    }

    unsafe fn pack_b(b: Source, depth: usize, cols: usize, panel: *mut f32) {
        // SAFETY: the caller's promise, handed on.
        unsafe { for_operand!(b => pack_panel(b, depth, cols, panel)) }
    }

    unsafe fn pack_a(a: Source, rows: usize, depth: usize, to: *mut f32) -> PackedA {
        // SAFETY: the caller's promise, handed on.
        unsafe { for_operand!(a => pack_block(a, rows, depth, to)) }
    }

    fn in_place(_: Source) -> Option<Operand> {
        None
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn multiply_add(sum: __m512, a: __m512, b: __m512) -> __m512 {
    // SAFETY: the same 512 bits.
    let (a, b) = unsafe { (std::mem::transmute::<__m512, __m512bh>(a), std::mem::transmute::<__m512, __m512bh>(b)) };
    _mm512_dpbf16_ps(sum, a, b)
}
/// The instruction takes subnormal values as zero; the sums that its sister made have none.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn narrowed_sums(low: __m512, high: __m512) -> __m512i {
    // SAFETY: the same 512 bits.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}
multiply_512!("avx512f,avx512bw,avx512bf16", multiply_add, narrowed_sums);

/// Elements that load as bf16.
trait Pairs: Value {
    /// The first `count` elements from `from` on as 32 bf16, zero beyond.
    ///
    /// # Safety
    /// AVX-512 F, BW and BF16; `count` elements are valid.
    unsafe fn load(from: *const Self, count: usize) -> __m512i;

    /// 16 pairs: the elements of two places that the masks name, zero in the other lanes.
    ///
    /// # Safety
    /// AVX-512 F, BW, VL and BF16; the elements of the masks are valid.
    unsafe fn load_pairs(from: [*const Self; 2], masks: [__mmask16; 2]) -> __m512i;

    fn bits(self) -> u16;
}

impl Pairs for f32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn load(from: *const f32, count: usize) -> __m512i {
        // SAFETY: the masks leave out what is beyond `count`.
        let (low, high) = unsafe {
            let low = _mm512_maskz_loadu_ps(lanes(count), from);
            (low, _mm512_maskz_loadu_ps(lanes(count.saturating_sub(16)), from.wrapping_add(16)))
        };
        // SAFETY: the same 512 bits.
        unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn load_pairs(from: [*const f32; 2], masks: [__mmask16; 2]) -> __m512i {
        // SAFETY: the caller's promise; the same 512 bits.
        let halves = unsafe {
            let (first, second) = (_mm512_maskz_loadu_ps(masks[0], from[0]), _mm512_maskz_loadu_ps(masks[1], from[1]));
            std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first))
        };
        _mm512_permutexvar_epi16(alternate(), halves)
    }

    #[inline(always)]
    fn bits(self) -> u16 {
        f32_to_bf16(self)
    }
}

impl Pairs for u16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn load(from: *const u16, count: usize) -> __m512i {
        // SAFETY: the mask leaves out what is beyond `count`.
        unsafe { _mm512_maskz_loadu_epi16(lanes32(count), from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn load_pairs(from: [*const u16; 2], masks: [__mmask16; 2]) -> __m512i {
        // SAFETY: the caller's promise.
        let [first, second] = [0, 1].map(|i| unsafe { _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(masks[i], from[i].cast())) });
        _mm512_or_si512(first, _mm512_slli_epi32::<16>(second))
    }

    #[inline(always)]
    fn bits(self) -> u16 {
        self
    }
}

/// The pairs (x[i], y[i]) of two vectors of 32 bf16: the first 16, and the last.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(x: __m512i, y: __m512i) -> [__m512i; 2] {
    // Within 128-bit lanes, then the lanes into their order.
    let (low, high) = (_mm512_unpacklo_epi16(x, y), _mm512_unpackhi_epi16(x, y));
    let first = _mm512_permutex2var_epi64(low, _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0), high);
    let last = _mm512_permutex2var_epi64(low, _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4), high);
    [first, last]
}

/// 0, 16, 1, 17, …: one of the first half, one of the second.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn alternate() -> __m512i {
    let order: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 16) as u16);
    // SAFETY: the same 512 bits.
    unsafe { std::mem::transmute(order) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_panel<T: Pairs>(b: Operand<T>, depth: usize, cols: usize, panel: *mut f32) {
    // SAFETY: the caller's promise, handed on.
    unsafe {
        if b.col == 1 {
            pack_rows(b, depth, cols, panel);
        } else if b.row == 1 {
            pack_columns(b, depth, cols, panel);
        } else {
            pack_any::<T, COLS>(b, depth, cols, panel);
        }
    }
}

/// Packs rows that lie dense in memory (NN and TN): two rows become one of pairs.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_rows<T: Pairs>(b: Operand<T>, depth: usize, cols: usize, panel: *mut f32) {
    for k in (0..depth).step_by(2) {
        // SAFETY: rows k and, unless it is the last, k + 1 hold `cols` values; the panel has row k / 2.
        unsafe {
            let from = b.start.add(k * b.row);
            let second = if k + 1 < depth { cols } else { 0 };
            prefetch(from.wrapping_add(AHEAD * b.row));
            prefetch(from.wrapping_add((AHEAD + 1) * b.row));
            let pairs = interleave(T::load(from, cols), T::load(from.wrapping_add(b.row), second));
            for (half, pairs) in pairs.into_iter().enumerate() {
                _mm512_storeu_si512(panel.add(k / 2 * COLS + 16 * half).cast(), pairs);
            }
        }
    }
}

/// Packs a matrix whose columns lie dense (NT): 16 columns of 32 steps are transposed as 16 x 16 words.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack_columns<T: Pairs>(b: Operand<T>, depth: usize, cols: usize, panel: *mut f32) {
    for k in (0..depth).step_by(32) {
        let height = (depth - k).min(32);
        for half in [0, 16] {
            let width = cols.saturating_sub(half).min(16);
            let mut block = [_mm512_setzero_ps(); 16];
            for (j, column) in block.iter_mut().enumerate().take(width) {
                let from = b.at(k, half + j).start;
                prefetch(from.wrapping_add(16 * AHEAD));
                prefetch(from.wrapping_add(16 * AHEAD + 16));
                // SAFETY: column half + j < cols, rows k..k + height < depth.
                *column = _mm512_castsi512_ps(unsafe { T::load(from, height) });
            }
            transpose(&mut block);
            for (i, row) in block.iter().enumerate().take(height.div_ceil(2)) {
                // SAFETY: panel row k / 2 + i is below half the depth, rounded up.
                unsafe { _mm512_storeu_ps(panel.add((k / 2 + i) * COLS + half), *row) };
            }
        }
    }
}

/// Packs a matrix of any strides as rows of `WIDTH` words, one pair at a time.
///
/// # Safety
/// `b` is valid for `depth x cols`, `to` for half the depth, rounded up, of rows of WIDTH words.
#[inline(always)]
unsafe fn pack_any<T: Pairs, const WIDTH: usize>(b: Operand<T>, depth: usize, cols: usize, to: *mut f32) {
    for k in (0..depth).step_by(2) {
        for j in 0..WIDTH {
            // SAFETY: only elements inside `depth x cols` are read.
            unsafe {
                let at = |k: usize| if k < depth && j < cols { u32::from((*b.at(k, j).start).bits()) } else { 0 };
                *to.add(k / 2 * WIDTH + j).cast::<u32>() = at(k) | at(k + 1) << 16;
            }
        }
    }
}

/// A for the tiles: dense rows stay rows, else panels [words][ROWS].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pack_block<T: Pairs>(a: Operand<T>, rows: usize, depth: usize, to: *mut f32) -> PackedA {
    let words = depth.div_ceil(2);
    if a.col == 1 {
        let row = padded_row(words);
        for i in 0..rows {
            for k in (0..depth).step_by(32) {
                // SAFETY: row i of `a` holds `depth` values; the padding of the copied row takes what a whole vector has more.
                unsafe {
                    let pairs = T::load(a.at(i, k).start, depth - k);
                    _mm512_storeu_si512(to.add(i * row + k / 2).cast(), pairs);
                }
            }
        }
        return PackedA { a: Operand { start: to, row, col: 1 }, tile_stride: ROWS * row };
    }
    let stride = panel_stride(ROWS, words);
    for first in (0..rows).step_by(ROWS).take_while(|_| a.row != 1) {
        let (height, to) = (ROWS.min(rows - first), to.wrapping_add(first / ROWS * stride));
        // SAFETY: rows first..first + height; the panel has `words` rows of ROWS words.
        unsafe { pack_any::<T, ROWS>(a.at(first, 0).t(), depth, height, to) };
    }
    if a.row == 1 {
        // SAFETY: the caller's promise, handed on.
        unsafe { pack_lines(a, rows, depth, to) };
    }
    PackedA { a: Operand { start: to, row: 1, col: ROWS }, tile_stride: stride }
}

/// Packs A whose columns lie dense (TN) as panels [words][12], two lines at a time. A store writes 16 words: the last four are
/// overwritten by the panel's next row, or lie in the padding behind it.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pack_lines<T: Pairs>(a: Operand<T>, rows: usize, depth: usize, to: *mut f32) {
    let stride = panel_stride(ROWS, depth.div_ceil(2));
    for k in (0..depth).step_by(2) {
        let (mut from, mut to, mut left) = (a.at(0, k).start, to.wrapping_add(k / 2 * ROWS), rows);
        while left > 0 {
            prefetch(from.wrapping_add(AHEAD * a.col));
            prefetch(from.wrapping_add((AHEAD + 1) * a.col));
            // SAFETY: `left` elements are valid in line k and, unless it is the last, k + 1; the store stays in the copy.
            unsafe {
                let second = if k + 1 < depth { lanes(left) } else { 0 };
                let pairs = T::load_pairs([from, from.wrapping_add(a.col)], [lanes(left), second]);
                _mm512_storeu_si512(to.cast(), pairs);
            }
            (from, to, left) = (from.wrapping_add(ROWS), to.wrapping_add(stride), left.saturating_sub(ROWS));
        }
    }
}
