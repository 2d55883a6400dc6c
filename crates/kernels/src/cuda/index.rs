//! Which elements a thread has: the arithmetic of `prelude.cuh` in Rust, where it is tested. Where the text changes, this does.

use std::ops::Range;

/// Threads of a block of element-wise kernels.
pub const THREADS: u64 = 256;

/// The elements of slot `slot` among `length`, `width` to a slot.
pub fn slot(slot: u64, length: u64, width: u64) -> Range<u64> {
    let first = (slot * width).min(length);
    first..first + (length - first).min(width)
}

/// Element-wise: the elements of a thread.
pub fn elements(block: u64, thread: u64, length: u64, width: u64) -> Range<u64> {
    slot(block * THREADS + thread, length, width)
}

/// Tiles of columns that cover a row where a block has `threads` slots.
pub fn tiles(cols: u64, threads: u64, width: u64) -> u64 {
    cols.div_ceil(threads * width)
}

/// The row and the columns of a thread where each row is cut into tiles.
pub fn in_row(block: u64, thread: u64, threads: u64, cols: u64, width: u64) -> (u64, Range<u64>) {
    let tiles = tiles(cols, threads, width);
    (block / tiles, slot(block % tiles * threads + thread, cols, width))
}

/// The rows and the columns of a thread of a sum over rows.
pub fn columns(block: u64, thread: u64, threads: u64, [rows, cols]: [u64; 2], chunk: u64, width: u64) -> (Range<u64>, Range<u64>) {
    let tiles = tiles(cols, threads, width);
    let first = block / tiles * chunk;
    (first..first + (rows - first).min(chunk), slot(block % tiles * threads + thread, cols, width))
}

/// The first rows, the sample and the head of a block of attention, whose last tiles come first.
pub fn attention_item(block: u64, [seq, batch, heads]: [u64; 3], tile: u64) -> (Range<u64>, u64, u64) {
    let number = block % (heads * batch);
    let first = (seq.div_ceil(tile) - 1 - block / (heads * batch)) * tile;
    (first..(first + tile).min(seq), number / heads, number % heads)
}
