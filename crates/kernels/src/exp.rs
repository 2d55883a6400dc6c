//! The exponential in plain arithmetic, so that the loops around it become vectors.

use crate::simd::madd;

/// 1.5 * 2^23: adding it rounds to the nearest integer, which then stands in the low bits.
const ROUND: f32 = 12582912.0;
/// ln 2 in two parts; the first has few bits, so that its multiples are exact.
const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// (e^r - 1 - r) / r^2 on |r| <= ln 2 / 2, highest power first (Cephes expf).
const SERIES: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// e^x within two units in the last place, subnormal results and infinities included; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let rounded = madd::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = madd::<FMA>(-n, LN2[1], madd::<FMA>(-n, LN2[0], x));
    let mut series = SERIES[0];
    for coefficient in &SERIES[1..] {
        series = madd::<FMA>(series, r, *coefficient);
    }
    let y = madd::<FMA>(series, r * r, r) + 1.0;
    // 2^n in two factors: n may be one beyond the exponents on either side.
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    y * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::exp;

    fn check<const FMA: bool>() {
        for step in -1_040_000..=890_000 {
            let x = step as f32 * 1e-4;
            let (got, want) = (f64::from(exp::<FMA>(x)), f64::from(x).exp());
            assert!(
                (got - want).abs() <= 2.5e-7 * want + 1e-45 || (want > f64::from(f32::MAX) && got.is_infinite()),
                "{x}: {got}, not {want}"
            );
        }
        assert_eq!(exp::<FMA>(0.0), 1.0);
        assert_eq!(exp::<FMA>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<FMA>(f32::INFINITY), f32::INFINITY);
        assert!(exp::<FMA>(f32::NAN).is_nan());
    }

    #[test]
    fn exp_is_close_everywhere_and_exact_at_its_ends() {
        check::<false>();
        check::<true>();
    }
}
