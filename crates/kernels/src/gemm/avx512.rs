//! AVX-512: 12 x 32 tiles, 24 accumulators in registers, A by broadcast, B by two loads a step.

use super::kernel::{Kernel, Operand, PackedA, Tile, for_rows, pack_a, pack_any, pack_rows};
use std::arch::x86_64::*;

pub(super) struct Avx512;

impl Kernel for Avx512 {
    const ROWS: usize = 12;
    const COLS: usize = 32;

    unsafe fn tile(tile: &Tile) {
        for_rows!(tile, multiply, 1 2 3 4 5 6 7 8 9 10 11 12)
    }

    unsafe fn pack_b(b: Operand, depth: usize, cols: usize, panel: *mut f32) {
        // SAFETY: the caller's promise, handed on.
        unsafe {
            if b.col == 1 {
                pack_rows::<32>(b, depth, cols, panel);
            } else if b.row == 1 {
                pack_columns(b, depth, cols, panel);
            } else {
                pack_any::<32>(b, depth, cols, panel);
            }
        }
    }

    unsafe fn pack_a(a: Operand, rows: usize, depth: usize, to: *mut f32) -> PackedA {
        // SAFETY: the caller's promise, handed on.
        unsafe { pack_a::<12>(a, rows, depth, to) }
    }
}

/// The lowest `count` of 16 lanes, all of them from 16 on.
fn lanes(count: usize) -> __mmask16 {
    if count >= 16 { !0 } else { (1 << count) - 1 }
}

#[target_feature(enable = "avx512f")]
unsafe fn multiply<const ROWS: usize>(tile: &Tile) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    let (mut a, mut b) = (tile.a.start, tile.panel);
    let (row, step) = (tile.a.row, tile.a.col);
    // SAFETY: `a` walks ROWS x depth of the tile's A and `b` depth rows of 32 of its panel.
    unsafe {
        for _ in 0..tile.depth {
            let (left, right) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16)));
            for (i, sum) in sums.iter_mut().enumerate() {
                let value = _mm512_set1_ps(*a.add(i * row));
                sum[0] = _mm512_fmadd_ps(value, left, sum[0]);
                sum[1] = _mm512_fmadd_ps(value, right, sum[1]);
            }
            a = a.wrapping_add(step);
            b = b.add(32);
        }
    }
    let masks = [lanes(tile.cols), lanes(tile.cols.saturating_sub(16))];
    for half in 0..2 {
        let (mask, offset) = (masks[half], 16 * half);
        for (i, sum) in sums.iter().enumerate() {
            let c = tile.c.wrapping_add(i * tile.c_row + offset);
            let mut value = sum[half];
            // SAFETY: the mask keeps every access inside the tile's `cols` columns.
            unsafe {
                if !tile.bias.is_null() {
                    value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, tile.bias.wrapping_add(offset)));
                }
                if tile.accumulate {
                    value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, c));
                }
                _mm512_mask_storeu_ps(c, mask, value);
            }
        }
    }
}

/// Packs a matrix whose columns lie dense (NT): 16 x 16 blocks are transposed in registers.
#[target_feature(enable = "avx512f")]
unsafe fn pack_columns(b: Operand, depth: usize, cols: usize, panel: *mut f32) {
    for half in [0, 16] {
        let width = cols.saturating_sub(half).min(16);
        for k in (0..depth).step_by(16) {
            let height = (depth - k).min(16);
            let mut block = [_mm512_setzero_ps(); 16];
            for (j, column) in block.iter_mut().enumerate().take(width) {
                // SAFETY: column half + j < cols, rows k..k + height < depth.
                *column = unsafe { _mm512_maskz_loadu_ps(lanes(height), b.at(k, half + j).start) };
            }
            transpose(&mut block);
            for (i, row) in block.iter().enumerate().take(height) {
                // SAFETY: panel row k + i < depth.
                unsafe { _mm512_storeu_ps(panel.add((k + i) * 32 + half), *row) };
            }
        }
    }
}

/// Rows become columns: pairs, then quadruples within 128-bit lanes, then the lanes themselves.
#[target_feature(enable = "avx512f")]
fn transpose(block: &mut [__m512; 16]) {
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
