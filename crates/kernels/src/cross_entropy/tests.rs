use super::*;
use crate::stored::rounding::{bits, random};

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 1999) as f32 / 100.0 - 10.0).collect()
}

/// Columns all of which are tokens.
fn shard_of(start: usize, rows: usize, held: usize) -> Shard {
    Shard { start, rows, cols: held, held }
}

/// Plain rows.
fn plain<'a>(shard: Shard, max: &'a [f32], targets: &'a [i32]) -> Rows<'a> {
    Rows { shard, terms: Terms::PLAIN, max, targets }
}

/// Rows with all statistics.
fn smoothed<'a>(shard: Shard, max: &'a [f32], targets: &'a [i32]) -> Rows<'a> {
    Rows { terms: Terms::new(0.1, 5000.0, 0.0, None).unwrap(), ..plain(shard, max, targets) }
}

/// What is divided among ranks.
struct Whole<'a> {
    logits: &'a [f32],
    targets: &'a [i32],
    grad: &'a [f32],
    vocabulary: usize,
    terms: Terms,
}

impl Whole<'_> {
    /// Runs `[rows, vocabulary]` over `ranks` shards, each padded by `padding` columns, as the ranks would; returns the losses and
    /// the gradient of the logits.
    fn divided(&self, ranks: usize, padding: usize) -> (Vec<f32>, Vec<f32>) {
        let Whole { logits, targets, grad, vocabulary, terms } = *self;
        let (rows, held) = (targets.len(), vocabulary / ranks);
        let cols = held + padding;
        let shard = |rank: usize| Shard { start: rank * held, rows, cols, held };
        let of = |rank: usize, x: usize| (x % cols < held).then(|| x / cols * vocabulary + rank * held + x % cols);
        // What pads the memory is never read.
        let part = |rank: usize| -> Vec<f32> { (0..rows * cols).map(|x| of(rank, x).map_or(f32::NAN, |at| logits[at])).collect() };
        let mut max = vec![f32::NEG_INFINITY; rows];
        for rank in 0..ranks {
            let mut own = vec![0.0; rows];
            row_max(&part(rank), shard(rank), &mut own).unwrap();
            max.iter_mut().zip(own).for_each(|(max, own)| *max = max.max(own));
        }
        let of_rank = |rank: usize| Rows { shard: shard(rank), terms, max: &max, targets };
        let count = terms.statistics() * rows;
        let (mut exps, mut total) = (Vec::new(), vec![0.0; count]);
        for rank in 0..ranks {
            let (mut exp, mut stats) = (vec![0.0; rows * cols], vec![0.0; count]);
            exp_sum(&part(rank), of_rank(rank), &mut exp, &mut stats).unwrap();
            total.iter_mut().zip(stats).for_each(|(total, own)| *total += own);
            exps.push(exp);
        }
        let mut own_losses = vec![0.0; rows];
        losses(of_rank(0), &total, &mut own_losses).unwrap();
        let mut d_logits = vec![0.0; rows * vocabulary];
        for (rank, mut exp) in exps.into_iter().enumerate() {
            backward(&mut exp, of_rank(rank), &total, grad).unwrap();
            for (x, value) in exp.into_iter().enumerate() {
                match of(rank, x) {
                    Some(at) => d_logits[at] = value,
                    None => assert_eq!(value, 0.0, "what pads the memory has no gradient"),
                }
            }
        }
        (own_losses, d_logits)
    }
}

#[test]
fn losses_and_gradients_match_the_formula_on_any_number_of_ranks() {
    let (rows, vocabulary) = (13, 180);
    let (logits, grad) = (values(rows * vocabulary), values(rows));
    let targets: Vec<i32> = (0..rows as i32).map(|i| i * 14 % 180).collect();
    for (smoothing, z, ignored) in [(0.0, 0.0, None), (0.1, 0.0, Some(28)), (0.0, 0.01, None), (0.3, 1e-3, Some(-100)), (1.0, 0.0, None)] {
        let terms = Terms::new(smoothing, vocabulary as f64, z, ignored).unwrap();
        for (ranks, padding) in [(1, 0), (2, 3), (5, 0), (3, 1)] {
            let case = Whole { logits: &logits, targets: &targets, grad: &grad, vocabulary, terms };
            let (losses, d_logits) = case.divided(ranks, padding);
            for i in 0..rows {
                let row: Vec<f64> = logits[i * vocabulary..(i + 1) * vocabulary].iter().map(|x| f64::from(*x)).collect();
                let counts = if ignored == Some(targets[i]) { 0.0 } else { 1.0 };
                let sum: f64 = row.iter().map(|x| x.exp()).sum();
                let mean = row.iter().sum::<f64>() / vocabulary as f64;
                let likely = (1.0 - smoothing) * row[targets[i] as usize] + smoothing * mean;
                let want = counts * (sum.ln() - likely + z * sum.ln() * sum.ln());
                assert!((f64::from(losses[i]) - want).abs() < 2e-5, "{terms:?}, {ranks} ranks, row {i}: {}, not {want}", losses[i]);
                for (j, x) in row.iter().enumerate() {
                    let hot = if j == targets[i] as usize { 1.0 - smoothing } else { 0.0 };
                    let slope = 1.0 + 2.0 * z * sum.ln();
                    let want = counts * (x.exp() / sum * slope - hot - smoothing / vocabulary as f64) * f64::from(grad[i]);
                    assert!((f64::from(d_logits[i * vocabulary + j]) - want).abs() < 1e-5, "{terms:?}, {ranks} ranks, [{i}, {j}]");
                }
            }
        }
    }
}

#[test]
fn what_is_ignored_has_zeros_whatever_its_logits_are() {
    let (logits, targets, grad) = ([f32::NAN, 1.0, 2.0, f32::INFINITY, 1.0, 0.0], [-100, -100], [1.0, f32::NAN]);
    let terms = Terms::new(0.1, 3.0, 1e-4, Some(-100)).unwrap();
    let case = Whole { logits: &logits, targets: &targets, grad: &grad, vocabulary: 3, terms };
    assert_eq!(case.divided(1, 2), (vec![0.0; 2], vec![0.0; 6]));
}

#[test]
fn terms_that_make_no_loss_are_refused() {
    for (smoothing, vocabulary, z) in [(-0.1, 3.0, 0.0), (1.1, 3.0, 0.0), (0.1, 0.0, 0.0), (0.1, 3.0, -1.0), (f64::NAN, 3.0, 0.0)] {
        assert!(Terms::new(smoothing, vocabulary, z, None).unwrap_err().contains("make no loss"));
    }
    let shard = Shard { start: 0, rows: 1, cols: 2, held: 3 };
    assert!(row_max(&[1.0, 2.0], shard, &mut [0.0]).unwrap_err().contains("3 of 2 columns are tokens"));
}

#[test]
fn in_place_the_bits_are_the_same() {
    let shard = shard_of(100, 7, 2311);
    let logits = values(shard.rows * shard.cols);
    let targets: Vec<i32> = (0..shard.rows as i32).map(|i| 90 + 5 * i).collect();
    let mut max = vec![0.0; shard.rows];
    row_max(&logits, shard, &mut max).unwrap();
    let (mut exp, mut stats) = (vec![0.0; logits.len()], vec![0.0; 3 * shard.rows]);
    exp_sum(&logits, smoothed(shard, &max, &targets), &mut exp, &mut stats).unwrap();
    let (mut own, mut own_stats) = (logits, vec![0.0; 3 * shard.rows]);
    exp_sum_in_place(&mut own, smoothed(shard, &max, &targets), &mut own_stats).unwrap();
    assert!(own == exp && own_stats == stats);
}

#[test]
fn sums_alone_have_the_bits_of_those_beside_exponentials() {
    let shard = shard_of(100, 7, 2311);
    let (logits16, logits) = random(shard.rows * shard.cols, 3);
    let targets: Vec<i32> = (0..shard.rows as i32).map(|i| 90 + 5 * i).collect();
    let mut max = vec![0.0; shard.rows];
    row_max(&logits, shard, &mut max).unwrap();
    let (mut exp, mut beside) = (vec![0f32; logits.len()], vec![0.0; 3 * shard.rows]);
    exp_sum(&logits, smoothed(shard, &max, &targets), &mut exp, &mut beside).unwrap();
    let (mut exp_of_bf16, mut stats) = (vec![0f32; logits.len()], vec![0.0; 3 * shard.rows]);
    exp_sum(&logits16, smoothed(shard, &max, &targets), &mut exp_of_bf16, &mut stats).unwrap();
    assert!(exp_of_bf16 == exp && stats == beside);
    let [mut alone, mut alone16] = [(); 2].map(|()| vec![0.0; 3 * shard.rows]);
    sums(&logits, smoothed(shard, &max, &targets), &mut alone).unwrap();
    sums(&logits16, smoothed(shard, &max, &targets), &mut alone16).unwrap();
    assert!(alone == beside && alone16 == beside);
    assert!(sums(&logits[1..], smoothed(shard, &max, &targets), &mut alone).is_err());
}

#[test]
fn sums_over_a_whole_vocabulary_stay_exact() {
    let cols = 50304;
    let (mut exp, mut stats) = (vec![0.0; cols], [0.0; 2]);
    exp_sum(&vec![-0.1f32; cols], plain(shard_of(0, 1, cols), &[0.0], &[3]), &mut exp, &mut stats).unwrap();
    // Equal terms are the worst case: one f32 sum would be off by about a thousandth.
    let want = f64::from(-0.1f32).exp() * cols as f64;
    assert!((f64::from(stats[0]) / want - 1.0).abs() < 1e-6);
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let (rows, vocabulary) = (50, 2000);
    let (logits, grad) = (values(rows * vocabulary), values(rows));
    let targets: Vec<i32> = (0..rows as i32).collect();
    let terms = Terms::new(0.1, vocabulary as f64, 1e-4, Some(7)).unwrap();
    let run = |threads| {
        pool::set_threads(threads);
        Whole { logits: &logits, targets: &targets, grad: &grad, vocabulary, terms }.divided(2, 0)
    };
    let one = run(1);
    assert!([2, 3, 7].into_iter().all(|threads| run(threads) == one));
}

#[test]
fn foreign_targets_empty_shards_and_nan() {
    let shard = shard_of(5, 2, 2);
    let (mut exp, mut stats) = ([0.0; 4], [9.0; 4]);
    exp_sum(&[1.0, 2.0, f32::NAN, 0.0], plain(shard, &[2.0, 0.0], &[-100, 4]), &mut exp, &mut stats).unwrap();
    assert!(stats[1].is_nan() && stats[2..] == [0.0, 0.0] && exp[1] == 1.0);
    let mut max = [0.0];
    row_max::<f32>(&[], shard_of(0, 1, 0), &mut max).unwrap();
    assert_eq!(max, [f32::NEG_INFINITY]);
    row_max::<f32>(&[], shard_of(0, 0, 4), &mut []).unwrap();
    assert!(backward(&mut exp, plain(shard, &[0.0; 2], &[0]), &stats, &[1.0; 2]).unwrap_err().contains("targets has 1 values"));
}

#[test]
fn bf16_logits_have_the_f32_statistics_and_their_exponentials_and_gradients_are_rounded() {
    let shard = shard_of(100, 5, 2311);
    let (logits16, logits) = random(shard.rows * shard.cols, 1);
    let (targets, grad) = ([100, 99, 2410, 1000, 2411], [1.0, -0.5, 2.0, 0.25, 1.0]);
    let [mut max, mut max16] = [(); 2].map(|()| vec![0.0; shard.rows]);
    row_max(&logits, shard, &mut max).unwrap();
    row_max(&logits16, shard, &mut max16).unwrap();
    let (mut exp, mut exp16, mut own) = (logits.clone(), logits16.clone(), logits16.clone());
    let [mut stats, mut stats16, mut own_stats] = [(); 3].map(|()| vec![0.0; 2 * shard.rows]);
    exp_sum(&logits, plain(shard, &max, &targets), &mut exp, &mut stats).unwrap();
    exp_sum(&logits16, plain(shard, &max, &targets), &mut exp16, &mut stats16).unwrap();
    exp_sum_in_place(&mut own, plain(shard, &max, &targets), &mut own_stats).unwrap();
    assert!(max16 == max && stats16 == stats && own_stats == stats && exp16 == bits(&exp) && own == exp16);
    // The gradient is that of the exponentials as they were kept.
    let mut kept = crate::stored::rounding::widened(&exp16);
    backward(&mut kept, plain(shard, &max, &targets), &stats, &grad).unwrap();
    backward(&mut exp16, plain(shard, &max, &targets), &stats, &grad).unwrap();
    assert_eq!(exp16, bits(&kept));
}
