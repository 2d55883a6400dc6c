use super::*;

fn reduced(code: u32, x: &[f32], words: &[u32]) -> Vec<f32> {
    let plan = Plan::parse(words).unwrap();
    let mut y = vec![0.0; plan.numel()];
    reduce(code, x, &plan, &mut y).unwrap();
    y
}

#[test]
fn dims_with_a_mask_are_reduced() {
    let x: Vec<f32> = (0..24).map(|i| i as f32).collect();
    assert_eq!(reduced(0, &x, &[3, 2, 3, 4, 0, 0, 1]), [6.0, 22.0, 38.0, 54.0, 70.0, 86.0]);
    assert_eq!(reduced(0, &x, &[3, 2, 3, 4, 0, 1, 0]), [12.0, 15.0, 18.0, 21.0, 48.0, 51.0, 54.0, 57.0]);
    assert_eq!(reduced(1, &x, &[3, 2, 3, 4, 1, 0, 0]), [6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0]);
    assert_eq!(reduced(0, &x, &[3, 2, 3, 4, 1, 0, 1]), [60.0, 92.0, 124.0]);
    assert_eq!(reduced(2, &x, &[3, 2, 3, 4, 1, 1, 0]), [20.0, 21.0, 22.0, 23.0]);
    assert_eq!(reduced(3, &x, &[3, 2, 3, 4, 0, 1, 1]), [0.0, 12.0]);
    assert_eq!(reduced(0, &x, &[3, 2, 3, 4, 1, 1, 1]), [276.0]);
    assert_eq!(reduced(0, &x, &[3, 2, 3, 4, 0, 0, 0]), x);
    assert_eq!(reduced(0, &[5.0], &[0]), [5.0]);
}

#[test]
fn nan_is_carried_and_empty_dims_are_told_apart() {
    for code in 0..4 {
        let x: Vec<f32> = (0..100).map(|i| if i == 40 { f32::NAN } else { i as f32 }).collect();
        assert!(reduced(code, &x, &[1, 100, 1])[0].is_nan(), "op {code}");
    }
    assert_eq!(reduced(0, &[], &[2, 0, 3, 1, 0]), [0.0; 3]);
    assert!(reduced(1, &[], &[1, 0, 1])[0].is_nan());
    assert!(reduce(2, &[0f32; 0], &Plan::parse(&[1, 0, 1]).unwrap(), &mut [0.0]).is_err());
    assert!(reduce(4, &[0f32], &Plan::parse(&[0]).unwrap(), &mut [0.0]).is_err());
    assert!(reduce(0, &[0f32; 3], &Plan::parse(&[1, 4, 1]).unwrap(), &mut [0.0]).is_err());
    assert!(Plan::parse(&[2, 3, 3, 1]).is_err());
}

#[test]
fn long_sums_are_nearly_exact_and_have_the_same_bits_with_any_threads() {
    let x: Vec<f32> = (0..1_000_000u64).map(|i| ((i * 7919) % 1000) as f32 * 1e-3 + 0.1).collect();
    let layouts: [&[u32]; 5] =
        [&[1, 1_000_000, 1], &[2, 1000, 1000, 1, 0], &[2, 1000, 1000, 0, 1], &[3, 10, 50_000, 2, 0, 1, 1], &[3, 10, 50_000, 2, 0, 1, 0]];
    for words in layouts {
        pool::set_threads(1);
        let want = reduced(0, &x, words);
        for threads in [2, 3, 7] {
            pool::set_threads(threads);
            let got = reduced(0, &x, words);
            assert!(got.iter().zip(&want).all(|(a, b)| a.to_bits() == b.to_bits()), "{words:?} with {threads} threads");
        }
    }
    let exact: f64 = x.iter().map(|&v| f64::from(v)).sum();
    assert_eq!(reduced(0, &x, &[1, 1_000_000, 1]), [exact as f32]);
}

#[test]
fn rows_do_not_depend_on_where_they_lie() {
    let x: Vec<f32> = (0..5000).map(|i| (i as f32).sin()).collect();
    let whole = reduced(0, &x, &[2, 50, 100, 0, 1]);
    let alone = reduced(0, &x[700..800], &[2, 1, 100, 0, 1]);
    assert_eq!(alone[0].to_bits(), whole[7].to_bits());
}

#[test]
fn bf16_is_reduced_unrounded_and_the_result_rounded() {
    let (x16, x) = crate::stored::rounding::random(60 * 700, 1);
    for (code, mask) in (0..4).flat_map(|code| [[0, 1], [1, 0], [1, 1]].map(|mask| (code, mask))) {
        let plan = Plan::parse(&[2, 60, 700, mask[0], mask[1]]).unwrap();
        let (mut y, mut y16) = (vec![0.0f32; plan.numel()], vec![0u16; plan.numel()]);
        reduce(code, &x, &plan, &mut y).unwrap();
        reduce(code, &x16, &plan, &mut y16).unwrap();
        assert_eq!(y16, crate::stored::rounding::bits(&y), "code {code}, mask {mask:?}");
    }
}

#[test]
fn four_elements_beyond_the_range_of_f32_are_added_one_by_one() {
    let big = 3e38f32;
    let row = |i: usize| [big, big, -big, -big][i / 16 % 4] + if i == 70 { 1.0 } else { 0.0 };
    let rows: Vec<f32> = (0..3 * 80).map(|i| if i / 80 == 1 { row(i % 80) } else { (i % 7) as f32 }).collect();
    let sum = |i: usize| rows[i * 80..][..80].iter().map(|x| f64::from(*x)).sum::<f64>() as f32;
    assert_eq!(reduced(0, &rows, &[2, 3, 80, 0, 1]), [sum(0), sum(1), sum(2)]);
    assert_eq!(reduced(1, &[big; 100], &[1, 100, 1]), [big]);
    // The column beside one that overflows has the bits that it has alone.
    let columns: Vec<f32> =
        (0..9 * 2).map(|i| if i % 2 == 0 { [big, big, big, -big, -big, -big][i / 2 % 6] } else { 0.1 * i as f32 }).collect();
    let alone: Vec<f32> = columns.iter().copied().skip(1).step_by(2).collect();
    let sums = reduced(0, &columns, &[2, 9, 2, 1, 0]);
    assert_eq!(sums[0], f32::INFINITY);
    assert_eq!(sums[1].to_bits(), reduced(0, &alone, &[2, 9, 1, 1, 0])[0].to_bits());
    assert_eq!(reduced(0, &columns[..12], &[2, 6, 2, 1, 0])[0], 0.0);
    assert!(reduced(0, &[f32::INFINITY, 1.0, 2.0, f32::NEG_INFINITY].repeat(20), &[1, 80, 1])[0].is_nan());
}

#[test]
fn extremes_of_runs_of_any_length_carry_nan_from_any_place() {
    for length in [1, 63, 64, 65, 200] {
        let x: Vec<f32> = (0..length).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
        let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let smallest = x.iter().copied().fold(f32::INFINITY, f32::min);
        let words = [1, length as u32, 1];
        assert_eq!((reduced(2, &x, &words), reduced(3, &x, &words)), (vec![largest], vec![smallest]));
        for place in 0..length {
            let mut x = x.clone();
            x[place] = f32::NAN;
            assert!(reduced(2, &x, &words)[0].is_nan() && reduced(3, &x, &words)[0].is_nan(), "{place} of {length}");
        }
    }
}
