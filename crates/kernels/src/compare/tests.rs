use super::*;

#[test]
fn comparisons_give_ones_and_nan_equals_nothing() {
    let (a, b) = ([1.0f32, 2.0, 3.0, f32::NAN], [2.0f32, 2.0, 2.0, f32::NAN]);
    let want = [[0, 1, 0, 0], [1, 0, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 0]];
    for (code, want) in want.into_iter().enumerate() {
        let mut c = [9; 4];
        compare(code as u32, &a, &b, &Layout::dense(4), &mut c).unwrap();
        assert_eq!(c, want, "op {code}");
    }
    assert!(compare(6, &a, &b, &Layout::dense(4), &mut [0; 4]).is_err());
}

#[test]
fn integers_compare_against_a_broadcast_value() {
    let mut c = [9; 3];
    compare(5, &[1i64, 5, -5], &[2i64], &Layout::parse(&[1, 3, 1, 0]).unwrap(), &mut c).unwrap();
    assert_eq!(c, [0, 1, 0]);
}
