//! Every unit of CUDA text, with its variants and its kernels.

use super::Parameter::*;
use super::geometry as launch;
use super::{Kernel, Unit, Variant};

macro_rules! variants {
    ($($name:literal: $width:literal $(head $head:literal)?, $($option:literal)+;)+) => {
        &[$(Variant { name: $name, options: &[$($option),+], width: $width, head: 0 $(+ $head)? }),+]
    };
}

macro_rules! kernels {
    ($($name:ident($($parameter:ident: $kind:ident),+) by $geometry:ident[$($extent:ident),*];)+) => {
        &[$(Kernel {
            name: stringify!($name),
            parameters: &[$((stringify!($parameter), $kind)),+],
            extents: &[$(stringify!($extent)),*],
            geometry: launch::$geometry,
        }),+]
    };
}

macro_rules! text {
    ($path:literal) => {
        include_str!(concat!("../", $path))
    };
}

/// Elements as bits, by their size.
const BITS: &[Variant] = variants! {
    "1-byte": 16, "-DDTYPE=6";
    "2-byte": 8, "-DDTYPE=7";
    "4-byte": 4, "-DDTYPE=4";
    "8-byte": 2, "-DDTYPE=5";
};

const FLOATS: &[Variant] = variants! {
    "f32": 4, "-DDTYPE=0";
    "bf16": 8, "-DDTYPE=1";
    "f16": 8, "-DDTYPE=2";
};

const FLOATS_AND_F64: &[Variant] = variants! {
    "f32": 4, "-DDTYPE=0";
    "bf16": 8, "-DDTYPE=1";
    "f16": 8, "-DDTYPE=2";
    "f64": 2, "-DDTYPE=3";
};

const NUMBERS: &[Variant] = variants! {
    "f32": 4, "-DDTYPE=0";
    "bf16": 8, "-DDTYPE=1";
    "f16": 8, "-DDTYPE=2";
    "f64": 2, "-DDTYPE=3";
    "i32": 4, "-DDTYPE=4";
    "i64": 2, "-DDTYPE=5";
    "u8": 16, "-DDTYPE=6";
};

const SUMS: &[Variant] = variants! {
    "f32": 4, "-DDTYPE=0" "-DSUMS";
    "bf16": 8, "-DDTYPE=1" "-DSUMS";
    "f16": 8, "-DDTYPE=2" "-DSUMS";
    "f64": 2, "-DDTYPE=3" "-DSUMS";
    "i32": 4, "-DDTYPE=4" "-DSUMS";
    "i64": 2, "-DDTYPE=5" "-DSUMS";
    "u8": 16, "-DDTYPE=6" "-DSUMS";
};

/// The type of activations, then that of vectors (of the sum, for `axpy`).
const PAIRS: &[Variant] = variants! {
    "f32": 4, "-DDTYPE=0";
    "bf16": 8, "-DDTYPE=1";
    "f16": 8, "-DDTYPE=2";
    "bf16-f32": 8, "-DDTYPE=1" "-DWEIGHT_DTYPE=0";
    "f16-f32": 8, "-DDTYPE=2" "-DWEIGHT_DTYPE=0";
};

/// The element type, then the most channels of a head.
const HEADS: &[Variant] = variants! {
    "f32-64": 4 head 64, "-DDTYPE=0" "-DHEAD=64";
    "f32-128": 4 head 128, "-DDTYPE=0" "-DHEAD=128";
    "f32-256": 4 head 256, "-DDTYPE=0" "-DHEAD=256";
    "bf16-64": 8 head 64, "-DDTYPE=1" "-DHEAD=64";
    "bf16-128": 8 head 128, "-DDTYPE=1" "-DHEAD=128";
    "bf16-256": 8 head 256, "-DDTYPE=1" "-DHEAD=256";
    "f16-64": 8 head 64, "-DDTYPE=2" "-DHEAD=64";
    "f16-128": 8 head 128, "-DDTYPE=2" "-DHEAD=128";
    "f16-256": 8 head 256, "-DDTYPE=2" "-DHEAD=256";
};

const TENSOR_CORE_HEADS: &[Variant] = variants! {
    "bf16-64": 8 head 64, "-DDTYPE=1" "-DHEAD=64";
    "bf16-128": 8 head 128, "-DDTYPE=1" "-DHEAD=128";
    "f16-64": 8 head 64, "-DDTYPE=2" "-DHEAD=64";
    "f16-128": 8 head 128, "-DDTYPE=2" "-DHEAD=128";
};

macro_rules! units {
    ($($name:ident in $op:literal [$($text:literal)+] $variants:ident { $($kernels:tt)+ })+) => {
        &[$(Unit {
            name: stringify!($name),
            op: $op,
            texts: &[$(text!($text)),+],
            variants: $variants,
            kernels: kernels! { $($kernels)+ },
            min_arch: 80,
        }),+]
    };
}

/// All of them.
pub const UNITS: &[Unit] = units! {
    fill in "fill" ["fill/kernel.cu"] BITS {
        fill(length: U64, bits: U64, y: Out) by elements[length];
    }
    random in "random" ["random/kernel.cu"] FLOATS_AND_F64 {
        fill_random(length: U64, walk: Walk, kind: U32, a: F64, b: F64, key0: U32, key1: U32, y: Out) by elements[length];
    }
    cast in "cast" ["cast/kernel.cu"] NUMBERS {
        cast(length: U64, target: U32, x: In, y: Out) by elements[length];
    }
    unary in "unary" ["unary/kernel.cu"] FLOATS {
        unary(length: U64, code: U32, x: In, y: Out) by elements[length];
        unary_backward(length: U64, code: U32, saved: In, grad: In, out: Out) by elements[length];
    }
    binary in "binary" ["binary/kernel.cu"] NUMBERS {
        binary(length: U64, code: U32, walk: Walk, a: In, b: In, c: Out) by elements[length];
        binary_scalar(length: U64, code: U32, scalar: Wide, a: In, c: Out) by elements[length];
    }
    compare in "compare" ["compare/kernel.cu"] NUMBERS {
        compare(length: U64, code: U32, walk: Walk, a: In, b: In, c: Out) by elements[length];
    }
    select in "select" ["select/kernel.cu"] BITS {
        select(length: U64, walk: Walk, cond: In, a: In, b: In, y: Out) by elements[length];
    }
    strided in "strided" ["strided/kernel.cu"] BITS {
        gather_view(length: U64, walk: Walk, x: In, y: Out) by elements[length];
        scatter_set(kept_length: U64, repeats_length: U64, kept: Walk, repeats: Walk, src: In, dst: Out) by threads[kept_length];
    }
    strided_sums in "strided" ["strided/kernel.cu"] SUMS {
        scatter_add(kept_length: U64, repeats_length: U64, kept: Walk, repeats: Walk, src: In, dst: Out) by threads[kept_length];
    }
    gather in "gather" ["gather/kernel.cu"] BITS {
        gather_check(length: U64, dim_x: U64, index: In, bad: Out) by threads[length];
        gather(length: U64, dim_x: U64, dim_index: U64, inner: U64, x: In, index: In, y: Out) by threads[length];
    }
    gather_sums in "gather" ["gather/kernel.cu"] SUMS {
        gather_add(length: U64, dim_x: U64, dim_index: U64, inner: U64, index: In, src: In, dst: Out) by threads[outer_times_inner];
    }
    reduce in "reduce" ["reduce/kernel.cu"] FLOATS_AND_F64 {
        reduce_rows(chunks: U64, chunk_length: U64, reduced_length: U64, code: U32, kept: Walk, reduced: Walk, x: In, partials: Out)
            by reduce_rows[results, reduced_length];
        reduce_columns(results: U64, chunks: U64, chunk_length: U64, reduced_length: U64, code: U32, kept: Walk, reduced: Walk, x: In,
            partials: Out) by reduce_columns[results, reduced_length];
        reduce_finish(results: U64, chunks: U64, code: U32, divisor: F64, partials: In, y: Out) by threads[results];
    }
    axpy in "axpy" ["axpy/kernel.cu"] PAIRS {
        axpy(length: U64, alpha: In, src: In, dst: Out) by elements[length];
        scale(length: U64, alpha: In, src: In, dst: Out) by elements[length];
    }
    bias_add in "bias_add" ["bias_add/kernel.cu"] PAIRS {
        bias_add(cols: U64, x: In, bias: In, residual: In, y: Out) by row_tiles[rows, cols];
    }
    dropout in "dropout" ["dropout/kernel.cu"] PAIRS {
        dropout(batch: U64, cols: U64, first_token: U32, threshold: U32, factor: F32, draw: In, x: In, bias: In, residual: In, y: Out)
            by row_tiles[rows, cols];
    }
    rotary in "rotary" ["rotary/kernel.cu"] FLOATS {
        rotary(pairs: U64, batch: U32, heads: U32, turned_heads: U32, head_dim: U32, rotated: U32, interleaved: U32, direction: F32,
            table: In, positions: In, x: In, y: Out) by threads[pairs];
    }
    bias_gelu in "bias_gelu" ["bias_gelu/kernel.cu"] PAIRS {
        bias_gelu(cols: U64, x: In, bias: In, y: Out) by row_tiles[rows, cols];
        bias_gelu_backward(rows: U64, cols: U64, rows_per_chunk: U64, x: In, bias: In, grad: In, dx: Out, partials: Out)
            by columns[rows, cols];
    }
    bias_gated in "bias_gated" ["bias_gated/kernel.cu"] PAIRS {
        bias_gated(cols: U64, gate: U32, x: In, bias: In, y: Out) by row_tiles[rows, cols];
        bias_gated_backward(rows: U64, cols: U64, rows_per_chunk: U64, gate: U32, x: In, bias: In, grad: In, dx: Out, partials: Out)
            by columns[rows, cols];
    }
    sum_rows in "sum_rows" ["sum_rows/kernel.cu"] FLOATS {
        sum_rows(rows: U64, cols: U64, rows_per_chunk: U64, x: In, partials: Out) by columns[rows, cols];
        sum_partials(cols: U64, chunks: U64, stride: U64, accumulate: U32, partials: In, sums: Out) by threads[cols];
    }
    norm in "norm" ["norm/kernel.cu"] PAIRS {
        norm_forward(cols: U64, kind: U32, eps: F32, x: In, bias: In, residual: In, w: In, b: In, sum: Out, y: Out, stats: Out)
            by rows[rows, cols];
        norm_backward(rows: U64, cols: U64, rows_per_block: U64, kind: U32, sums_in_shared: U32, grad: In, x: In, w: In, stats: In,
            carried: In, dx: Out, partials: Out) by norm_backward[rows, cols];
    }
    embedding in "embedding" ["embedding/kernel.cu"] FLOATS {
        embedding(cols: U64, start: U64, rows: U64, weight: In, index: In, y: Out, bad: Out) by row_tiles[tokens, cols];
        embedding_backward(tokens: U64, cols: U64, start: U64, rows: U64, index: In, grad: In, dst: Out) by row_tiles[tokens, cols];
        embedding_gradient(tokens: U64, cols: U64, start: U64, rows: U64, index: In, grad: In, dst: Out) by row_tiles[tokens, cols];
    }
    cross_entropy in "cross_entropy" ["cross_entropy/kernel.cu"] FLOATS {
        ce_row_max(cols: U64, held: U64, logits: In, max: Out) by rows[rows, cols];
        ce_exp_sum(rows: U64, cols: U64, held: U64, start: U64, uniform: F32, logits: In, max: In, targets: In, exp: Out, stats: Out)
            by rows[rows, cols];
        ce_sums(rows: U64, cols: U64, held: U64, start: U64, uniform: F32, logits: In, max: In, targets: In, stats: Out)
            by rows[rows, cols];
        ce_loss(rows: U64, hot: F32, uniform: F32, z: F32, is_ignoring: U32, ignored: U32, stats: In, max: In, targets: In, losses: Out)
            by threads[rows];
        ce_backward(cols: U64, held: U64, start: U64, hot: F32, uniform: F32, z: F32, is_ignoring: U32, ignored: U32, stats: In, max: In,
            targets: In, grad: In, exp: Out) by row_tiles[rows, cols];
    }
    adamw in "adamw" ["adamw/kernel.cu"] FLOATS {
        adamw(length: U64, hyper: In, g: In, p: Out, m: Out, v: Out, model: Out) by elements[length];
        adamw_numbers(groups: U32, sets: U32, max_norm: F64, limbs: In, choices: In, outcome: Out, hyper: Out) by one[];
    }
    non_finite in "non_finite" ["non_finite/kernel.cu"] FLOATS {
        non_finite(length: U64, x: In, count: Out) by elements[length];
    }
    sum_squares in "sum_squares" ["sum_squares/kernel.cu"] FLOATS {
        sum_squares(length: U64, x: In, limbs: Out) by sum_squares[length];
        sum_squares_carry(limbs: Out) by one[];
    }
    attention_plain in "attention" ["attention/shape.cuh" "attention/kernel.cu"] HEADS {
        attention_plain(shape: Shape, draw: In, query_segments: In, key_segments: In, bias: In, q: In, k: In, v: In, out: Out, lse: Out)
            by attention_plain[queries, batch, heads];
        attention_delta(shape: Shape, out: In, grad: In, delta: Out) by attention_delta[queries, batch, heads];
        attention_plain_backward_q(shape: Shape, draw: In, query_segments: In, key_segments: In, bias: In, q: In, k: In, v: In, grad: In,
            lse: In, delta: In, dq: Out) by attention_plain_backward[queries, batch, heads];
        attention_plain_backward_kv(shape: Shape, draw: In, query_segments: In, key_segments: In, bias: In, q: In, k: In, v: In, grad: In,
            lse: In, delta: In, dk: Out, dv: Out) by attention_plain_backward[keys, batch, key_heads];
        attention_plain_backward_bias(shape: Shape, draw: In, query_segments: In, key_segments: In, bias: In, q: In, k: In, v: In, grad: In,
            lse: In, delta: In, dbias: Out) by attention_plain_backward_bias[queries, heads];
    }
    attention in "attention" ["attention/shape.cuh" "attention/tensor_core.cu"] TENSOR_CORE_HEADS {
        attention(shape: Shape, draw: In, query_segments: In, key_segments: In, q: In, k: In, v: In, out: Out, lse: Out)
            by attention_tensor_core[queries, batch, heads];
        attention_backward_q(shape: Shape, draw: In, query_segments: In, key_segments: In, q: In, k: In, v: In, grad: In, lse: In,
            delta: In, dq: Out) by attention_tensor_core[queries, batch, heads];
        attention_backward_kv(shape: Shape, draw: In, query_segments: In, key_segments: In, q: In, k: In, v: In, grad: In, lse: In,
            delta: In, dk: Out, dv: Out) by attention_tensor_core[keys, batch, key_heads];
    }
};
