use super::*;

fn view(words: &[u32], offset: usize) -> Layout<1> {
    Layout::parse(words).unwrap().at([offset])
}

#[test]
fn views_become_dense() {
    let x: Vec<i32> = (0..6).collect();
    let gathered = |words: &[u32], offset| {
        let view = view(words, offset);
        let mut y = vec![0; view.numel()];
        gather_view(&x, &view, &mut y).unwrap();
        y
    };
    assert_eq!(gathered(&[2, 3, 2, 1, 3], 0), [0, 3, 1, 4, 2, 5]);
    assert_eq!(gathered(&[2, 2, 2, 3, 1], 1), [1, 2, 4, 5]);
    assert_eq!(gathered(&[2, 2, 3, 0, 1], 3), [3, 4, 5, 3, 4, 5]);
    assert_eq!(gathered(&[2, 3, 2, 1, 0], 0), [0, 0, 1, 1, 2, 2]);
    assert_eq!(gathered(&[3, 2, 2, 1, 1, 3, 9], 1), [1, 4, 2, 5]);
    assert!(gather_view(&x, &view(&[2, 2, 3, 3, 1], 1), &mut [0; 6]).is_err());
    assert!(gather_view(&x, &view(&[1, 3, 1], 0), &mut [0; 2]).is_err());
}

#[test]
fn the_adjoint_adds_where_the_view_read() {
    let mut dst = [1.0f32; 6];
    scatter_add(&mut dst, &[10.0, 20.0, 30.0, 40.0], &view(&[2, 2, 2, 3, 1], 1)).unwrap();
    assert_eq!(dst, [1.0, 11.0, 21.0, 1.0, 31.0, 41.0]);
    let mut dst = [0.0f32; 2];
    scatter_add(&mut dst, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &view(&[2, 3, 2, 0, 1], 0)).unwrap();
    assert_eq!(dst, [9.0, 12.0]);
    scatter_set(&mut dst, &[7.0, 8.0], &view(&[1, 2, 0], 1)).unwrap();
    assert_eq!(dst, [9.0, 8.0]);
    assert!(scatter_add(&mut dst, &[1.0], &view(&[1, 2, 1], 0)).is_err());
    assert!(scatter_set(&mut dst, &[1.0, 2.0], &view(&[1, 2, 1], 1)).is_err());
}

#[test]
fn every_order_of_dims_is_read_right() {
    let dims = [5usize, 34, 3, 40];
    let strides = [34 * 3 * 40, 3 * 40, 40, 1usize];
    let x: Vec<u16> = (0..5 * 34 * 3 * 40).map(|i| i as u16).collect();
    for order in [[3, 1, 2, 0], [0, 3, 2, 1], [1, 3, 0, 2], [2, 3, 1, 0], [3, 2, 1, 0], [2, 0, 1, 3], [0, 2, 3, 1]] {
        let (extents, steps) = (order.map(|dim| dims[dim]), order.map(|dim| strides[dim]));
        let view = Layout::new(&extents, [&steps], [0]).unwrap();
        let mut y = vec![0; x.len()];
        gather_view(&x, &view, &mut y).unwrap();
        let mut want = Vec::new();
        for i in 0..extents[0] {
            for j in 0..extents[1] {
                for k in 0..extents[2] {
                    want.extend((0..extents[3]).map(|l| x[i * steps[0] + j * steps[1] + k * steps[2] + l * steps[3]]));
                }
            }
        }
        assert_eq!(y, want, "{order:?}");
    }
}

#[test]
fn a_large_permutation_and_its_inverse_meet() {
    let x: Vec<f32> = (0..300 * 500).map(|i| i as f32).collect();
    for threads in [1, 2, 3, 7] {
        pool::set_threads(threads);
        let transposed = view(&[2, 500, 300, 1, 500], 0);
        let mut y = vec![0.0; x.len()];
        gather_view(&x, &transposed, &mut y).unwrap();
        assert_eq!((y[1], y[300]), (500.0, 1.0));
        let mut back = vec![0.0; x.len()];
        scatter_add(&mut back, &y, &transposed).unwrap();
        assert_eq!(back, x);
    }
}

#[test]
fn bf16_is_scattered_with_one_rounding_a_sum() {
    use crate::stored::rounding::{bits, random};
    let ((dst16, mut dst), (src16, src)) = (random(24, 1), random(12, 2));
    let view = Layout::parse(&[2, 3, 4, 8, 2]).unwrap();
    let mut got = dst16;
    scatter_add(&mut got, &src16, &view).unwrap();
    scatter_add(&mut dst, &src, &view).unwrap();
    assert_eq!(got, bits(&dst));
}
