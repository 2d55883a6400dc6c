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
