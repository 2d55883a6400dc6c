use super::*;

const EXTENTS: Extents = Extents { outer: 2, dim_x: 3, dim_index: 2, inner: 2 };

#[test]
fn elements_are_gathered_along_the_dim() {
    let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let index = [2, 0, 0, 1, 1, 1, 2, 0];
    let mut y = [0.0; 8];
    gather(&x, &index, EXTENTS, &mut y).unwrap();
    assert_eq!(y, [4.0, 1.0, 0.0, 3.0, 8.0, 9.0, 10.0, 7.0]);
}

#[test]
fn the_adjoint_adds_every_use() {
    let mut dst = [0.0f64; 12];
    gather_add(&mut dst, &[2, 2, 2, 1, 0, 0, 0, 0], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], EXTENTS).unwrap();
    assert_eq!(dst, [0.0, 0.0, 0.0, 4.0, 4.0, 2.0, 12.0, 14.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn an_index_outside_is_named() {
    let x = [0.0f32; 12];
    let message = gather(&x, &[0, 0, 0, 3, 0, -1, 0, 0], EXTENTS, &mut [0.0; 8]).unwrap_err();
    assert_eq!(message, "gather: index 3 at position 3 is outside a dim of 3. Pass indices from 0 to below that size.");
    assert!(gather(&x[1..], &[0; 8], EXTENTS, &mut [0.0; 8]).is_err());
    assert!(Extents::parse(&[1, 2, 3]).is_err());
}

#[test]
fn long_gathers_have_the_same_bits_with_any_threads() {
    let extents = Extents { outer: 3, dim_x: 10, dim_index: 1000, inner: 40 };
    let index: Vec<i32> = (0..120_000).map(|i| i * 31 % 10).collect();
    let src: Vec<f32> = (0..120_000).map(|i| (i as f32).sin()).collect();
    let results = [1, 2, 3, 7].map(|threads| {
        pool::set_threads(threads);
        let mut dst = vec![0.0f32; 1200];
        gather_add(&mut dst, &index, &src, extents).unwrap();
        dst.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    });
    assert!(results.iter().all(|dst| *dst == results[0]));
}

#[test]
fn long_gathers_name_the_right_elements_along_any_dim() {
    for (outer, dim_x, dim_index, inner) in [(700, 11, 130, 1), (3, 500, 40_000, 1), (9, 7, 500, 13), (1, 40, 3, 30_011)] {
        let extents = Extents { outer, dim_x, dim_index, inner };
        let x: Vec<i32> = (0..(outer * dim_x * inner) as i32).collect();
        let index: Vec<i32> = (0..outer * dim_index * inner).map(|i| (i * 31 % 1009 % dim_x) as i32).collect();
        let mut y = vec![0; index.len()];
        gather(&x, &index, extents, &mut y).unwrap();
        for (position, y) in y.into_iter().enumerate() {
            let (outer, column) = (position / (dim_index * inner), position % inner);
            assert_eq!(y, x[(outer * dim_x + index[position] as usize) * inner + column], "position {position} of {dim_index} x {inner}");
        }
        let mut uses = vec![0; x.len()];
        gather_add(&mut uses, &index, &vec![1; index.len()], extents).unwrap();
        let mut want = vec![0; x.len()];
        for (position, index) in index.iter().enumerate() {
            want[(position / (dim_index * inner) * dim_x + *index as usize) * inner + position % inner] += 1;
        }
        assert_eq!(uses, want, "{dim_index} x {inner}");
    }
}
