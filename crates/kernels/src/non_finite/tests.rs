use super::*;

#[test]
fn nan_and_both_infinities_are_counted_in_every_float() {
    let mut x = vec![f32::MAX; 100_000];
    x[3] = f32::NAN;
    x[50_000] = f32::INFINITY;
    x[99_999] = f32::NEG_INFINITY;
    assert_eq!(non_finite(&Span::from_slice(DType::F32, &x).unwrap()), Ok(3));
    assert_eq!(non_finite(&Span::from_slice(DType::F64, &[f64::NAN, 1.0, f64::INFINITY]).unwrap()), Ok(2));
    assert_eq!(non_finite(&Span::from_slice(DType::BF16, &[0x7f80u16, 0xffc0, 0x7f7f]).unwrap()), Ok(2));
    assert_eq!(non_finite(&Span::from_slice(DType::F16, &[0x7c00u16, 0xfe00, 0x7bff]).unwrap()), Ok(2));
    assert!(non_finite(&Span::from_slice(DType::I32, &[1]).unwrap()).is_err());
}
