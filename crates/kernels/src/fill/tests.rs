use super::*;

#[test]
fn every_element_gets_the_value_in_its_type() {
    let filled = |dtype: DType, value: f64| {
        let span = Span::new(dtype, 70_001).unwrap();
        fill(&span, value).unwrap();
        span
    };
    assert!(filled(DType::F32, 0.1).f32s().unwrap().iter().all(|&x| x == 0.1));
    assert!(filled(DType::BF16, 1.0).slice::<u16>().unwrap().iter().all(|&x| x == 0x3f80));
    assert!(filled(DType::I64, -7.9).slice::<i64>().unwrap().iter().all(|&x| x == -7));
    assert!(filled(DType::U8, 1.0).slice::<u8>().unwrap().iter().all(|&x| x == 1));
    assert!(filled(DType::F64, f64::NAN).slice::<f64>().unwrap().iter().all(|x| x.is_nan()));
}
