//! Plain loops for any CPU: the compiler makes vectors of them (NEON on aarch64, SSE2 on x86-64).

use super::kernel::{Kernel, Operand, PackedA, Tile, for_rows, pack_a, pack_any, pack_rows};

pub(super) struct Portable;

/// As many accumulators as the vector registers hold: 32 of them on aarch64, 16 on x86-64's baseline.
const COLS: usize = if cfg!(target_arch = "aarch64") { 16 } else { 8 };

impl Kernel for Portable {
    const ROWS: usize = 4;
    const COLS: usize = COLS;

    unsafe fn tile(tile: &Tile) {
        for_rows!(tile, multiply, 1 2 3 4)
    }

    unsafe fn pack_b(b: Operand, depth: usize, cols: usize, panel: *mut f32) {
        // SAFETY: the caller's promise, handed on.
        unsafe {
            if b.col == 1 {
                pack_rows::<COLS>(b, depth, cols, panel);
            } else {
                pack_any::<COLS>(b, depth, cols, panel);
            }
        }
    }

    unsafe fn pack_a(a: Operand, rows: usize, depth: usize, to: *mut f32) -> PackedA {
        // SAFETY: the caller's promise, handed on.
        unsafe { pack_a::<4>(a, rows, depth, to) }
    }
}

/// `a * b + c`, fused where that is one instruction (in software it would be a hundred times slower).
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
}

unsafe fn multiply<const ROWS: usize>(tile: &Tile) {
    let mut sums = [[0f32; COLS]; ROWS];
    for k in 0..tile.depth {
        // SAFETY: row k < depth of a panel of COLS columns.
        let b = unsafe { &*tile.panel.add(k * COLS).cast::<[f32; COLS]>() };
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: row i < ROWS, k < depth.
            let a = unsafe { *tile.a.at(i, k).start };
            for j in 0..COLS {
                sum[j] = multiply_add(a, b[j], sum[j]);
            }
        }
    }
    for (i, sum) in sums.iter().enumerate() {
        // SAFETY: row i < ROWS of the tile.
        unsafe { tile.store_row(sum, tile.c.add(i * tile.c_row)) };
    }
}
