use super::*;

#[test]
fn a_row_times_each_weight_row_plus_bias() {
    let (x, w) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, -1.0, 2.0, 1.0, 0.5]);
    let mut y = [f32::NAN; 4];
    linear(&x, &w, Some(&[10.0, 20.0]), Sizes { rows: 2, input: 3, output: 2 }, &mut y).unwrap();
    assert_eq!(y, [8.0, 25.5, 8.0, 36.0]);
    linear(&x, &w, None, Sizes { rows: 2, input: 3, output: 2 }, &mut y).unwrap();
    assert_eq!(y, [-2.0, 5.5, -2.0, 16.0]);
}

#[test]
fn a_wrong_length_is_named() {
    let error = linear(&[0.0; 5], &[0.0; 6], None, Sizes { rows: 2, input: 3, output: 2 }, &mut [0.0; 4]).unwrap_err();
    assert_eq!(error, "linear: x has 5 values, which is not the shape [2, 3]. Pass a tensor of that shape.");
    assert!(
        linear(&[0.0; 6], &[0.0; 6], Some(&[0.0; 3]), Sizes { rows: 2, input: 3, output: 2 }, &mut [0.0; 4]).unwrap_err().contains("bias")
    );
}

/// Whole numbers that bf16 can hold, as are their sums.
fn whole(len: usize, factor: usize) -> (Vec<f32>, Vec<u16>) {
    let values: Vec<f32> = (0..len).map(|i| (i * factor % 5) as f32 - 2.0).collect();
    let bits = values.iter().map(|x| crate::half::f32_to_bf16(*x)).collect();
    (values, bits)
}

#[test]
fn bf16_tensors_give_the_layer_and_its_gradients_into_f32_or_bf16() {
    let sizes = Sizes { rows: 7, input: 9, output: 5 };
    let ((x, x16), (w, w16), (bias, bias16)) = (whole(63, 7), whole(45, 3), whole(5, 2));
    let (grad, grad16) = whole(35, 11);
    let (mut y, mut y16, mut dx, mut dx16, mut dw) = (vec![0.0; 35], vec![0; 35], vec![0.0; 63], vec![0; 63], vec![1.0; 45]);
    linear(&x, &w, Some(&bias), sizes, &mut y).unwrap();
    let bf16 = Options { precision: Precision::Bf16, ..Options::default() };
    linear_with([Values::Bf16(&x16), Values::Bf16(&w16)], Some(Values::Bf16(&bias16)), sizes, ValuesMut::Bf16(&mut y16), bf16).unwrap();
    assert!(y.iter().zip(&y16).all(|(wide, narrow)| crate::half::f32_to_bf16(*wide) == *narrow));

    linear_input_grad([Values::F32(&grad), Values::F32(&w)], sizes, ValuesMut::F32(&mut dx), Precision::F32).unwrap();
    linear_input_grad([Values::Bf16(&grad16), Values::Bf16(&w16)], sizes, ValuesMut::Bf16(&mut dx16), Precision::Bf16).unwrap();
    assert!(dx.iter().zip(&dx16).all(|(wide, narrow)| crate::half::f32_to_bf16(*wide) == *narrow));

    let operands = [Values::Bf16(&grad16), Values::Bf16(&x16)];
    linear_weight_grad(operands, sizes, ValuesMut::F32(&mut dw), true, Precision::Bf16).unwrap();
    for (index, got) in dw.into_iter().enumerate() {
        let (o, i) = (index / 9, index % 9);
        let want: f32 = (0..7).map(|row| grad[row * 5 + o] * x[row * 9 + i]).sum();
        assert_eq!(got, want + 1.0);
        assert_eq!(dx[i], (0..5).map(|o| grad[o] * w[o * 9 + i]).sum::<f32>());
    }
}
