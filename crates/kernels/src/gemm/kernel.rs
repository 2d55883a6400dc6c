//! What a micro-kernel must give.

use super::operand::{Operand, Source};

/// One tile of C: `rows x cols` sums over `depth`, then the bias and what was there.
pub(super) struct Tile {
    pub rows: usize,
    pub cols: usize,
    /// Words of k.
    pub depth: usize,
    /// rows x depth words.
    pub a: Operand,
    /// depth x COLS words, dense, zero beyond `cols`.
    pub panel: *const f32,
    /// Memory that later tiles read: `depth` places from here on, `ahead_step` words apart, are worth fetching. Only a hint,
    /// never read.
    pub ahead: *const f32,
    pub ahead_step: usize,
    pub c: *mut f32,
    pub c_row: usize,
    /// Null, or where kernels that store bf16 write instead of to `c`, in rows as far apart as those of `c`: nothing is added to then but
    /// the bias.
    pub narrow: *mut u16,
    /// Null, or `cols` values added to each row.
    pub bias: *const f32,
    /// Add to C instead of overwriting it.
    pub accumulate: bool,
}

impl Tile {
    /// Stores one row, one value at a time: bias, then what was there.
    ///
    /// # Safety
    /// `c` is valid for `cols` values; `values` holds as many.
    pub unsafe fn store_row(&self, values: &[f32], c: *mut f32) {
        for (j, value) in values.iter().enumerate().take(self.cols) {
            let mut value = *value;
            // SAFETY: j < cols.
            unsafe {
                if !self.bias.is_null() {
                    value += *self.bias.add(j);
                }
                if self.accumulate {
                    value += *c.add(j);
                }
                *c.add(j) = value;
            }
        }
    }
}

/// A micro-kernel. Every element is a chain of `depth` multiply-adds that starts from zero, in the order of k, whatever the
/// tile's shape: its bits do not tell where in C it lies. The packed forms belong to the kernel and are made of 32-bit words:
/// one f32 each, or PAIR bf16 that are neighbours along k (the last word filled up with zero).
pub(super) trait Kernel {
    /// Rows of a full tile.
    const ROWS: usize;
    /// Columns of a full tile and of a panel.
    const COLS: usize;
    /// Steps of k in a word: 1 or 2.
    const PAIR: usize;
    /// Whether `tile` itself can store bf16.
    const STORES_BF16: bool = false;

    /// # Safety
    /// The CPU has the kernel's features; `tile.rows` is 1..=ROWS and `tile.cols` 1..=COLS; the tile's pointers are valid
    /// for those extents, and nobody else uses its part of C meanwhile.
    unsafe fn tile(tile: &Tile);

    /// Packs `depth x cols` of `b` as a panel: word row k at `panel + k * COLS`, zero beyond `cols`.
    ///
    /// # Safety
    /// The CPU has the kernel's features; `b` is valid for `depth x cols` and `panel` for that many rows of COLS words.
    unsafe fn pack_b(b: Source, depth: usize, cols: usize, panel: *mut f32);

    /// Copies `rows x depth` of `a` as the tiles read it fast.
    ///
    /// # Safety
    /// The CPU has the kernel's features; `a` is valid for `rows x depth` and `to` for [`packed_a_len`] words.
    ///
    /// [`packed_a_len`]: super::pack::packed_a_len
    unsafe fn pack_a(a: Source, rows: usize, depth: usize, to: *mut f32) -> PackedA;

    /// `a` itself where tiles may read it as fast where it lies.
    fn in_place(a: Source) -> Option<Operand>;
}

/// A block of A as the tiles read it.
#[derive(Clone, Copy)]
pub(super) struct PackedA {
    pub a: Operand,
    /// From one tile of ROWS rows to the next.
    pub tile_stride: usize,
}

impl PackedA {
    /// `a` where it lies.
    pub fn in_place(a: Operand, tile_rows: usize) -> PackedA {
        PackedA { a, tile_stride: tile_rows * a.row }
    }

    /// The tile number `index`.
    pub fn tile(self, index: usize) -> Operand {
        Operand { start: self.a.start.wrapping_add(index * self.tile_stride), ..self.a }
    }
}

/// Calls a kernel's `tile::<M>` for the run-time number of rows.
macro_rules! for_rows {
    ($tile:ident, $function:ident, $($rows:literal)+) => {
        match $tile.rows {
            // SAFETY: the caller's promise, handed on.
            $($rows => unsafe { $function::<$rows>($tile) },)+
            rows => unreachable!("a tile of {rows} rows"),
        }
    };
}
pub(super) use for_rows;

/// Evaluates `$body` with the operand that a source holds, of either type.
macro_rules! for_operand {
    ($source:ident => $body:expr) => {
        match $source {
            Source::F32($source) => $body,
            Source::Bf16($source) => $body,
        }
    };
}
pub(super) use for_operand;

/// Asks for the cache line at `place`, which need not be memory at all.
#[inline(always)]
pub(super) fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, and every x86-64 CPU has it.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch never faults and changes no register or memory.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) place, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = place;
}
