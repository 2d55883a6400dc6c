//! AVX2 with FMA: 6 x 16 tiles, 12 accumulators in registers.

use super::kernel::{Kernel, PackedA, Tile, for_operand, for_rows};
use super::operand::{Operand, Source};
use super::pack::{pack_a, pack_any, pack_rows, readable_in_place};
use crate::stored::Value;
use std::arch::x86_64::*;

/// `ROUND`: packing rounds f32 to what bf16 can hold.
pub(super) struct Avx2<const ROUND: bool>;

impl<const ROUND: bool> Kernel for Avx2<ROUND> {
    const ROWS: usize = 6;
    const COLS: usize = 16;
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
        unsafe { for_operand!(a => copy_rows::<_, ROUND>(a, rows, depth, to)) }
    }

    fn in_place(a: Source) -> Option<Operand> {
        readable_in_place::<ROUND>(a)
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn copy_rows<T: Value, const ROUND: bool>(a: Operand<T>, rows: usize, depth: usize, to: *mut f32) -> PackedA {
    // SAFETY: the caller's promise, handed on.
    unsafe { pack_a::<T, 6, ROUND>(a, rows, depth, to) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn pack_panel<T: Lanes, const ROUND: bool>(b: Operand<T>, depth: usize, cols: usize, panel: *mut f32) {
    // SAFETY: the caller's promise, handed on.
    unsafe {
        if b.col == 1 {
            pack_rows::<T, 16, ROUND>(b, depth, cols, panel);
        } else if b.row == 1 && cols == 16 {
            pack_columns::<T, ROUND>(b, depth, panel);
        } else {
            pack_any::<T, 16, ROUND>(b, depth, cols, panel);
        }
    }
}

/// Elements that load into f32 lanes.
trait Lanes: Value {
    /// Eight elements from `from` on.
    ///
    /// # Safety
    /// AVX2; the elements are valid.
    unsafe fn load(from: *const Self) -> __m256;
}

impl Lanes for f32 {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }
}

impl Lanes for u16 {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn load(from: *const u16) -> __m256 {
        // SAFETY: the caller's promise.
        let bits = unsafe { _mm_loadu_si128(from.cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)))
    }
}

/// What bf16 can hold, to nearest even; NaN becomes quiet.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn round(x: __m256) -> __m256 {
    let bits = _mm256_castps_si256(x);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
    let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x);
    let kept = _mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), nan);
    _mm256_and_ps(kept, _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000_u32 as i32)))
}

#[target_feature(enable = "avx2,fma")]
unsafe fn multiply<const ROWS: usize>(tile: &Tile) {
    let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
    let (mut a, mut b) = (tile.a.start, tile.panel);
    let (row, step) = (tile.a.row, tile.a.col);
    // SAFETY: `a` walks ROWS x depth of the tile's A and `b` depth rows of 16 of its panel.
    unsafe {
        for _ in 0..tile.depth {
            let (left, right) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
            for (i, sum) in sums.iter_mut().enumerate() {
                let value = _mm256_set1_ps(*a.add(i * row));
                sum[0] = _mm256_fmadd_ps(value, left, sum[0]);
                sum[1] = _mm256_fmadd_ps(value, right, sum[1]);
            }
            a = a.wrapping_add(step);
            b = b.add(16);
        }
    }
    for (i, sum) in sums.iter().enumerate() {
        let c = tile.c.wrapping_add(i * tile.c_row);
        // SAFETY: whole vectors only where all 16 columns are inside the tile, else one value at a time below `cols`.
        unsafe {
            if tile.cols == 16 {
                for (half, sum) in sum.iter().enumerate() {
                    let (mut value, c) = (*sum, c.add(8 * half));
                    if !tile.bias.is_null() {
                        value = _mm256_add_ps(value, _mm256_loadu_ps(tile.bias.add(8 * half)));
                    }
                    if tile.accumulate {
                        value = _mm256_add_ps(value, _mm256_loadu_ps(c));
                    }
                    _mm256_storeu_ps(c, value);
                }
            } else {
                let mut values = [0f32; 16];
                _mm256_storeu_ps(values.as_mut_ptr(), sum[0]);
                _mm256_storeu_ps(values.as_mut_ptr().add(8), sum[1]);
                tile.store_row(&values, c);
            }
        }
    }
}

/// Packs a full panel of a matrix whose columns lie dense (NT): 8 x 8 blocks are transposed in registers.
#[target_feature(enable = "avx2,fma")]
unsafe fn pack_columns<T: Lanes, const ROUND: bool>(b: Operand<T>, depth: usize, panel: *mut f32) {
    let whole = depth - depth % 8;
    for half in [0, 8] {
        for k in (0..whole).step_by(8) {
            let mut block = [_mm256_setzero_ps(); 8];
            for (j, column) in block.iter_mut().enumerate() {
                // SAFETY: column half + j < 16, rows k..k + 8 <= depth.
                let values = unsafe { T::load(b.at(k, half + j).start) };
                *column = if ROUND { round(values) } else { values };
            }
            transpose(&mut block);
            for (i, row) in block.iter().enumerate() {
                // SAFETY: panel row k + i < depth.
                unsafe { _mm256_storeu_ps(panel.add((k + i) * 16 + half), *row) };
            }
        }
    }
    // SAFETY: the rows that are left, of all 16 columns.
    unsafe { pack_any::<T, 16, ROUND>(b.at(whole, 0), depth - whole, 16, panel.add(whole * 16)) };
}

/// Rows become columns: pairs, then quadruples within 128-bit lanes, then the lanes.
#[target_feature(enable = "avx2,fma")]
fn transpose(block: &mut [__m256; 8]) {
    let mut pairs = *block;
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(block[2 * i], block[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(block[2 * i], block[2 * i + 1]);
    }
    let mut quads = pairs;
    for i in 0..2 {
        for j in 0..2 {
            let (low, high) = (pairs[4 * i + j], pairs[4 * i + 2 + j]);
            quads[4 * i + 2 * j] = _mm256_shuffle_ps::<0x44>(low, high);
            quads[4 * i + 2 * j + 1] = _mm256_shuffle_ps::<0xee>(low, high);
        }
    }
    for i in 0..4 {
        block[i] = _mm256_permute2f128_ps::<0x20>(quads[i], quads[i + 4]);
        block[i + 4] = _mm256_permute2f128_ps::<0x31>(quads[i], quads[i + 4]);
    }
}
