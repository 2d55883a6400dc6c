//! Blocks of four values, one at a time or many together. No fused multiply-adds: every CPU draws the same bits.

use super::Distribution;
use crate::simd::multiversion;

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// The golden ratio and the square root of 3 less 1, in units of 2^-32: what the key grows by in a round.
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

/// Blocks that are drawn together.
const GROUP: usize = 64;
/// Values of a group.
pub const GROUP_VALUES: usize = 4 * GROUP;

/// Ten rounds of Philox on N counters; word w of counter i is `counters[w][i]`.
#[inline(always)]
pub fn philox<const N: usize>(mut counters: [[u32; N]; 4], mut key: [u32; 2]) -> [[u32; N]; 4] {
    for _ in 0..10 {
        let [c0, c1, c2, c3] = counters;
        let mut next = [[0; N]; 4];
        for i in 0..N {
            let product0 = u64::from(MULTIPLIERS[0]) * u64::from(c0[i]);
            let product1 = u64::from(MULTIPLIERS[1]) * u64::from(c2[i]);
            next[0][i] = (product1 >> 32) as u32 ^ c1[i] ^ key[0];
            next[1][i] = product1 as u32;
            next[2][i] = (product0 >> 32) as u32 ^ c3[i] ^ key[1];
            next[3][i] = product0 as u32;
        }
        counters = next;
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counters
}

/// The blocks `first..first + N`; value w of block i is `[w][i]`.
#[inline(always)]
fn draw<const N: usize>(first: u64, key: [u32; 2], distribution: Distribution) -> [[f64; N]; 4] {
    let mut counters = [[0; N]; 4];
    let [low, high, ..] = &mut counters;
    for (number, (low, high)) in (first..).zip(low.iter_mut().zip(high)) {
        *low = number as u32;
        *high = (number >> 32) as u32;
    }
    let words = philox(counters, key);
    let mut values = [[0.0; N]; 4];
    for (values, words) in values.iter_mut().zip(&words) {
        for i in 0..N {
            values[i] = (f64::from(words[i]) + 0.5) / 4_294_967_296.0;
        }
    }
    match distribution {
        Distribution::Uniform { from, to } => values.as_flattened_mut().iter_mut().for_each(|u| *u = from + (to - from) * *u),
        Distribution::Normal { mean, std } => {
            for [first, second] in values.as_chunks_mut::<2>().0 {
                for i in 0..N {
                    let [a, b] = box_muller(first[i], second[i]);
                    first[i] = mean + std * a;
                    second[i] = mean + std * b;
                }
            }
        }
    }
    values
}

multiversion! {
    fn draw_group(first: u64, key: [u32; 2], distribution: Distribution) -> [[f64; GROUP]; 4] {
        draw::<GROUP>(first, key, distribution)
    }
}

/// The last values drawn: neighbours share a block.
pub struct Blocks {
    distribution: Distribution,
    key: [u32; 2],
    number: Option<u64>,
    block: [[f64; 1]; 4],
    group_number: Option<u64>,
    group: [f64; GROUP_VALUES],
}

impl Blocks {
    pub fn new(distribution: Distribution, key: [u32; 2]) -> Blocks {
        Blocks { distribution, key, number: None, block: [[0.0]; 4], group_number: None, group: [0.0; GROUP_VALUES] }
    }

    /// The value of one element.
    pub fn value(&mut self, index: u64) -> f64 {
        if self.number != Some(index >> 2) {
            self.number = Some(index >> 2);
            self.block = draw::<1>(index >> 2, self.key, self.distribution);
        }
        self.block[index as usize & 3][0]
    }

    /// The values of the group of elements that `index` belongs to, from it on.
    pub fn values_from(&mut self, index: u64) -> &[f64] {
        let number = index / GROUP_VALUES as u64;
        if self.group_number != Some(number) {
            self.group_number = Some(number);
            let values = draw_group(number * GROUP as u64, self.key, self.distribution);
            for (lane, values) in values.iter().enumerate() {
                values.iter().enumerate().for_each(|(block, value)| self.group[4 * block + lane] = *value);
            }
        }
        &self.group[index as usize % GROUP_VALUES..]
    }
}

/// Two independent standard normal values from two uniform ones.
#[inline(always)]
fn box_muller(u: f64, v: f64) -> [f64; 2] {
    let radius = (-2.0 * ln_of_fraction(u)).sqrt();
    let [sin, cos] = sin_cos_of_turn(v);
    [radius * cos, radius * sin]
}

#[inline(always)]
fn polynomial<const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
    let mut sum = coefficients[0];
    for coefficient in &coefficients[1..] {
        sum = sum * x + coefficient;
    }
    sum
}

/// (ln((1 + s) / (1 - s)) - 2 s) / s^3 as a polynomial of s^2 (fdlibm log).
const LN_SERIES: [f64; 7] = [
    1.479_819_860_511_658_6e-1,
    1.531_383_769_920_937_3e-1,
    1.818_357_216_161_805e-1,
    2.222_219_843_214_978_4e-1,
    2.857_142_874_366_239e-1,
    3.999_999_999_940_942e-1,
    6.666_666_666_666_735e-1,
];

/// ln u for a normal u in (0, 1).
#[inline(always)]
pub fn ln_of_fraction(u: f64) -> f64 {
    const SQRT_HALF: i64 = 0x3fe6_a09e_667f_3bcd;
    /// 1.5 * 2^52: an integer added to its bits is that integer added to its value.
    const SHIFTER: f64 = 6_755_399_441_055_744.0;
    let bits = u.to_bits() as i64;
    // The exponent such that the mantissa lies in [sqrt 1/2, sqrt 2).
    let exponent = (bits - SQRT_HALF) >> 52;
    let mantissa = f64::from_bits((bits - (exponent << 52)) as u64);
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let e = f64::from_bits((SHIFTER.to_bits() as i64 + exponent) as u64) - SHIFTER;
    let z = s * s;
    e * std::f64::consts::LN_2 + (2.0 * s + s * z * polynomial(z, LN_SERIES))
}

/// (sin x / x - 1) / x^2 and (cos x - 1 + x^2 / 2) / x^4 as polynomials of x^2 on |x| <= π / 4 (Cephes).
const SIN_SERIES: [f64; 6] = [
    1.589_623_015_765_465_7e-10,
    -2.505_074_776_285_780_7e-8,
    2.755_731_362_138_572_5e-6,
    -1.984_126_982_958_954e-4,
    8.333_333_333_322_118e-3,
    -1.666_666_666_666_663e-1,
];
const COS_SERIES: [f64; 6] = [
    -1.135_853_652_138_768_2e-11,
    2.087_570_084_197_473e-9,
    -2.755_731_417_929_674e-7,
    2.480_158_728_885_170_5e-5,
    -1.388_888_888_887_305_6e-3,
    4.166_666_666_666_659e-2,
];

/// [sin 2πv, cos 2πv] for v in [0, 1].
#[inline(always)]
pub fn sin_cos_of_turn(v: f64) -> [f64; 2] {
    const SHIFTER: f64 = 6_755_399_441_055_744.0;
    let shifted = 4.0 * v + SHIFTER;
    let quarter = shifted.to_bits() & 3;
    let x = (4.0 * v - (shifted - SHIFTER)) * std::f64::consts::FRAC_PI_2;
    let z = x * x;
    let sin = x + x * z * polynomial(z, SIN_SERIES);
    let cos = 1.0 - 0.5 * z + z * z * polynomial(z, COS_SERIES);
    let (first, second) = if quarter & 1 == 0 { (sin, cos) } else { (cos, sin) };
    let sin_sign = (quarter & 2) << 62;
    let cos_sign = ((quarter + 1) & 2) << 62;
    [f64::from_bits(first.to_bits() ^ sin_sign), f64::from_bits(second.to_bits() ^ cos_sign)]
}
