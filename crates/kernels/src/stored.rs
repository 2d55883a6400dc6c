//! Element types as memory holds them, and what loops compute in: bf16 becomes f32 where it is read and is rounded once, to
//! nearest even, where it is written. A loop is written once; for f32 both ways are nothing.

use crate::half::{bf16_to_f32, f32_to_bf16};
use crate::number::{Number, Real};
use crate::scratch::Scratch;
use storage::Element;

/// An element in memory. u16 stands for the bits of a bf16.
pub trait Stored: Element {
    /// What it is computed in.
    type Wide: Number;
    fn widen(self) -> Self::Wide;
    fn narrow(value: Self::Wide) -> Self;
}

macro_rules! as_it_is {
    ($($type:ty)+) => { $(impl Stored for $type {
        type Wide = $type;
        #[inline(always)]
        fn widen(self) -> $type { self }
        #[inline(always)]
        fn narrow(value: $type) -> $type { value }
    })+ };
}
as_it_is!(f32 f64 i32 i64 u8);

impl Stored for u16 {
    type Wide = f32;
    #[inline(always)]
    fn widen(self) -> f32 {
        bf16_to_f32(self)
    }
    #[inline(always)]
    fn narrow(value: f32) -> u16 {
        f32_to_bf16(value)
    }
}

/// A float: f32, f64 or bf16. Its sign is a bit, which no rounding concerns.
pub trait Float: Stored<Wide: Real> {
    fn opposite(self) -> Self;
    fn magnitude(self) -> Self;
}

macro_rules! signed {
    ($($type:ty)+) => { $(impl Float for $type {
        #[inline(always)]
        fn opposite(self) -> $type { -self }
        #[inline(always)]
        fn magnitude(self) -> $type { self.abs() }
    })+ };
}
signed!(f32 f64);

impl Float for u16 {
    #[inline(always)]
    fn opposite(self) -> u16 {
        self ^ 0x8000
    }
    #[inline(always)]
    fn magnitude(self) -> u16 {
        self & 0x7fff
    }
}

/// What layers compute in f32: f32 or bf16.
pub trait Value: Stored<Wide = f32> {
    const IS_BF16: bool;

    /// Where a row may grow in f32 before it is finished: the row itself, or `spare`.
    fn work<'a>(row: &'a mut [Self], spare: &'a mut [f32]) -> &'a mut [f32];

    /// Stores what has grown there.
    fn finish(row: &mut [Self], spare: &[f32]);
}

/// The f32 memory that [`Value::work`] needs for `len` values.
pub(crate) fn spare<T: Value>(len: usize) -> Scratch {
    Scratch::take(if T::IS_BF16 { len } else { 0 })
}

impl Value for f32 {
    const IS_BF16: bool = false;
    #[inline(always)]
    fn work<'a>(row: &'a mut [f32], _: &'a mut [f32]) -> &'a mut [f32] {
        row
    }
    #[inline(always)]
    fn finish(_: &mut [f32], _: &[f32]) {}
}

impl Value for u16 {
    const IS_BF16: bool = true;
    #[inline(always)]
    fn work<'a>(row: &'a mut [u16], spare: &'a mut [f32]) -> &'a mut [f32] {
        &mut spare[..row.len()]
    }
    #[inline(always)]
    fn finish(row: &mut [u16], spare: &[f32]) {
        for (bits, value) in row.iter_mut().zip(spare) {
            *bits = f32_to_bf16(*value);
        }
    }
}

/// bf16 bits of f32 values and back, for tests of both beside each other.
#[cfg(test)]
pub(crate) mod rounding {
    use super::*;

    /// Every value rounded to bf16.
    pub fn bits(values: &[f32]) -> Vec<u16> {
        values.iter().map(|x| f32_to_bf16(*x)).collect()
    }

    /// Every bf16 as f32.
    pub fn widened(bits: &[u16]) -> Vec<f32> {
        bits.iter().map(|x| bf16_to_f32(*x)).collect()
    }

    /// Values that look random, as bf16 and as the f32 that they stand for.
    pub fn random(len: usize, seed: u64) -> (Vec<u16>, Vec<f32>) {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let values: Vec<f32> = (0..len)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f32 / (1u64 << 22) as f32 - 2.0
            })
            .collect();
        let bits = bits(&values);
        let wide = widened(&bits);
        (bits, wide)
    }
}
