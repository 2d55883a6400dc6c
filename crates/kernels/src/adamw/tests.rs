use super::*;

fn hyper(step: i32, decoupled: bool) -> Hyper {
    let corrections = [1.0 - 0.9f64.powi(step), 1.0 - 0.95f64.powi(step)];
    let values = [0.01, 0.9, 0.95, 1e-8, 0.1, corrections[0] as f32, corrections[1] as f32, 0.5, f32::from(u8::from(decoupled))];
    Hyper::read(&values).unwrap()
}

fn one(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], hyper: Hyper) -> Result<(), String> {
    adamw(vec![Run { p, g, m, v, model: None, hyper }])
}

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104729) % 1999) as f32 / 1000.0 - 1.0).collect()
}

#[test]
fn three_steps_follow_the_formula_in_both_forms() {
    for decoupled in [true, false] {
        let (mut p, g, mut m, mut v) = (values(101, 1), values(101, 2), vec![0.0; 101], vec![0.0; 101]);
        let mut want: Vec<[f64; 3]> = p.iter().map(|p| [f64::from(*p), 0.0, 0.0]).collect();
        for step in 1..=3 {
            one(&mut p, &g, &mut m, &mut v, hyper(step, decoupled)).unwrap();
            for (i, [p, m, v]) in want.iter_mut().enumerate() {
                let g = f64::from(g[i]) * 0.5 + if decoupled { 0.0 } else { 0.1 * *p };
                *p *= if decoupled { 1.0 - 0.01 * 0.1 } else { 1.0 };
                *m = 0.9 * *m + 0.1 * g;
                *v = 0.95 * *v + 0.05 * g * g;
                let [bc1, bc2] = [1.0 - 0.9f64.powi(step), 1.0 - 0.95f64.powi(step)];
                *p -= 0.01 / bc1 * *m / (v.sqrt() / bc2.sqrt() + 1e-8);
            }
        }
        for (i, [want_p, want_m, want_v]) in want.into_iter().enumerate() {
            let close = |got: f32, want: f64| (f64::from(got) - want).abs() < 1e-6 * (1.0 + want.abs());
            assert!(close(p[i], want_p) && close(m[i], want_m) && close(v[i], want_v), "element {i}: {}, not {want_p}", p[i]);
        }
    }
}

#[test]
fn bits_depend_on_neither_threads_nor_offset() {
    let len = 100_003;
    let (p, g, m, v) = (values(len, 1), values(len, 2), values(len, 3), values(len, 4).iter().map(|v| v.abs()).collect::<Vec<_>>());
    let run = |threads: usize, from: usize| {
        pool::set_threads(threads);
        let (mut p, mut m, mut v) = (p[from..].to_vec(), m[from..].to_vec(), v[from..].to_vec());
        one(&mut p, &g[from..], &mut m, &mut v, hyper(5, true)).unwrap();
        (p, m, v)
    };
    let whole = run(1, 0);
    assert!([2, 3, 7].into_iter().all(|threads| run(threads, 0) == whole));
    let late = run(2, 7);
    assert!(late.0 == whole.0[7..] && late.1 == whole.1[7..] && late.2 == whole.2[7..]);
}

#[test]
fn nan_gradients_are_seen_and_wrong_lengths_are_refused() {
    let (mut p, mut m, mut v) = ([1.0, 1.0], [0.0, 0.0], [0.0, 0.0]);
    one(&mut p, &[f32::NAN, 0.0], &mut m, &mut v, hyper(1, true)).unwrap();
    assert!(p[0].is_nan() && p[1].is_finite());
    assert!(one(&mut p, &[0.0], &mut m, &mut v, hyper(1, true)).unwrap_err().contains("g has 1 values"));
    one(&mut [], &[], &mut [], &mut [], hyper(1, true)).unwrap();
    adamw(Vec::new()).unwrap();
    assert!(Hyper::read(&[0.0; 8]).unwrap_err().contains("8 values, not 9"));
}

#[test]
fn many_runs_at_once_have_the_bits_of_one_after_the_other() {
    let lens = [0, 3, CHUNK, CHUNK + 1, 0, 40_000, 7];
    let data = |seed: usize| -> Vec<Vec<f32>> { lens.iter().map(|len| values(*len, seed + len)).collect() };
    let hypers: Vec<Hyper> = (0..lens.len()).map(|i| hyper(i as i32 + 1, i % 2 == 0)).collect();
    let g = data(2);
    let (mut p, mut m, mut v) = (data(1), data(3), data(4));
    v.iter_mut().flatten().for_each(|v| *v = v.abs());
    let (mut want_p, mut want_m, mut want_v) = (p.clone(), m.clone(), v.clone());
    for i in 0..lens.len() {
        one(&mut want_p[i], &g[i], &mut want_m[i], &mut want_v[i], hypers[i]).unwrap();
    }
    let parts = p.iter_mut().zip(&g).zip(m.iter_mut().zip(&mut v)).zip(&hypers);
    adamw(parts.map(|(((p, g), (m, v)), hyper)| Run { p, g, m, v, model: None, hyper: *hyper }).collect()).unwrap();
    assert!(p == want_p && m == want_m && v == want_v);
}

#[test]
fn the_model_of_bf16_gets_the_main_weights_rounded_and_they_keep_their_bits() {
    let len = 70_001;
    for decoupled in [true, false] {
        let (g, v) = (values(len, 2), values(len, 3).iter().map(|v| v.abs()).collect::<Vec<_>>());
        let state = || (values(len, 1), values(len, 4), v.clone());
        let ((mut p, mut m, mut v), (mut main, mut main_m, mut main_v)) = (state(), state());
        let mut model = vec![0u16; len];
        one(&mut p, &g, &mut m, &mut v, hyper(3, decoupled)).unwrap();
        let run = Run { p: &mut main, g: &g, m: &mut main_m, v: &mut main_v, model: Some(&mut model), hyper: hyper(3, decoupled) };
        adamw(vec![run]).unwrap();
        assert!(main == p && main_m == m && main_v == v && model == crate::stored::rounding::bits(&p));
    }
    let [mut p, mut m, mut v] = [[0.0f32; 2]; 3];
    let run = Run { p: &mut p, g: &[0.0; 2], m: &mut m, v: &mut v, model: Some(&mut [0; 3]), hyper: hyper(1, true) };
    assert!(adamw(vec![run]).unwrap_err().contains("the model's weights has 3 values"));
}
