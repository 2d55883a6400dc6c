//! f32 logarithm, hyperbolic tangent and error function in plain arithmetic without branches, so that loops around them become
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

/// (erf x / x - 1) as a polynomial of x^2 for |x| <= 0.92.
const ERF_SERIES: [f32; 6] = [-5.991_05e-4, 4.993_396e-3, -2.676_673_4e-2, 1.128_180_2e-1, -3.761_248_6e-1, 1.283_791_5e-1];
/// -ln(1 - erf x) / x - 1 as a polynomial of x for larger ones.
const ERF_TAIL: [f32; 7] = [1.729_489_3e-5, -3.832_087e-4, 3.883_934_3e-3, -2.425_456e-2, 1.067_778_5e-1, 6.348_469e-1, 1.287_175_1e-1];

/// Error function.
#[inline(always)]
pub(crate) fn erf<const FMA: bool>(x: f32) -> f32 {
    let size = x.abs();
    let small = madd::<FMA>(polynomial::<FMA, 6>(x * x, ERF_SERIES), x, x);
    let bounded = if size > 4.0 { 4.0 } else { size };
    let large = (1.0 - exp::<FMA>(-madd::<FMA>(polynomial::<FMA, 7>(bounded, ERF_TAIL), bounded, bounded))).copysign(x);
    if size <= 0.921_875 { small } else { large }
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
            ("erf", worst(erf::<FMA>, libm::erf, near_zero())),
        ] {
            assert!(error <= 2.5, "{name}: {error} units in the last place, FMA {FMA}");
        }
        for f in [ln::<FMA>, tanh::<FMA>, erf::<FMA>] {
            assert!(f(f32::NAN).is_nan());
        }
        assert_eq!([ln::<FMA>(0.0), ln::<FMA>(1.0), ln::<FMA>(f32::INFINITY)], [f32::NEG_INFINITY, 0.0, f32::INFINITY]);
        assert!(ln::<FMA>(-1.0).is_nan());
        let infinities = [f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!((infinities.map(tanh::<FMA>), infinities.map(erf::<FMA>)), ([1.0, -1.0], [1.0, -1.0]));
    }

    #[test]
    fn functions_are_close_to_the_true_values_and_right_at_their_ends() {
        check::<false>();
        check::<true>();
    }
}
