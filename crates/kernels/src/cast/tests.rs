use super::*;
use crate::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};

fn casted<A: Element, B: Element>(from: DType, values: &[A], to: DType) -> Vec<B> {
    let target = Span::new(to, values.len()).unwrap();
    cast(&target, &Span::from_slice(from, values).unwrap()).unwrap();
    target.slice().unwrap().to_vec()
}

#[test]
fn floats_round_to_nearest_even() {
    let bf16 = |x: f32| casted::<f32, u16>(DType::F32, &[x], DType::BF16)[0];
    assert_eq!([1.0, -2.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, f32::MAX, 0.0].map(bf16), [0x3f80, 0xc000, 0x3f80, 0x3f82, 0x7f80, 0]);
    assert!(bf16_to_f32(bf16(f32::from_bits(0x7f80_0001))).is_nan());
    let f16 = |x: f32| casted::<f32, u16>(DType::F32, &[x], DType::F16)[0];
    assert_eq!([1.0, -2.0, 65504.0, 65519.9, 65520.0, 5.9604645e-8, 2.9802322e-8].map(f16), [0x3c00, 0xc000, 0x7bff, 0x7bff, 0x7c00, 1, 0]);
    assert_eq!([6.1035e-5, 0.5f32.powi(14), f32::INFINITY, 1.000_488_3, 1.001_464_8].map(f16), [0x0400, 0x0400, 0x7c00, 0x3c00, 0x3c02]);
    assert!(f16_to_f32(f16(f32::NAN)).is_nan());
}

#[test]
fn every_16_bit_float_survives_the_way_to_f32_and_back() {
    for bits in 0..=u16::MAX {
        let (b, h) = (bf16_to_f32(bits), f16_to_f32(bits));
        assert!(b.is_nan() || f32_to_bf16(b) == bits, "bf16 {bits:#06x}");
        assert!(h.is_nan() || f32_to_f16(h) == bits, "f16 {bits:#06x}");
        assert_eq!(h.is_nan(), bits & 0x7fff > 0x7c00);
    }
    assert_eq!(f16_to_f32(0x3555), 0.333_251_95);
    assert_eq!(f16_to_f32(0xc900), -10.0);
}

#[test]
fn the_f16_of_an_f32_is_the_nearest() {
    for step in 0..200_000u32 {
        let value = f32::from_bits(0x3000_0000 + step * 0x0701);
        let near = f32_to_f16(value);
        let distance = |bits: u16| (f64::from(f16_to_f32(bits)) - f64::from(value)).abs();
        if near < 0x7c00 {
            assert!(distance(near) <= distance(near + 1) || near == 0x7bff, "{value}");
            assert!(near == 0 || distance(near) <= distance(near - 1), "{value}");
        }
    }
}

#[test]
fn floats_become_integers_by_truncation_and_integers_wrap() {
    assert_eq!(casted::<f32, i32>(DType::F32, &[1.9, -1.9, f32::NAN, 3e9], DType::I32), [1, -1, 0, i32::MAX]);
    assert_eq!(casted::<f64, i64>(DType::F64, &[-7.5, 1e15 + 0.5], DType::I64), [-7, 1_000_000_000_000_000]);
    assert_eq!(casted::<i64, i32>(DType::I64, &[1 << 32 | 5, -1], DType::I32), [5, -1]);
    assert_eq!(casted::<i32, u8>(DType::I32, &[257, 3], DType::U8), [1, 3]);
    assert_eq!(casted::<i64, f32>(DType::I64, &[16_777_217, -3], DType::F32), [16_777_216.0, -3.0]);
    assert_eq!(casted::<u8, f64>(DType::U8, &[200], DType::F64), [200.0]);
    assert_eq!(casted::<f32, f32>(DType::F32, &[1.5], DType::F32), [1.5]);
}

#[test]
fn long_tensors_are_cast_whole_and_lengths_must_agree() {
    let values: Vec<f32> = (0..200_001).map(|i| i as f32).collect();
    let back = casted::<f64, f32>(DType::F64, &casted::<f32, f64>(DType::F32, &values, DType::F64), DType::F32);
    assert_eq!(back, values);
    let (a, b) = (Span::new(DType::F32, 2).unwrap(), Span::new(DType::F64, 3).unwrap());
    assert_eq!(cast(&a, &b).unwrap_err(), "3 elements do not fit a tensor of 2. Pass tensors of one length.");
}
