//! Squares sorted by exponent: the mantissas of equal exponents add up as integers.

use crate::stored::Value;

/// Buckets of 16 exponents, whose squares lie within 32 bits and 48 more.
pub const BUCKETS: usize = 16;

/// Elements whose squared mantissas, below 2^48 each, cannot overflow 64 bits.
const BLOCK: usize = 1 << 16;

/// Neighbours go to different tables, so that one sum need not wait for the last.
const TABLES: usize = 4;

/// Exact partial sums; a bucket overflows after 2^50 elements.
#[derive(Default)]
pub struct Buckets {
    pub sums: [u128; BUCKETS],
    pub nan: u64,
    pub infinity: u64,
}

impl Buckets {
    pub fn add<T: Value>(&mut self, x: &[T]) {
        for block in x.chunks(BLOCK) {
            self.add_block(block);
        }
    }

    fn add_block<T: Value>(&mut self, x: &[T]) {
        let mut tables = [[0u64; 256]; TABLES];
        let groups = x.chunks_exact(TABLES);
        for (table, x) in tables.iter_mut().zip(groups.remainder()) {
            add_square(table, x.widen());
        }
        for group in groups {
            for (table, x) in tables.iter_mut().zip(group) {
                add_square(table, x.widen());
            }
        }
        for exponent in 0..255 {
            let sum = tables.iter().map(|table| u128::from(table[exponent])).sum::<u128>();
            // Subnormals have the weight of exponent 1.
            let weight = exponent.max(1);
            self.sums[weight / 16] += sum << (2 * (weight % 16));
        }
        if tables.iter().any(|table| table[255] != 0) {
            self.nan += x.iter().filter(|x| x.widen().is_nan()).count() as u64;
            self.infinity += x.iter().filter(|x| x.widen().is_infinite()).count() as u64;
        }
    }

    pub fn merge(&mut self, other: &Buckets) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| *sum += other);
        self.nan += other.nan;
        self.infinity += other.infinity;
    }
}

#[inline(always)]
fn add_square(table: &mut [u64; 256], x: f32) {
    let bits = x.to_bits();
    let exponent = bits >> 23 & 0xff;
    let mantissa = u64::from(bits & 0x007f_ffff | u32::from(exponent != 0) << 23);
    table[exponent as usize] += mantissa * mantissa;
}
