//! Plain loops for any CPU: the compiler makes vectors of them (SSE2 on x86-64).

use super::kernel::{Kernel, PackedA, Tile, for_operand, for_rows};
use super::operand::{Operand, Source};
use super::pack::{pack_a, pack_any, pack_rows, readable_in_place};
use crate::stored::Value;

/// `ROUND`: packing rounds f32 to what bf16 can hold.
pub(super) struct Portable<const ROUND: bool>;

/// Four rows of two vectors fill half of the 16 registers of x86-64's baseline.
const COLS: usize = 8;

impl<const ROUND: bool> Kernel for Portable<ROUND> {
    const ROWS: usize = 4;
    const COLS: usize = COLS;
    const PAIR: usize = 1;

    unsafe fn tile(tile: &Tile) {
        for_rows!(tile, multiply, 1 2 3 4)
    }

    unsafe fn pack_b(b: Source, depth: usize, cols: usize, panel: *mut f32) {
        // SAFETY: the caller's promise, handed on.
        unsafe { for_operand!(b => pack_panel::<_, ROUND>(b, depth, cols, panel)) }
    }

    unsafe fn pack_a(a: Source, rows: usize, depth: usize, to: *mut f32) -> PackedA {
        // SAFETY: the caller's promise, handed on.
        unsafe { for_operand!(a => pack_a::<_, 4, ROUND>(a, rows, depth, to)) }
    }

    fn in_place(a: Source) -> Option<Operand> {
        readable_in_place::<ROUND>(a)
    }
}

unsafe fn pack_panel<T: Value, const ROUND: bool>(b: Operand<T>, depth: usize, cols: usize, panel: *mut f32) {
    // SAFETY: the caller's promise, handed on.
    unsafe {
        if b.col == 1 {
            pack_rows::<T, COLS, ROUND>(b, depth, cols, panel);
        } else {
            pack_any::<T, COLS, ROUND>(b, depth, cols, panel);
        }
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
