//! How many blocks of how many threads a kernel is launched with. Everything follows from extents alone, so that an element's bits
//! never depend on the machine.

use super::Variant;
use super::index::{THREADS, tiles};

/// A launch: a grid of no blocks is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    pub grid: u32,
    pub block: u32,
    /// Bytes of dynamic shared memory; above 48 KiB the kernel's limit has to be raised first.
    pub shared: u32,
}

/// Threads of a block that sums over rows.
pub const COLUMN_THREADS: u64 = 64;
/// The most dynamic shared memory that a launch asks for: less than any GPU from compute capability 8.0 on has.
const MOST_SHARED: u64 = 96 << 10;
/// Elements of a chunk of a reduction along rows, and along columns.
pub const ROW_CHUNK: u64 = 1 << 15;
pub const COLUMN_CHUNK: u64 = 512;
/// Slots of a thread of the sum of squares.
const SQUARE_SLOTS: u64 = 16;
/// Rows of a block of attention: of the plain kernels, and of those on tensor cores.
pub const PLAIN_ROWS: u64 = 8;
pub const TENSOR_CORE_ROWS: u64 = 64;

fn launch(blocks: Option<u64>, block: u64, shared: u64) -> Result<Launch, String> {
    match blocks.map(i32::try_from) {
        Some(Ok(grid)) => Ok(Launch { grid: grid as u32, block: block as u32, shared: shared as u32 }),
        _ => Err("launch: more than 2147483647 blocks are needed. Use smaller tensors.".to_owned()),
    }
}

/// `[length]`: a slot for each thread.
pub fn elements(extents: &[u64], variant: &Variant) -> Result<Launch, String> {
    launch(Some(extents[0].div_ceil(THREADS * variant.width)), THREADS, 0)
}

/// `[count]`: a thread for each.
pub fn threads(extents: &[u64], _: &Variant) -> Result<Launch, String> {
    launch(Some(extents[0].div_ceil(THREADS)), THREADS, 0)
}

/// `[]`: one warp.
pub fn one(_: &[u64], _: &Variant) -> Result<Launch, String> {
    launch(Some(1), 32, 0)
}

/// Threads for the slots of a row, `slots` to a thread where that is possible.
fn threads_of_row(cols: u64, width: u64, slots: u64, most: u64) -> u64 {
    cols.div_ceil(width * slots).next_power_of_two().clamp(32, most)
}

/// `[rows, cols]`: a block for each row.
pub fn rows(extents: &[u64], variant: &Variant) -> Result<Launch, String> {
    launch(Some(if extents[1] == 0 { 0 } else { extents[0] }), threads_of_row(extents[1], variant.width, 4, 1024), 0)
}

/// `[rows, cols]`: a slot of one row for each thread.
pub fn row_tiles(extents: &[u64], variant: &Variant) -> Result<Launch, String> {
    let threads = threads_of_row(extents[1], variant.width, 1, THREADS);
    launch(extents[0].checked_mul(tiles(extents[1], threads, variant.width)), threads, 0)
}

/// Rows of a chunk of a sum over rows: that of the CPU.
pub fn rows_per_chunk(rows: u64) -> u64 {
    rows.div_ceil(64).max(32)
}

/// `[rows, cols]`: a slot of columns over a chunk of rows for each thread.
pub fn columns(extents: &[u64], variant: &Variant) -> Result<Launch, String> {
    let chunks = extents[0].div_ceil(rows_per_chunk(extents[0]));
    launch(chunks.checked_mul(tiles(extents[1], COLUMN_THREADS, variant.width)), COLUMN_THREADS, 0)
}

/// Rows of a block of a norm's backward.
pub fn rows_per_block(rows: u64) -> u64 {
    rows.div_ceil(256).max(1)
}

/// Bytes of shared memory in which the sums of a norm's backward grow; 0 when they are too many.
pub fn shared_for_sums(cols: u64) -> u64 {
    let bytes = 12 * cols.next_multiple_of(4);
    if bytes <= MOST_SHARED { bytes } else { 0 }
}

/// `[rows, cols]`: some rows for each block.
pub fn norm_backward(extents: &[u64], variant: &Variant) -> Result<Launch, String> {
    let blocks = if extents[1] == 0 { 0 } else { extents[0].div_ceil(rows_per_block(extents[0])) };
    launch(Some(blocks), threads_of_row(extents[1], variant.width, 4, 1024), shared_for_sums(extents[1]))
}

/// `[results, reduced]`: a chunk of one result's elements for each block.
pub fn reduce_rows(extents: &[u64], _: &Variant) -> Result<Launch, String> {
    launch(extents[0].checked_mul(extents[1].div_ceil(ROW_CHUNK)), THREADS, 0)
}

/// `[results, reduced]`: a chunk of one result's elements for each thread.
pub fn reduce_columns(extents: &[u64], _: &Variant) -> Result<Launch, String> {
    launch(extents[0].checked_mul(extents[1].div_ceil(COLUMN_CHUNK)).map(|count| count.div_ceil(THREADS)), THREADS, 0)
}

/// `[length]`: several slots for each thread.
pub fn sum_squares(extents: &[u64], variant: &Variant) -> Result<Launch, String> {
    launch(Some(extents[0].div_ceil(SQUARE_SLOTS * THREADS * variant.width)), THREADS, 0)
}

fn attention(extents: &[u64], tile: u64, block: u64, shared: u64) -> Result<Launch, String> {
    let heads = extents[1].checked_mul(extents[2]);
    launch(heads.and_then(|heads| heads.checked_mul(extents[0].div_ceil(tile))), block, shared)
}

/// Two tiles of 32 rows, and `own` rows for each warp, in f32.
fn plain_shared(head: u64, own: u64) -> u64 {
    4 * (2 * 32 * (head + 1) + own * PLAIN_ROWS * head)
}

/// `[queries, batch, heads]`: a warp for each query.
pub fn attention_plain(extents: &[u64], variant: &Variant) -> Result<Launch, String> {
    attention(extents, PLAIN_ROWS, THREADS, plain_shared(variant.head, 1))
}

/// `[rows, batch, heads]`: the same with two rows of its own; for dK and dV rows and heads are those of keys.
pub fn attention_plain_backward(extents: &[u64], variant: &Variant) -> Result<Launch, String> {
    attention(extents, PLAIN_ROWS, THREADS, plain_shared(variant.head, 2))
}

/// `[queries, heads]`: the same for all samples at once.
pub fn attention_plain_backward_bias(extents: &[u64], variant: &Variant) -> Result<Launch, String> {
    attention_plain_backward(&[extents[0], 1, extents[1]], variant)
}

/// `[queries, batch, heads]`: a warp for each row, in one line.
pub fn attention_delta(extents: &[u64], _: &Variant) -> Result<Launch, String> {
    let count = extents.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
    launch(count.map(|rows| rows.div_ceil(PLAIN_ROWS)), THREADS, 0)
}

/// `[rows, batch, heads]`: 16 rows for each of four warps; for dK and dV rows and heads are those of keys.
pub fn attention_tensor_core(extents: &[u64], _: &Variant) -> Result<Launch, String> {
    attention(extents, TENSOR_CORE_ROWS, 128, 0)
}
