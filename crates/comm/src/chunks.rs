//! How operations divide bytes: into chunks that go one after the other, and a chunk into a stripe for each rank.

use std::ops::Range;

/// Bytes that stripes and blocks begin at multiples of.
pub const LINE: usize = 64;

/// Chunk `step` of `bytes`: where it begins and how long it is.
pub fn chunk_of(bytes: usize, chunk: usize, step: usize) -> Range<usize> {
    (step * chunk).min(bytes)..((step + 1) * chunk).min(bytes)
}

/// How many chunks of `chunk` bytes hold `bytes`; at least one, for ranks meet even about nothing.
pub fn chunks(bytes: usize, chunk: usize) -> usize {
    bytes.div_ceil(chunk).max(1)
}

/// Bytes of the longest stripe of a chunk of `length` bytes.
pub fn stripe_width(length: usize, size: usize) -> usize {
    length.div_ceil(size).next_multiple_of(LINE)
}

/// The part of a chunk of `length` bytes that is for `member` of `size`.
pub fn stripe(length: usize, member: usize, size: usize) -> Range<usize> {
    let width = stripe_width(length, size);
    (member * width).min(length)..((member + 1) * width).min(length)
}
