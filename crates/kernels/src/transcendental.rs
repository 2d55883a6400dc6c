//! f32 logarithm, hyperbolic tangent and normal distribution in plain arithmetic without branches, so that loops around them become
//! vectors. Each is within a few units in the last place of the true value.

use crate::exp::exp;
use crate::simd::madd;

/// A polynomial, highest power first.
#[inline(always)]
fn polynomial<const FMA: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[0];
    for coefficient in &coefficients[1..] {
        sum = madd::<FMA>(sum, x, *coefficient);
    }
    sum
}

/// (ln(1 + m) - m + m^2 / 2) / m^3 on 1 + m in [sqrt 1/2, sqrt 2] (Cephes logf).
const LN_SERIES: [f32; 9] = [
    7.037_683_6e-2,
    -1.151_461e-1,
    1.167_699_9e-1,
    -1.242_014_1e-1,
    1.424_932_3e-1,
    -1.666_805_7e-1,
    2.000_071_5e-1,
    -2.499_999_4e-1,
    3.333_333e-1,
];

/// Natural logarithm; -inf at 0, NaN below.
#[inline(always)]
pub(crate) fn ln<const FMA: bool>(x: f32) -> f32 {
    const SUBNORMAL_SCALE: f32 = 8_388_608.0;
    let tiny = x < f32::MIN_POSITIVE;
    let bits = (if tiny { x * SUBNORMAL_SCALE } else { x }).to_bits() as i32;
    // The exponent such that the mantissa lies in [sqrt 1/2, sqrt 2).
    let exponent = bits.wrapping_sub(0x3f35_04f3) >> 23;
    let mantissa = f32::from_bits(bits.wrapping_sub(exponent << 23) as u32);
    let e = exponent as f32 - if tiny { 23.0 } else { 0.0 };
    let m = mantissa - 1.0;
    let z = m * m;
    let tail = madd::<FMA>(e, -2.121_944_4e-4, polynomial::<FMA, 9>(m, LN_SERIES) * m * z);
    let value = madd::<FMA>(e, 0.693_359_4, m + madd::<FMA>(z, -0.5, tail));
    let value = if x == 0.0 { f32::NEG_INFINITY } else { value };
    let value = if x < 0.0 { f32::NAN } else { value };
    if x < f32::INFINITY { value } else { x }
}

/// (tanh x / x - 1) / x^2 as a polynomial of x^2 for |x| < 0.625 (Cephes tanhf).
const TANH_SERIES: [f32; 5] = [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];

/// Hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let size = x.abs();
    let z = x * x;
    let small = madd::<FMA>(polynomial::<FMA, 5>(z, TANH_SERIES) * z, x, x);
    let large = (1.0 - 2.0 / (exp::<FMA>(2.0 * size) + 1.0)).copysign(x);
    if size < 0.625 { small } else { large }
}

/// Beyond this magnitude the normal density is less than a normal number: the result is 0 there, 2^-127 being 0 as bits of an exponent.
const NORMAL_END: f32 = 13.27;
/// -log2(e) / 2.
const HALF_LOG2_E: f32 = -0.721_347_5;
/// 2^r for |r| <= 1/2.
const EXP2_SERIES: [f32; 7] = [1.535_336_2e-4, 1.339_887_5e-3, 9.618_437e-3, 5.550_332_4e-2, 2.402_264_8e-1, 6.931_472e-1, 1.0];
/// The probability of a standard normal value below -t over e^(-t^2 / 2), within 2^-26.7 for t from 0 to `NORMAL_END`: numerator and
/// denominator.
const MILLS: ([f32; 5], [f32; 6]) = (
    [3.990_852e-3, 3.979_936e-2, 1.807_774_5e-1, 4.350_013_7e-1, 0.5],
    [1.000_343_5e-2, 9.976_973e-2, 4.629_772_3e-1, 1.192_333_2, 1.667_887_6, 1.0],
);

/// The probability that a standard normal value is below x, and e^(-x^2 / 2). Both are relatively close also far below 0, where
/// (1 + erf) / 2 has nothing left.
#[inline(always)]
pub(crate) fn normal<const FMA: bool>(x: f32) -> [f32; 2] {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to the nearest integer, which then stands in the low bits
    let size = x.abs();
    let t = if size > NORMAL_END { NORMAL_END } else { size };
    let square = t * t;
    let rounded = madd::<FMA>(square, HALF_LOG2_E, ROUND);
    let rest = madd::<FMA>(square, HALF_LOG2_E, -(rounded - ROUND));
    let power = f32::from_bits(rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    let bell = polynomial::<FMA, 7>(rest, EXP2_SERIES) * power;
    let tail = bell * polynomial::<FMA, 5>(t, MILLS.0) / polynomial::<FMA, 6>(t, MILLS.1);
    [if x < 0.0 { tail } else { 1.0 - tail }, bell]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units in the last place between `got` and the true value.
    fn ulps(got: f32, want: f64) -> f64 {
        let size = (want.abs() as f32).max(f32::MIN_POSITIVE);
        (f64::from(got) - want).abs() / f64::from(f32::from_bits(size.to_bits() + 1) - size)
    }

    fn worst(f: impl Fn(f32) -> f32, want: impl Fn(f64) -> f64, points: impl Iterator<Item = f32>) -> f64 {
        points.map(|x| ulps(f(x), want(f64::from(x)))).fold(0.0, f64::max)
    }

    fn near_zero() -> impl Iterator<Item = f32> {
        (-400_000..400_000).map(|i| i as f32 * 3e-5)
    }

    fn check<const FMA: bool>() {
        let positive = || (1..0x7f80_0000u32).step_by(1009).map(f32::from_bits);
        for (name, error) in [
            ("ln", worst(ln::<FMA>, libm::log, positive())),
            ("tanh", worst(tanh::<FMA>, libm::tanh, near_zero())),
            ("tanh small", worst(tanh::<FMA>, libm::tanh, positive().filter(|x| *x > f32::MIN_POSITIVE))),
            ("normal above 0", worst(|x| normal::<FMA>(x)[0], below, near_zero().filter(|x| *x >= 0.0))),
        ] {
            assert!(error <= 2.5, "{name}: {error} units in the last place, FMA {FMA}");
        }
        for f in [ln::<FMA>, tanh::<FMA>, |x| normal::<FMA>(x)[0], |x| normal::<FMA>(x)[1]] {
            assert!(f(f32::NAN).is_nan());
        }
        assert_eq!([ln::<FMA>(0.0), ln::<FMA>(1.0), ln::<FMA>(f32::INFINITY)], [f32::NEG_INFINITY, 0.0, f32::INFINITY]);
        assert!(ln::<FMA>(-1.0).is_nan());
        let infinities = [f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!((infinities.map(tanh::<FMA>), infinities.map(normal::<FMA>)), ([1.0, -1.0], [[1.0, 0.0], [0.0, 0.0]]));
        assert_eq!(normal::<FMA>(0.0), [0.5, 1.0]);
        // The square of x is rounded, and e to the power of it magnifies that by x^2 / 2.
        for x in near_zero().filter(|x| (-13.0..0.0).contains(x)) {
            let x64 = f64::from(x);
            let wants = [below(x64), libm::exp(x64 * x64 / -2.0)];
            for (got, want) in normal::<FMA>(x).into_iter().zip(wants) {
                let error = (f64::from(got) - want).abs();
                assert!(error <= (5.0 + x64 * x64) * 2f64.powi(-24) * want + 1e-44, "{x}: {got}, not {want}, FMA {FMA}");
            }
        }
    }

    /// The probability that a standard normal value is below x.
    fn below(x: f64) -> f64 {
        libm::erfc(-x / 2f64.sqrt()) / 2.0
    }

    #[test]
    fn functions_are_close_to_the_true_values_and_right_at_their_ends() {
        check::<false>();
        check::<true>();
    }
}
