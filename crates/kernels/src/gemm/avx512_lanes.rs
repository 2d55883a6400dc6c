//! What the AVX-512 kernels share: masks, a 16 x 16 transposition, and the tile around one multiply-add.

use super::kernel::{Tile, prefetch};
use std::arch::x86_64::*;

/// The lowest `count` of 16 lanes, all of them from 16 on.
#[inline(always)]
pub(super) fn lanes(count: usize) -> __mmask16 {
    if count >= 16 { !0 } else { (1 << count) - 1 }
}

/// The lowest `count` of 32 lanes, all of them from 32 on.
#[inline(always)]
pub(super) fn lanes32(count: usize) -> __mmask32 {
    if count >= 32 { !0 } else { (1 << count) - 1 }
}

/// Rows of 16 words become columns: pairs, then quadruples within 128-bit lanes, then the lanes themselves.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(block: &mut [__m512; 16]) {
    let zero = _mm512_setzero_ps();
    let mut pairs = [zero; 16];
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_ps(block[2 * i], block[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_ps(block[2 * i], block[2 * i + 1]);
    }
    let mut quads = [zero; 16];
    for i in 0..4 {
        for (j, half) in [0, 2].into_iter().enumerate() {
            let (low, high) = (_mm512_castps_pd(pairs[4 * i + j]), _mm512_castps_pd(pairs[4 * i + 2 + j]));
            quads[4 * i + half] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            quads[4 * i + half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
    let mut halves = [zero; 16];
    for i in 0..4 {
        for (j, first) in [(0, 0), (8, 8)] {
            halves[i + j] = _mm512_shuffle_f32x4::<0x88>(quads[first + i], quads[first + i + 4]);
            halves[i + j + 4] = _mm512_shuffle_f32x4::<0xdd>(quads[first + i], quads[first + i + 4]);
        }
    }
    for i in 0..4 {
        for j in [0, 4] {
            block[i + j] = _mm512_shuffle_f32x4::<0x88>(halves[i + j], halves[i + j + 8]);
            block[i + j + 8] = _mm512_shuffle_f32x4::<0xdd>(halves[i + j], halves[i + j + 8]);
        }
    }
}

/// Lines of C that one row of a tile lies on.
const LINES: usize = 2;
/// Rows of a tile that one pointer into A serves: beside itself, one and two strides on, which addresses reach without adding.
pub(super) const REACH: usize = 3;

/// Two vectors of f32 as one of bf16, to nearest even; NaN stays NaN and becomes quiet.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn narrowed(low: __m512, high: __m512) -> __m512i {
    let rounded = |x: __m512| {
        let bits = _mm512_castps_si512(x);
        let odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(1 << 16));
        let below = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
        let even = _mm512_mask_add_epi32(below, odd, bits, _mm512_set1_epi32(0x8000));
        _mm512_mask_or_epi32(even, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x), bits, _mm512_set1_epi32(0x0040_0000))
    };
    let upper_halves: [u16; 32] = std::array::from_fn(|i| 2 * i as u16 + 1);
    // SAFETY: the same 512 bits.
    let upper_halves = unsafe { std::mem::transmute::<[u16; 32], __m512i>(upper_halves) };
    _mm512_permutex2var_epi16(rounded(low), upper_halves, rounded(high))
}

/// The rows of a tile with its bias, if it has one, as bf16.
///
/// # Safety
/// AVX-512 F and BW; the tile's `narrow` and `bias` are valid for its extents.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn store_narrowed(tile: &Tile, rows: &[[f32; 32]]) {
    let masks = [lanes(tile.cols), lanes(tile.cols.saturating_sub(16))];
    // SAFETY: masks leave out what is beyond the tile's columns. Whole vectors are stored without one, because a masked store takes many
    // times as long on some CPUs.
    unsafe {
        let bias: [__m512; 2] = std::array::from_fn(|half| match tile.bias.is_null() {
            true => _mm512_setzero_ps(),
            false => _mm512_maskz_loadu_ps(masks[half], tile.bias.wrapping_add(16 * half)),
        });
        for (i, row) in rows.iter().enumerate() {
            let sums: [__m512; 2] = std::array::from_fn(|half| _mm512_loadu_ps(row.as_ptr().add(16 * half)));
            // Adding zero would make +0 of -0.
            let [low, high] = if tile.bias.is_null() { sums } else { [0, 1].map(|half| _mm512_add_ps(sums[half], bias[half])) };
            let (place, bits) = (tile.narrow.wrapping_add(i * tile.c_row), narrowed(low, high));
            if tile.cols == 32 {
                _mm512_storeu_si512(place.cast(), bits);
            } else {
                _mm512_mask_storeu_epi16(place.cast(), lanes32(tile.cols), bits);
            }
        }
    }
}

/// Asks for row `i` of the tile's C.
#[inline(always)]
pub(super) fn prefetch_row(tile: &Tile, i: usize) {
    if !tile.narrow.is_null() {
        return prefetch(tile.narrow.wrapping_add(i * tile.c_row));
    }
    for line in 0..LINES {
        prefetch(tile.c.wrapping_add(i * tile.c_row + 16 * line));
    }
}

/// The same pointers, of which the compiler no longer knows how they were made: left to itself it reaches the rows of a tile by
/// a chain of additions, one a row, which fill the window in which the CPU looks for loads to start early.
#[inline(always)]
pub(super) fn kept_apart<const N: usize>(mut pointers: [*const f32; N]) -> [*const f32; N] {
    for pointer in &mut pointers {
        // SAFETY: no instruction at all.
        unsafe { std::arch::asm!("/* {0} */", inout(reg) * pointer, options(pure, readonly, nostack, preserves_flags)) };
    }
    pointers
}

/// 16 sums of row `i` of the tile: bias, then what was there.
///
/// # Safety
/// AVX-512 F; the tile has this row.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn store(tile: &Tile, i: usize, half: usize, mut value: __m512) {
    let (mask, offset) = (lanes(tile.cols.saturating_sub(16 * half)), 16 * half);
    let c = tile.c.wrapping_add(i * tile.c_row + offset);
    // SAFETY: whole vectors only where all 32 columns are inside the tile, else the mask keeps every access there.
    unsafe {
        if !tile.bias.is_null() {
            value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, tile.bias.wrapping_add(offset)));
        }
        if tile.accumulate {
            value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, c));
        }
        if tile.cols == 32 {
            _mm512_storeu_ps(c, value);
        } else {
            _mm512_mask_storeu_ps(c, mask, value);
        }
    }
}

/// The body for each row number that is below `$rows`, as a constant: written as a loop over an array of sums it puts them into memory,
/// already while they grow.
macro_rules! each_row {
    ($rows:ident, $i:ident => $body:block) => {
        each_row!(@ $rows, $i, $body, 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $rows:ident, $i:ident, $body:block, $($at:literal)+) => {
        $(if $at < $rows {
            const $i: usize = $at;
            $body
        })+
    };
}
pub(super) use each_row;

/// Writes `multiply::<ROWS>(tile)`: up to 12 x 32 sums, A by broadcast, B by two loads a step; `$step(sum, a, b)` adds the
/// products of a word. Lines of C are asked for during the first steps, a row each, because all at once would hold up the
/// loads; and lines of what comes next on the way. `$narrowed_sums(low, high)` makes bf16 of two vectors of sums to
/// which nothing was added.
macro_rules! multiply_512 {
    ($features:literal, $step:path, $narrowed_sums:path) => {
        #[target_feature(enable = $features)]
        unsafe fn multiply<const ROWS: usize>(tile: &Tile) {
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            let (row, step) = (tile.a.row, tile.a.col);
            let mut a: [*const f32; 4] = std::array::from_fn(|i| tile.a.start.wrapping_add(i * REACH * row));
            let (mut b, mut ahead) = (tile.panel, tile.ahead);
            let first = tile.depth.min(ROWS);
            for (steps, leading) in [(first, true), (tile.depth - first, false)] {
                for k in 0..steps {
                    prefetch(ahead);
                    if leading {
                        prefetch_row(tile, k);
                    }
                    // SAFETY: `a` walks ROWS x depth of the tile's A and `b` depth rows of 32 of its panel.
                    unsafe {
                        let (left, right) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16)));
                        for (i, sum) in sums.iter_mut().enumerate() {
                            let value = _mm512_set1_ps(*a[i / REACH].wrapping_add(i % REACH * row));
                            sum[0] = $step(sum[0], value, left);
                            sum[1] = $step(sum[1], value, right);
                        }
                        b = b.add(32);
                    }
                    a = kept_apart(a.map(|a| a.wrapping_add(step)));
                    ahead = ahead.wrapping_add(tile.ahead_step);
                }
            }
            if !tile.narrow.is_null() {
                if tile.bias.is_null() && tile.cols == 32 {
                    each_row!(ROWS, I => {
                        let bits = $narrowed_sums(sums[I][0], sums[I][1]);
                        // SAFETY: row I of the tile has 32 columns.
                        unsafe { _mm512_storeu_si512(tile.narrow.wrapping_add(I * tile.c_row).cast(), bits) };
                    });
                    return;
                }
                let mut rows = [[0.0; 32]; ROWS];
                each_row!(ROWS, I => {
                    // SAFETY: a row has room for two vectors.
                    unsafe {
                        _mm512_storeu_ps(rows[I].as_mut_ptr(), sums[I][0]);
                        _mm512_storeu_ps(rows[I].as_mut_ptr().add(16), sums[I][1]);
                    }
                });
                // SAFETY: the caller's promise, handed on.
                return unsafe { store_narrowed(tile, &rows) };
            }
            each_row!(ROWS, I => {
                // SAFETY: the caller's promise, handed on.
                unsafe {
                    store(tile, I, 0, sums[I][0]);
                    store(tile, I, 1, sums[I][1]);
                }
            });
        }
    };
}
pub(super) use multiply_512;
