//! Powers of f32 in plain f64 arithmetic without branches, so that the loops around them become vectors. As f64 carries 29 bits more,
//! results are within one unit in the last place; special cases are those of C's `powf`.

/// 1.5 * 2^52: adding it rounds to the nearest integer, which then stands in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// 2 / (ln 2 (2 k + 1)), highest power first: log2 m as a series of odd powers of (m - 1) / (m + 1).
const LOG2_SERIES: [f64; 8] = [
    0.192_359_338_785_195_12,
    0.221_953_083_213_686_7,
    0.262_308_189_252_538_8,
    0.320_598_897_975_325_2,
    0.412_198_583_111_132_44,
    0.577_078_016_355_585_3,
    0.961_796_693_925_975_7,
    2.885_390_081_777_926_8,
];
/// ln(2)^k / k!, highest power first: 2^f on |f| <= 1/2.
const EXP2_SERIES: [f64; 10] = [
    1.017_808_600_923_969_6e-7,
    1.321_548_679_014_430_5e-6,
    1.525_273_380_405_983_8e-5,
    0.000_154_035_303_933_816_06,
    0.001_333_355_814_642_844_1,
    0.009_618_129_107_628_477,
    0.055_504_108_664_821_576,
    0.240_226_506_959_100_7,
    std::f64::consts::LN_2,
    1.0,
];

/// log2 of a positive number, of 0 and of infinity; NaN stays NaN.
#[inline(always)]
fn log2(x: f64) -> f64 {
    let bits = x.to_bits();
    // The exponent such that the mantissa lies in [sqrt 1/2, sqrt 2), and 1024 so that it is above 0.
    let exponent = bits.wrapping_sub(0x3fe6_a09e_667f_3bcd).wrapping_add(1024 << 52) >> 52;
    let m = f64::from_bits(bits.wrapping_sub(exponent.wrapping_sub(1024) << 52));
    // Few vector instructions turn 64-bit integers into floats; adding them to the bits of a float does.
    let exponent = f64::from_bits(ROUND.to_bits() + exponent) - (ROUND + 1024.0);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut series = LOG2_SERIES[0];
    for coefficient in &LOG2_SERIES[1..] {
        series = series * z + coefficient;
    }
    let value = exponent + series * s;
    let value = if x == 0.0 { f64::NEG_INFINITY } else { value };
    if x < f64::INFINITY { value } else { x }
}

/// 2^y as f32, infinities included; NaN stays NaN.
#[inline(always)]
fn exp2(y: f64) -> f32 {
    let y = if y > 200.0 { 200.0 } else { y };
    let y = if y < -200.0 { -200.0 } else { y };
    let rounded = y + ROUND;
    let f = y - (rounded - ROUND);
    let mut series = EXP2_SERIES[0];
    for coefficient in &EXP2_SERIES[1..] {
        series = series * f + coefficient;
    }
    let n = rounded.to_bits().wrapping_sub(ROUND.to_bits());
    (series * f64::from_bits(n.wrapping_add(1023) << 52)) as f32
}

/// x without its fraction, for x of at least 0.
#[inline(always)]
fn rounded(x: f32) -> f32 {
    const ROUND: f32 = 8_388_608.0;
    if x < ROUND { (x + ROUND) - ROUND } else { x }
}

/// a to the power b.
#[inline(always)]
pub(crate) fn power(a: f32, b: f32) -> f32 {
    let (size, steps) = (a.abs(), b.abs());
    let value = exp2(f64::from(b) * log2(f64::from(size)));
    let is_whole = rounded(steps) == steps;
    let is_odd = is_whole & (rounded(steps * 0.5) != steps * 0.5);
    let value = if is_odd { value.copysign(a) } else { value };
    let value = if (a < 0.0) & (size < f32::INFINITY) & !is_whole { f32::NAN } else { value };
    // 1 to any power, and -1 to an infinite one.
    let value = if (a == 1.0) | (b == 0.0) | ((size == 1.0) & (steps == f32::INFINITY)) { 1.0 } else { value };
    let is_nan = (a.is_nan() & (b != 0.0)) | (b.is_nan() & (a != 1.0));
    if is_nan { f32::NAN } else { value }
}

#[cfg(test)]
mod tests {
    use super::power;

    fn same(a: f32, b: f32) {
        let (got, want) = (power(a, b), f64::from(a).powf(f64::from(b)) as f32);
        let is_near = got.to_bits().abs_diff(want.to_bits()) <= 1 || (got.is_nan() && want.is_nan());
        assert!(is_near, "{a:e} to the power {b:e}: {got:e}, not {want:e}");
    }

    #[test]
    fn powers_are_within_one_unit_of_the_last_place() {
        let mut word = 1u32;
        for _ in 0..300_000 {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let a = f32::from_bits(word);
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let b = f32::from_bits(word);
            same(a, b);
            let moderate = ((word >> 8) as f32 / 65536.0 - 128.0) / 4.0;
            same(a, moderate);
            same(a, moderate.round());
            same(1.0 + moderate * 1e-4, b.clamp(-1e5, 1e5));
        }
    }

    #[test]
    fn special_cases_are_those_of_c() {
        let values = [0.0, 1.0, 2.0, 3.0, 0.5, 1.5, 1e-45, 1e-38, 3e38, 8_388_607.0, 8_388_608.5, 16_777_217.0, f32::INFINITY, f32::NAN];
        for a in values.into_iter().flat_map(|a| [a, -a]) {
            for b in values.into_iter().flat_map(|b| [b, -b]) {
                same(a, b);
                let (got, want) = (power(a, b), f64::from(a).powf(f64::from(b)) as f32);
                assert!(got.is_nan() || got.is_sign_negative() == want.is_sign_negative(), "sign of {a} to the power {b}");
            }
        }
    }
}
