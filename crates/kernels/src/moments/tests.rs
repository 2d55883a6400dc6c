use super::*;

#[test]
fn only_finite_elements_count_towards_the_moments() {
    let x = [1.0f32, f32::NAN, -3.0, f32::INFINITY, 5.0, f32::NEG_INFINITY];
    let got = moments(&Span::from_slice(DType::F32, &x).unwrap()).unwrap();
    assert_eq!(got, Moments { min: -3.0, max: 5.0, mean: 1.0, nan: 1, inf: 2 });
    let got = moments(&Span::from_slice(DType::I64, &[2i64, 4]).unwrap()).unwrap();
    assert_eq!(got, Moments { min: 2.0, max: 4.0, mean: 3.0, nan: 0, inf: 0 });
    assert!(moments(&Span::new(DType::F32, 0).unwrap()).unwrap().mean.is_nan());
}
