use super::*;
use crate::pool;

const CODES: std::ops::Range<u32> = 0..13;

fn apply<T: Float>(code: u32, x: &[T]) -> Vec<T> {
    let mut y = x.to_vec();
    unary(code, x, &mut y).unwrap();
    y
}

/// Whether the backward of `code` saves the result and not the argument.
fn saves_result(code: u32) -> bool {
    [1, 3, 4, 5, 7, 11].contains(&code)
}

#[test]
fn values_are_those_of_the_formulas() {
    let x = 0.7f64;
    let want = [
        -0.7,
        2.0137527074704766,
        -0.35667494393873245,
        0.8366600265340756,
        0.6043677771171636,
        0.668187772168166,
        0.7,
        0.7,
        0.5305701347051167,
        0.5306254434438489,
        0.49,
        1.4285714285714286,
        0.46773144051771626,
    ];
    for code in CODES {
        let exact = apply(code, &[x])[0];
        let close = f64::from(apply(code, &[x as f32])[0]);
        assert!((exact - want[code as usize]).abs() < 1e-12, "op {code}: {exact}");
        assert!((close - want[code as usize]).abs() < 3e-7, "op {code}: {close}");
    }
    assert_eq!(apply(7, &[-1.0f32, 0.5]), [0.0, 0.5]);
    assert_eq!(apply(6, &[-1.5f32]), [1.5]);
}

#[test]
fn gradients_agree_with_differences() {
    for code in CODES {
        for x in [0.3f64, 0.9, 2.5, -0.4, -2.0] {
            if x < 0.0 && [2, 3].contains(&code) {
                continue;
            }
            let step = 1e-6;
            let around = apply(code, &[x - step, x + step, x]);
            let slope = (around[1] - around[0]) / (2.0 * step);
            let saved = if saves_result(code) { around[2] } else { x };
            let mut out = [0.0];
            unary_backward(code, &[saved], &[3.0], &mut out).unwrap();
            assert!((out[0] - 3.0 * slope).abs() < 1e-7 * (1.0 + slope.abs()), "op {code} at {x}: {} for {}", out[0], 3.0 * slope);
            let mut out = [0f32];
            unary_backward(code, &[saved as f32], &[3.0], &mut out).unwrap();
            assert!((f64::from(out[0]) - 3.0 * slope).abs() < 3e-6 * (1.0 + slope.abs()), "op {code} at {x} in f32");
        }
    }
}

#[test]
fn gelu_stays_exact_far_below_zero() {
    for x in [-3.0f32, -5.0, -6.0] {
        let (got, want) = (f64::from(apply(8, &[x])[0]), apply(8, &[f64::from(x)])[0]);
        assert!(((got - want) / want).abs() < 4e-6, "{x}: {got} for {want}");
    }
}

#[test]
fn bits_depend_neither_on_the_threads_nor_on_the_place() {
    let x: Vec<f32> = (0..100_003).map(|i| (i as f32 - 50_000.0) * 1e-4).collect();
    for code in CODES {
        let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
        pool::set_threads(1);
        let want = bits(&apply(code, &x));
        for threads in [2, 3, 7] {
            pool::set_threads(threads);
            assert_eq!(bits(&apply(code, &x)), want, "op {code}, {threads} threads");
        }
        for offset in [1, 3, 17] {
            assert_eq!(bits(&apply(code, &x[offset..offset + 41])), want[offset..offset + 41], "op {code} from {offset}");
        }
    }
}

#[test]
fn unknown_codes_and_lengths_are_refused() {
    assert_eq!(unary(13, &[0f32], &mut [0.0]).unwrap_err(), "unary: op code 13 is unknown. Use a code from 0 to 12.");
    assert!(unary(0, &[0f32], &mut []).is_err());
    assert!(unary_backward(0, &[0f32], &[], &mut [0.0]).is_err());
}

#[test]
fn bf16_functions_and_derivatives_are_those_of_f32_rounded_once() {
    let ((x16, x), (g16, g)) = (crate::stored::rounding::random(700, 1), crate::stored::rounding::random(700, 2));
    for code in 0..=12 {
        let (mut y, mut y16) = (vec![0.0; 700], vec![0u16; 700]);
        unary(code, &x, &mut y).unwrap();
        unary(code, &x16, &mut y16).unwrap();
        let nan = |bits: &u16| bits & 0x7fff > 0x7f80;
        let same =
            |got: &[u16], want: &[f32]| got.iter().zip(crate::stored::rounding::bits(want)).all(|(a, b)| *a == b || nan(a) && nan(&b));
        assert!(same(&y16, &y), "code {code}");
        unary_backward(code, &x, &g, &mut y).unwrap();
        unary_backward(code, &x16, &g16, &mut y16).unwrap();
        assert!(same(&y16, &y), "derivative of code {code}");
    }
}

#[test]
fn the_sign_of_a_bf16_is_a_bit() {
    let x: Vec<u16> = (0..=u16::MAX).collect();
    let mut y = vec![0; x.len()];
    unary(0, &x, &mut y).unwrap();
    assert!(x.iter().zip(&y).all(|(x, y)| x ^ y == 0x8000));
    unary_backward(0, &x, &x, &mut y).unwrap();
    assert!(x.iter().zip(&y).all(|(x, y)| x ^ y == 0x8000));
    unary(6, &x, &mut y).unwrap();
    assert!(x.iter().zip(&y).all(|(x, y)| x & 0x7fff == *y));
}
