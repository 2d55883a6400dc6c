use super::*;

#[test]
fn values_are_added_and_scaled_in_place() {
    let mut dst = [1.0f32, 2.0, 3.0];
    axpy(&mut dst, -2.0, &[1.0f32, 0.5, 2.0]).unwrap();
    assert_eq!(dst, [-1.0, 1.0, -1.0]);
    scale(&mut dst, 0.5);
    assert_eq!(dst, [-0.5, 0.5, -0.5]);
    let mut dst = [1.0f64];
    axpy(&mut dst, 1e-3, &[1.0]).unwrap();
    assert_eq!(dst, [1.001]);
    assert!(axpy(&mut dst, 1.0, &[1.0, 2.0]).is_err());
}

#[test]
fn a_factor_of_one_is_a_plain_sum() {
    let a: Vec<f32> = (0..70_000).map(|i| (i as f32).sin()).collect();
    let b: Vec<f32> = (0..70_000).map(|i| (i as f32).cos() * 1e3).collect();
    let mut dst = a.clone();
    axpy(&mut dst, 1.0, &b).unwrap();
    assert!(dst.iter().zip(a.iter().zip(&b)).all(|(d, (a, b))| d.to_bits() == (a + b).to_bits()));
}

#[test]
fn bf16_is_added_to_f32_unrounded_and_to_bf16_rounded_once() {
    let ((x16, x), (y16, y)) = (crate::stored::rounding::random(1000, 1), crate::stored::rounding::random(1000, 2));
    let (mut wide, mut mixed, mut narrow) = (y.clone(), y, y16);
    axpy(&mut wide, 0.3, &x).unwrap();
    axpy(&mut mixed, 0.3, &x16).unwrap();
    axpy(&mut narrow, 0.3, &x16).unwrap();
    assert!(mixed == wide && narrow == crate::stored::rounding::bits(&wide));
    let mut scaled = crate::stored::rounding::widened(&narrow);
    scale(&mut scaled, 0.7);
    scale(&mut narrow, 0.7);
    assert_eq!(narrow, crate::stored::rounding::bits(&scaled));
}
