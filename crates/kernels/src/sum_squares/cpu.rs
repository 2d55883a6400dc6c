//! Squares added in f64 without rounding: the running total of a few elements holds the upper digits, and what an addition to it
//! cuts off is itself a number that is added up beside it. Elements far smaller than their neighbours are squared as integers.

use crate::simd::{madd_f64, multiversion};
use crate::stored::Value;

/// What the blocks of an element type are looked at and added up with.
pub trait Squared: Value {
    /// Binary places below the largest element within which the upper totals alone are exact; negative where they never are.
    const ALONE: i32;
    /// The least magnitude that is not 0 as the bits of an f32, all ones when there is none, and the largest.
    fn magnitudes(x: &[Self; BLOCK]) -> [u32; 2];
}

impl Squared for f32 {
    const ALONE: i32 = -1;
    fn magnitudes(x: &[f32; BLOCK]) -> [u32; 2] {
        magnitudes_of_f32(x)
    }
}

/// A square has 16 bits: it ends 14 binary places below its element's exponent doubled, and is a whole number of upper units down to
/// this far below the largest element.
impl Squared for u16 {
    const ALONE: i32 = (-UPPER - 14) / 2;
    fn magnitudes(x: &[u16; BLOCK]) -> [u32; 2] {
        let [least, largest] = magnitudes_of_bf16(x);
        [if least == u16::MAX { u32::MAX } else { u32::from(least) << 16 }, u32::from(largest) << 16]
    }
}

/// Partial sums of 128 bits, of which bucket j counts 2^(32 j - 300).
pub const BUCKETS: usize = 17;

/// Elements that are scaled by the largest of them, as rows: the squares of a column are added up in one pair of totals.
const BLOCK: usize = ROWS * COLUMNS;
const ROWS: usize = 8;
const COLUMNS: usize = 512;

/// The upper total of a column counts 2^(2 E - 47), E being the exponent of the block's largest element, and begins at 2^52 of them:
/// 8 squares below 2^(2 E + 2) do not double it.
const UPPER: i32 = -47;
/// The lower total counts 2^(2 E - 96) and begins at 3/2 2^52 of them: 8 halves of the upper unit are 2^51 of them.
const LOWER: i32 = -96;
/// A square ends 46 binary places below its element's exponent doubled: this far below E it is a whole number of lower units.
const SPAN: i32 = (-LOWER - 46) / 2;

/// The least E: all units are then at least that of the first bucket.
const LEAST: i32 = -100;

/// The bits of an infinite f32, and of its sign.
const INFINITE: u32 = 0x7f80_0000;
const SIGN: u32 = 1 << 31;

/// Exact partial sums; a bucket overflows after 2^32 blocks.
#[derive(Default)]
pub struct Buckets {
    pub sums: [u128; BUCKETS],
    pub nan: u64,
    pub infinity: u64,
}

impl Buckets {
    pub fn add<T: Squared>(&mut self, x: &[T]) {
        let (blocks, rest) = x.as_chunks();
        blocks.iter().for_each(|block| self.add_block(block));
        if !rest.is_empty() {
            self.add_block(&padded(rest.iter().copied()));
        }
    }

    fn add_block<T: Squared>(&mut self, x: &[T; BLOCK]) {
        let [least, largest] = T::magnitudes(x);
        let exponent = exponent_of(largest).max(LEAST);
        if largest < INFINITE && exponent_of(least) >= exponent.saturating_sub(T::ALONE) && T::ALONE >= 0 {
            return self.add_totals([upper_totals::<T>(x, exponent), 0], exponent);
        }
        if largest < INFINITE && exponent_of(least) >= exponent - SPAN {
            return self.add_near(x, exponent);
        }
        let is_near = |x: &T| (exponent - SPAN..=127).contains(&exponent_of(magnitude(x.widen())));
        x.iter().filter(|x| !is_near(x)).for_each(|x| self.add_one(x.widen()));
        if largest < INFINITE {
            self.add_near(&padded(x.iter().copied().filter(is_near)), exponent);
        }
    }

    /// Adds the squares of elements between `exponent - SPAN` and `exponent`, and of zeros.
    fn add_near<T: Squared>(&mut self, x: &[T; BLOCK], exponent: i32) {
        self.add_totals(totals::<T>(x, exponent), exponent);
    }

    fn add_totals(&mut self, [upper, lower]: [i64; 2], exponent: i32) {
        let total = (i128::from(upper) << (UPPER - LOWER)) + i128::from(lower);
        self.add_at((2 * exponent + LOWER + 300) as usize, total as u128);
    }

    fn add_one(&mut self, x: f32) {
        let bits = x.to_bits();
        let exponent = bits >> 23 & 0xff;
        let mantissa = u128::from(bits & 0x007f_ffff | u32::from(exponent != 0) << 23);
        match exponent {
            0xff if x.is_nan() => self.nan += 1,
            0xff => self.infinity += 1,
            // Subnormals have the weight of exponent 1.
            _ => self.add_at(2 * exponent.max(1) as usize, mantissa * mantissa),
        }
    }

    /// Adds `value` 2^(place - 300); no value has more than 111 bits.
    fn add_at(&mut self, place: usize, value: u128) {
        let (bucket, shift) = (place / 32, place % 32);
        self.sums[bucket] += (value & u128::from(u64::MAX)) << shift;
        if value >> 64 != 0 {
            self.sums[bucket + 2] += value >> 64 << shift;
        }
    }

    pub fn merge(&mut self, other: &Buckets) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| *sum += other);
        self.nan += other.nan;
        self.infinity += other.infinity;
    }
}

/// A block of these elements, and of zeros.
fn padded<T: Value>(x: impl Iterator<Item = T>) -> [T; BLOCK] {
    let mut block = [T::narrow(0.0); BLOCK];
    block.iter_mut().zip(x).for_each(|(place, x)| *place = x);
    block
}

/// The bits of an f32 without the sign.
#[inline(always)]
fn magnitude(x: f32) -> u32 {
    x.to_bits() & !SIGN
}

/// The exponent of a magnitude: one below the least for subnormals, one above the largest for infinity and NaN.
fn exponent_of(magnitude: u32) -> i32 {
    (magnitude >> 23) as i32 - 127
}

/// 2^n for the exponents of normal numbers.
fn power_of_two(n: i32) -> f64 {
    f64::from_bits(((n + 1023) as u64) << 52)
}

multiversion! {
    /// The least magnitude that is not 0, all ones when there is none, and the largest.
    fn magnitudes_of_f32(x: &[f32; BLOCK]) -> [u32; 2] {
        let (mut least, mut largest) = (u32::MAX, 0);
        for x in x {
            let magnitude = magnitude(*x);
            least = least.min(magnitude.wrapping_sub(1));
            largest = largest.max(magnitude);
        }
        [least.saturating_add(1), largest]
    }
}

multiversion! {
    /// The same as bits of a bf16.
    fn magnitudes_of_bf16(x: &[u16; BLOCK]) -> [u16; 2] {
        let (mut least, mut largest) = (u16::MAX, 0);
        for x in x {
            let magnitude = *x & 0x7fff;
            least = least.min(magnitude.wrapping_sub(1));
            largest = largest.max(magnitude);
        }
        [least.saturating_add(1), largest]
    }
}

multiversion! {
    /// The upper totals of all columns where they are exact alone, in units of 2^(2 exponent + UPPER).
    fn upper_totals<T: Value>(x: &[T; BLOCK], exponent: i32) -> i64 {
        let start = power_of_two(2 * exponent + UPPER + 52);
        let mut count = 0;
        for column in 0..COLUMNS {
            let mut total = start;
            for row in 0..ROWS {
                let x = f64::from(x[row * COLUMNS + column].widen());
                total = madd_f64::<FMA>(x, x, total);
            }
            count += total.to_bits().wrapping_sub(start.to_bits()) as i64;
        }
        count
    }
}

multiversion! {
    /// The upper and the lower totals of all columns, in units of 2^(2 exponent + UPPER) and 2^(2 exponent + LOWER).
    fn totals<T: Value>(x: &[T; BLOCK], exponent: i32) -> [i64; 2] {
        let upper_start = power_of_two(2 * exponent + UPPER + 52);
        let lower_start = 1.5 * power_of_two(2 * exponent + LOWER + 52);
        // Within one power of two the bits of an f64 count units.
        let units = |total: f64, start: f64| total.to_bits().wrapping_sub(start.to_bits()) as i64;
        let mut counts = [0; 2];
        for column in 0..COLUMNS {
            let (mut upper, mut lower) = (upper_start, lower_start);
            for row in 0..ROWS {
                let x = f64::from(x[row * COLUMNS + column].widen());
                let total = madd_f64::<FMA>(x, x, upper);
                lower += madd_f64::<FMA>(x, x, upper - total);
                upper = total;
            }
            counts[0] += units(upper, upper_start);
            counts[1] += units(lower, lower_start);
        }
        counts
    }
}
