//! What the AVX-512 kernels share: masks, a 16 x 16 transposition, and the tile around one multiply-add.

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

/// Writes `multiply::<ROWS>(tile)`: up to 12 x 32 sums, A by broadcast, B by two loads a step; `$step(sum, a, b)` adds the
/// products of a word. Lines of C are asked for at the start and of what comes next on the way.
macro_rules! multiply_512 {
    ($features:literal, $step:path) => {
        #[target_feature(enable = $features)]
        unsafe fn multiply<const ROWS: usize>(tile: &Tile) {
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            for i in 0..ROWS {
                prefetch(tile.c.wrapping_add(i * tile.c_row));
                prefetch(tile.c.wrapping_add(i * tile.c_row + 16));
            }
            let (mut a, mut b, mut ahead) = (tile.a.start, tile.panel, tile.ahead);
            let (row, step) = (tile.a.row, tile.a.col);
            // SAFETY: `a` walks ROWS x depth of the tile's A and `b` depth rows of 32 of its panel.
            unsafe {
                for _ in 0..tile.depth {
                    prefetch(ahead);
                    let (left, right) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16)));
                    for (i, sum) in sums.iter_mut().enumerate() {
                        let value = _mm512_set1_ps(*a.add(i * row));
                        sum[0] = $step(sum[0], value, left);
                        sum[1] = $step(sum[1], value, right);
                    }
                    a = a.wrapping_add(step);
                    b = b.add(32);
                    ahead = ahead.wrapping_add(4);
                }
            }
            for half in 0..2 {
                let (mask, offset) = (lanes(tile.cols.saturating_sub(16 * half)), 16 * half);
                for (i, sum) in sums.iter().enumerate() {
                    let c = tile.c.wrapping_add(i * tile.c_row + offset);
                    let mut value = sum[half];
                    // SAFETY: whole vectors only where all 32 columns are inside the tile, else the mask keeps every access
                    // there.
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
            }
        }
    };
}
pub(super) use multiply_512;
