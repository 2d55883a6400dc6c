use super::*;
use crate::half::{bf16_to_f32, f32_to_bf16};

const SHAPE: Rotary = Rotary { seq: 7, batch: 3, heads: 4, key_heads: 2, head_dim: 10, rotated: 6, interleaved: false, back: false };

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104729) % 1999) as f32 / 1000.0 - 1.0).collect()
}

fn len(s: &Rotary) -> usize {
    s.shape().iter().product()
}

/// `[positions, rotated]` of the frequencies of RoFormer.
fn table(positions: usize, rotated: usize) -> Vec<f32> {
    let angle = |position: usize, i: usize| position as f64 * 10_000f64.powf(-2.0 * i as f64 / rotated as f64);
    let row = |position: usize| {
        let angles: Vec<f64> = (0..rotated / 2).map(|i| angle(position, i)).collect();
        angles.iter().map(|a| a.cos() as f32).chain(angles.iter().map(|a| a.sin() as f32)).collect::<Vec<_>>()
    };
    (0..positions).flat_map(row).collect()
}

/// Each pair as a complex number, by the table.
fn naive(x: &[f32], angles: &Angles, s: &Rotary) -> Vec<f32> {
    let (mut y, all) = (x.to_vec(), s.heads + 2 * s.key_heads);
    for (token, head, i) in
        (0..s.seq * s.batch * all * s.rotated / 2).map(|n| (n / (s.rotated / 2) / all, n / (s.rotated / 2) % all, n % (s.rotated / 2)))
    {
        if head >= s.heads + s.key_heads {
            continue;
        }
        let row = angles.positions.map_or(token / s.batch, |positions| positions[token] as usize) * s.rotated;
        let (c, sin) = (f64::from(angles.table[row + i]), f64::from(angles.table[row + s.rotated / 2 + i]));
        let sin = if s.back { -sin } else { sin };
        let at = (token * all + head) * s.head_dim;
        let [first, second] = if s.interleaved { [at + 2 * i, at + 2 * i + 1] } else { [at + i, at + i + s.rotated / 2] };
        let (a, b) = (f64::from(x[first]), f64::from(x[second]));
        (y[first], y[second]) = ((a * c - b * sin) as f32, (a * sin + b * c) as f32);
    }
    y
}

#[test]
fn heads_are_turned_by_the_formula_and_back() {
    let positions: Vec<i32> = (0..21).map(|token| token * 5 % 11).collect();
    for (interleaved, rotated, head_dim) in [(false, 6, 10), (true, 6, 10), (false, 64, 64), (true, 64, 64), (false, 2, 3), (true, 34, 70)]
    {
        let s = Rotary { interleaved, rotated, head_dim, ..SHAPE };
        let (x, table) = (values(len(&s), 1), table(11, rotated));
        for positions in [None, Some(&positions[..])] {
            let angles = Angles { table: &table, positions };
            let (mut y, mut again) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
            rotary(&x[..], &angles, &s, &mut y).unwrap();
            assert!(y.iter().zip(naive(&x, &angles, &s)).all(|(got, want)| (got - want).abs() < 3e-7), "{s:?}");
            rotary(&y[..], &angles, &Rotary { back: true, ..s }, &mut again).unwrap();
            assert!(again.iter().zip(&x).all(|(got, want)| (got - want).abs() < 5e-7), "{s:?}");
        }
    }
}

#[test]
fn bf16_is_the_f32_result_rounded_once() {
    for interleaved in [false, true] {
        let s = Rotary { interleaved, ..SHAPE };
        let (x16, table) = (values(len(&s), 1).into_iter().map(f32_to_bf16).collect::<Vec<_>>(), table(7, 6));
        let x: Vec<f32> = x16.iter().map(|x| bf16_to_f32(*x)).collect();
        let angles = Angles { table: &table, positions: None };
        let (mut y, mut y16) = (vec![0.0; x.len()], vec![0; x.len()]);
        rotary(&x[..], &angles, &s, &mut y).unwrap();
        rotary(&x16[..], &angles, &s, &mut y16).unwrap();
        assert!(y.into_iter().map(f32_to_bf16).eq(y16));
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let s = Rotary { seq: 500, head_dim: 64, rotated: 64, ..SHAPE };
    let (x, table) = (values(len(&s), 1), table(500, 64));
    let at = |threads| {
        pool::set_threads(threads);
        let mut y = vec![0.0; x.len()];
        rotary(&x[..], &Angles { table: &table, positions: None }, &s, &mut y).unwrap();
        y
    };
    let one = at(1);
    assert!([2, 3, 7].into_iter().all(|threads| at(threads) == one));
}

#[test]
fn empty_sizes_are_fine_and_what_does_not_fit_is_refused() {
    let table = table(7, 6);
    let run = |s: Rotary, table: &[f32], positions: Option<&[i32]>| {
        let x = vec![0.0; s.shape().iter().product()];
        rotary(&x, &Angles { table, positions }, &s, &mut vec![0.0; x.len()])
    };
    run(Rotary { seq: 0, ..SHAPE }, &table, None).unwrap();
    run(Rotary { batch: 0, ..SHAPE }, &table, Some(&[])).unwrap();
    let error = |s: Rotary, table: &[f32], positions: Option<&[i32]>| run(s, table, positions).unwrap_err();
    assert_eq!(error(SHAPE, &table[..36], None), "rotary: 7 positions are more than the 6 of the table. Pass a longer table.");
    let mut positions = vec![6; 21];
    run(SHAPE, &table, Some(&positions)).unwrap();
    for outside in [7, -1] {
        positions[10] = outside;
        let want =
            format!("rotary: the position {outside} of token 3 of sample 1 is not in the table of 7 positions. Pass a longer table.");
        assert_eq!(error(SHAPE, &table, Some(&positions)), want);
    }
    assert!(error(SHAPE, &table, Some(&positions[..20])).contains("positions has 20 values"));
    assert!(error(SHAPE, &table[1..], None).contains("is not whole rows of 6"));
    for rotated in [0, 5, 12] {
        assert!(error(Rotary { rotated, ..SHAPE }, &table, None).contains("channels cannot be turned"));
    }
    let error = rotary(&[0.0; 3], &Angles { table: &table, positions: None }, &SHAPE, &mut []).unwrap_err();
    assert!(error.contains("x has 3 values"));
}
