//! Σ x² of f32 and bf16 tensors, exactly: the same bits whatever the order, the chunks and the shards.
//!
//! A square is m² 2^(2e - 300) with m < 2^24 and e the exponent's bits, an integer in fixed point. The sum is kept as limbs of 32
//! bits, least first, each in an i64; limb j counts 2^(32 j - 300). Adding the limbs of up to 2^30 ranks, in any order, cannot
//! overflow. Two further places count NaN and infinity.

mod cpu;
#[cfg(test)]
mod tests;

use crate::disjoint::chunk_range;
use crate::gemm::Values;
use crate::pool;
use cpu::{BUCKETS, Buckets};
use std::sync::{Mutex, PoisonError};

/// Limbs of the fixed-point number: enough for 2^70 of the largest squares.
const NUMBER: usize = 20;
const NAN: usize = NUMBER;
const INFINITY: usize = NUMBER + 1;

/// Length of a sum.
pub const LIMBS: usize = NUMBER + 2;

/// The least bit counts 2^-300.
const LEAST: i32 = -300;

/// Elements in an item.
const ITEM: usize = 1 << 18;

/// The exact sum of the squares of all tensors.
pub fn sum_squares(tensors: &[Values]) -> [i64; LIMBS] {
    let mut items = 0;
    let mut starts = Vec::with_capacity(tensors.len());
    for x in tensors {
        starts.push(items);
        items += x.len().div_ceil(ITEM);
    }
    let total = Mutex::new(Buckets::default());
    pool::run(items, &|item| {
        let number = starts.partition_point(|start| *start <= item) - 1;
        let x = tensors[number];
        let mut own = Buckets::default();
        let range = chunk_range(x.len(), ITEM, item - starts[number]);
        match x {
            Values::F32(x) => own.add(&x[range]),
            Values::Bf16(x) => own.add(&x[range]),
        }
        total.lock().unwrap_or_else(PoisonError::into_inner).merge(&own);
    });
    limbs(&total.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Spreads the buckets, of which bucket j counts 2^(32 j - 300), over limbs below 2^32.
fn limbs(buckets: &Buckets) -> [i64; LIMBS] {
    let mut limbs = [0i64; LIMBS];
    let mut carry = 0u128;
    for (j, limb) in limbs[..NUMBER].iter_mut().enumerate() {
        carry += buckets.sums.get(j).copied().unwrap_or(0);
        *limb = (carry & 0xffff_ffff) as i64;
        carry >>= 32;
    }
    const { assert!(BUCKETS <= NUMBER) };
    limbs[NAN] = buckets.nan as i64;
    limbs[INFINITY] = buckets.infinity as i64;
    limbs
}

/// The sum as the nearest f64; NaN or infinity when one was among the elements.
pub fn resolve_sum(limbs: &[i64]) -> Result<f64, String> {
    if limbs.len() != LIMBS || limbs.iter().any(|&limb| limb < 0) {
        return Err(format!("resolveSum: {} numbers are no sum of squares. Pass a result of sumSquares.", limbs.len()));
    }
    if limbs[NAN] > 0 {
        return Ok(f64::NAN);
    }
    if limbs[INFINITY] > 0 {
        return Ok(f64::INFINITY);
    }
    let mut digits = [0u128; NUMBER + 2];
    let mut carry = 0u128;
    for (j, digit) in digits.iter_mut().enumerate() {
        carry += if j < NUMBER { limbs[j] as u128 } else { 0 };
        *digit = carry & 0xffff_ffff;
        carry >>= 32;
    }
    let top = digits.iter().rposition(|&digit| digit != 0).unwrap_or(0).max(2);
    // Three digits hold at least 65 bits; what lies below only decides a tie, by the last of them.
    let below = digits[..top - 2].iter().any(|&digit| digit != 0);
    let leading = digits[top] << 64 | digits[top - 1] << 32 | digits[top - 2] | u128::from(below);
    Ok(libm::ldexp(leading as f64, 32 * (top as i32 - 2) + LEAST))
}
