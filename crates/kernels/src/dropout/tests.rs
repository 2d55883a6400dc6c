use super::*;
use crate::half::{bf16_to_f32, f32_to_bf16};
use crate::random::cpu::philox;

const KEY: [u32; 2] = [7, 9];

fn extents(seq: usize, batch: usize, cols: usize) -> Extents {
    Extents { seq, batch, cols, first_token: 0 }
}

fn drawn(p: f64) -> Dropout {
    Dropout::new(p, KEY, [0, 0]).unwrap()
}

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 1999) as f32 / 1000.0 - 1.0).collect()
}

fn factors(extents: Extents, dropout: &Dropout) -> Vec<f32> {
    let ones = vec![1.0; extents.seq * extents.batch * extents.cols];
    let mut y = ones.clone();
    super::dropout::<f32, f32>(Inputs { x: &ones, bias: None, residual: None }, extents, dropout, &mut y).unwrap();
    y
}

#[test]
fn an_element_is_drawn_by_sample_token_and_channel() {
    let (seq, batch, cols, p) = (5, 3, 70, 0.3);
    let got = factors(extents(seq, batch, cols), &drawn(p));
    for (i, factor) in got.iter().enumerate() {
        let (token, sample, channel) = (i / cols / batch, i / cols % batch, i % cols);
        let words = philox([channel as u32 / 4, token as u32, 0, sample as u32].map(|word| [word]), KEY);
        let is_dropped = f64::from(words[channel % 4][0]) < (p * 4_294_967_296.0).floor();
        assert_eq!(*factor, if is_dropped { 0.0 } else { (1.0 / (1.0 - p)) as f32 }, "element {i}");
    }
}

#[test]
fn a_part_of_the_tokens_or_samples_draws_what_the_whole_does() {
    let (seq, batch, cols) = (6, 4, 33);
    let whole = factors(extents(seq, batch, cols), &drawn(0.5));
    let tokens = factors(Extents { first_token: 2, ..extents(3, batch, cols) }, &drawn(0.5));
    assert_eq!(tokens, whole[2 * batch * cols..5 * batch * cols]);
    let samples = factors(extents(seq, 2, cols), &Dropout::new(0.5, KEY, [2, 0]).unwrap());
    let expected: Vec<f32> = whole.chunks_exact(batch * cols).flat_map(|token| &token[2 * cols..]).copied().collect();
    assert_eq!(samples, expected);
}

#[test]
fn the_share_that_is_kept_is_within_five_sigma() {
    for p in [0.01, 0.1, 0.5, 0.9] {
        let count = 400_000.0;
        let kept = factors(extents(100, 8, 500), &drawn(p)).iter().filter(|factor| **factor != 0.0).count() as f64;
        assert!((kept - count * (1.0 - p)).abs() < 5.0 * (count * p * (1.0 - p)).sqrt(), "{kept} of {count} at {p}");
    }
}

#[test]
fn what_is_there_is_added_in_its_order() {
    let (shape, dropout) = (extents(4, 2, 50), drawn(0.4));
    let (x, bias, residual, factors) = (values(400), values(50), values(900)[500..].to_vec(), factors(shape, &dropout));
    for (bias, residual) in [(None, None), (Some(&bias[..]), None), (None, Some(&residual[..])), (Some(&bias[..]), Some(&residual[..]))] {
        let mut y = vec![f32::NAN; 400];
        super::dropout(Inputs { x: &x, bias, residual }, shape, &dropout, &mut y).unwrap();
        for (i, y) in y.iter().enumerate() {
            let own = (x[i] + bias.map_or(0.0, |bias| bias[i % 50])) * factors[i];
            assert_eq!(*y, residual.map_or(own, |residual| residual[i] + own));
        }
    }
}

#[test]
fn bf16_is_the_f32_result_rounded_once() {
    let (shape, dropout) = (extents(5, 2, 37), drawn(0.2));
    let narrow = |values: &[f32]| -> Vec<u16> { values.iter().map(|value| f32_to_bf16(*value)).collect() };
    let wide = |values: &[u16]| -> Vec<f32> { values.iter().map(|value| bf16_to_f32(*value)).collect() };
    let (x, bias, residual) = (narrow(&values(370)), narrow(&values(37)), narrow(&values(740)[370..]));
    let (wide_x, wide_bias, wide_residual) = (wide(&x), wide(&bias), wide(&residual));
    let mut expected = vec![0.0; 370];
    let inputs = Inputs { x: &wide_x[..], bias: Some(&wide_bias[..]), residual: Some(&wide_residual[..]) };
    super::dropout(inputs, shape, &dropout, &mut expected).unwrap();
    let (mut y, mut mixed) = (vec![0u16; 370], vec![0u16; 370]);
    super::dropout(Inputs { x: &x[..], bias: Some(&bias[..]), residual: Some(&residual[..]) }, shape, &dropout, &mut y).unwrap();
    super::dropout(Inputs { x: &x[..], bias: Some(&wide_bias[..]), residual: Some(&residual[..]) }, shape, &dropout, &mut mixed).unwrap();
    assert!(y == narrow(&expected) && mixed == y);
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads_and_wrong_lengths_are_refused() {
    let (shape, dropout, x) = (extents(250, 3, 131), drawn(0.1), values(250 * 3 * 131));
    let run = |threads| {
        pool::set_threads(threads);
        let mut y = vec![0.0; x.len()];
        super::dropout(Inputs { x: &x, bias: Some(&x[..131]), residual: Some(&x) }, shape, &dropout, &mut y).unwrap();
        y
    };
    let one = run(1);
    assert!([2, 3, 7].into_iter().all(|threads| run(threads) == one));
    let short = Inputs { x: &x[..], bias: Some(&x[..3]), residual: None };
    let error = super::dropout(short, shape, &dropout, &mut vec![0.0; x.len()]).unwrap_err();
    assert!(error.contains("dropout: bias has 3 values"));
    super::dropout::<f32, f32>(Inputs { x: &[], bias: None, residual: None }, extents(3, 2, 0), &dropout, &mut []).unwrap();
    super::dropout::<f32, f32>(Inputs { x: &[], bias: None, residual: None }, extents(3, 0, 2), &dropout, &mut []).unwrap();
}
