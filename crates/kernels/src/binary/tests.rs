use super::*;

fn dense<T: Float>(code: u32, a: &[T], b: &[T]) -> Vec<T> {
    let mut c = a.to_vec();
    binary(code, a, b, &Layout::dense(a.len()), &mut c).unwrap();
    c
}

#[test]
fn values_are_those_of_the_expressions() {
    let (a, b) = ([6.0f32, -2.0, 0.5], [3.0f32, 2.0, 2.0]);
    let want =
        [[9.0, 0.0, 2.5], [3.0, -4.0, -1.5], [18.0, -4.0, 1.0], [2.0, -1.0, 0.25], [216.0, 4.0, 0.25], [6.0, 2.0, 2.0], [3.0, -2.0, 0.5]];
    for (code, want) in want.into_iter().enumerate() {
        assert_eq!(dense(code as u32, &a, &b), want, "op {code}");
        assert_eq!(dense(code as u32, &a.map(f64::from), &b.map(f64::from)), want.map(f64::from), "op {code} in f64");
    }
}

#[test]
fn maximum_and_minimum_carry_nan_from_either_side() {
    for code in [5, 6] {
        let c = dense(code, &[f32::NAN, 1.0, f32::NAN, 1.0], &[1.0, f32::NAN, f32::NAN, 1.0]);
        assert_eq!(c.into_iter().map(f32::is_nan).collect::<Vec<_>>(), [true, true, true, false]);
    }
}

#[test]
fn operands_are_broadcast_and_permuted_by_their_strides() {
    // [2, 3] + [3] repeated over rows, and a [3, 2] read transposed.
    let layout = Layout::parse(&[2, 2, 3, 3, 1, 0, 1]).unwrap();
    let mut c = [0.0f32; 6];
    binary(0, &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[10f32, 20.0, 30.0], &layout, &mut c).unwrap();
    assert_eq!(c, [11.0, 22.0, 33.0, 14.0, 25.0, 36.0]);
    let layout = Layout::parse(&[2, 2, 3, 1, 2, 3, 1]).unwrap();
    binary(1, &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[0f32, 0.0, 0.0, 1.0, 1.0, 1.0], &layout, &mut c).unwrap();
    assert_eq!(c, [1.0, 3.0, 5.0, 1.0, 3.0, 5.0]);
}

#[test]
fn integers_wrap_and_have_no_quotient() {
    let mut c = [0i32; 2];
    binary_number(0, &[i32::MAX, 1], &[1, 2], &Layout::dense(2), &mut c).unwrap();
    assert_eq!(c, [i32::MIN, 3]);
    assert!(binary_number(3, &[1i64], &[1i64], &Layout::dense(1), &mut [0i64]).unwrap_err().contains("Cast the tensors to f32"));
    assert!(binary(7, &[1f32], &[1f32], &Layout::dense(1), &mut [0f32]).is_err());
}

#[test]
fn long_broadcasts_have_the_same_bits_with_any_threads() {
    let a: Vec<f32> = (0..300 * 401).map(|i| (i as f32).sin()).collect();
    let layout = Layout::parse(&[2, 300, 401, 401, 1, 1, 0]).unwrap();
    let results: Vec<Vec<f32>> = [1, 2, 3, 7]
        .map(|threads| {
            pool::set_threads(threads);
            let mut c = vec![0.0; a.len()];
            binary(3, &a, &a[..300], &layout, &mut c).unwrap();
            c
        })
        .into();
    assert!(results.iter().all(|c| c.iter().zip(&results[0]).all(|(x, y)| x.to_bits() == y.to_bits())));
    assert_eq!(results[0][2 * 401 + 5], a[2 * 401 + 5] / a[2]);
}

#[test]
fn lengths_and_strides_that_leave_a_tensor_are_refused() {
    assert!(binary(0, &[1f32, 2.0], &[1f32], &Layout::dense(2), &mut [0f32; 2]).is_err());
    assert!(binary(0, &[1f32, 2.0], &[1f32, 2.0], &Layout::dense(2), &mut [0f32; 3]).is_err());
}

#[test]
fn bf16_operands_are_computed_in_f32_beside_bf16_or_f32() {
    let ((a16, a), (b16, b)) = (crate::stored::rounding::random(600, 1), crate::stored::rounding::random(600, 2));
    for code in [0, 1, 2, 3, 5, 6] {
        let layout = Layout::dense(600);
        let (mut c, mut c16, mut mixed) = (vec![0.0; 600], vec![0u16; 600], vec![0u16; 600]);
        binary(code, &a, &b, &layout, &mut c).unwrap();
        binary(code, &a16, &b16, &layout, &mut c16).unwrap();
        binary(code, &a16, &b, &layout, &mut mixed).unwrap();
        let want = crate::stored::rounding::bits(&c);
        assert!(c16 == want && mixed == want, "code {code}");
    }
    // A number beside a tensor keeps its own bits.
    let layout = Layout::new(&[600], [&[1], &[0]], [0, 0]).unwrap();
    let mut c16 = vec![0u16; 600];
    binary(2, &a16, &[0.1f32], &layout, &mut c16).unwrap();
    assert_eq!(c16, crate::stored::rounding::bits(&a.iter().map(|a| a * 0.1).collect::<Vec<_>>()));
}
