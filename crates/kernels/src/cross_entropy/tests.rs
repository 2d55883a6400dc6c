use super::*;
use crate::stored::rounding::{bits, random};

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 1999) as f32 / 100.0 - 10.0).collect()
}

/// Runs `[rows, vocabulary]` over `ranks` shards as the ranks would; returns the losses and the gradient of the logits.
fn divided(logits: &[f32], targets: &[i32], grad: &[f32], vocabulary: usize, ranks: usize) -> (Vec<f32>, Vec<f32>) {
    let (rows, cols) = (targets.len(), vocabulary / ranks);
    let shard = |rank: usize| Shard { start: rank * cols, rows, cols };
    let part = |rank: usize| -> Vec<f32> { (0..rows * cols).map(|x| logits[x / cols * vocabulary + rank * cols + x % cols]).collect() };
    let mut max = vec![f32::NEG_INFINITY; rows];
    for rank in 0..ranks {
        let mut own = vec![0.0; rows];
        row_max(&part(rank), shard(rank), &mut own).unwrap();
        max.iter_mut().zip(own).for_each(|(max, own)| *max = max.max(own));
    }
    let (mut exps, mut total) = (Vec::new(), vec![0.0; 2 * rows]);
    for rank in 0..ranks {
        let (mut exp, mut stats) = (vec![0.0; rows * cols], vec![0.0; 2 * rows]);
        exp_sum(&part(rank), &max, targets, shard(rank), &mut exp, &mut stats).unwrap();
        total.iter_mut().zip(stats).for_each(|(total, own)| *total += own);
        exps.push(exp);
    }
    let losses = (0..rows).map(|i| total[i].ln() - total[rows + i]).collect();
    let mut d_logits = vec![0.0; rows * vocabulary];
    for (rank, mut exp) in exps.into_iter().enumerate() {
        backward(&mut exp, &total, targets, shard(rank), grad).unwrap();
        for (x, value) in exp.into_iter().enumerate() {
            d_logits[x / cols * vocabulary + rank * cols + x % cols] = value;
        }
    }
    (losses, d_logits)
}

#[test]
fn losses_and_gradients_match_the_formula_on_any_number_of_ranks() {
    let (rows, vocabulary) = (13, 180);
    let (logits, grad) = (values(rows * vocabulary), values(rows));
    let targets: Vec<i32> = (0..rows as i32).map(|i| i * 14 % 180).collect();
    for ranks in [1, 2, 5] {
        let (losses, d_logits) = divided(&logits, &targets, &grad, vocabulary, ranks);
        for i in 0..rows {
            let row = &logits[i * vocabulary..(i + 1) * vocabulary];
            let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            let want = sum.ln() - f64::from(row[targets[i] as usize]);
            assert!((f64::from(losses[i]) - want).abs() < 1e-5, "{ranks} ranks, row {i}: {}, not {want}", losses[i]);
            for (j, x) in row.iter().enumerate() {
                let hot = if j == targets[i] as usize { 1.0 } else { 0.0 };
                let want = (f64::from(*x).exp() / sum - hot) * f64::from(grad[i]);
                assert!((f64::from(d_logits[i * vocabulary + j]) - want).abs() < 1e-5, "{ranks} ranks, [{i}, {j}]");
            }
        }
    }
}

#[test]
fn in_place_the_bits_are_the_same() {
    let shard = Shard { start: 100, rows: 7, cols: 2311 };
    let logits = values(shard.rows * shard.cols);
    let targets: Vec<i32> = (0..shard.rows as i32).map(|i| 90 + 5 * i).collect();
    let mut max = vec![0.0; shard.rows];
    row_max(&logits, shard, &mut max).unwrap();
    let (mut exp, mut stats) = (vec![0.0; logits.len()], vec![0.0; 2 * shard.rows]);
    exp_sum(&logits, &max, &targets, shard, &mut exp, &mut stats).unwrap();
    let (mut own, mut own_stats) = (logits, vec![0.0; 2 * shard.rows]);
    exp_sum_in_place(&mut own, &max, &targets, shard, &mut own_stats).unwrap();
    assert!(own == exp && own_stats == stats);
}

#[test]
fn sums_alone_have_the_bits_of_those_beside_exponentials() {
    let shard = Shard { start: 100, rows: 7, cols: 2311 };
    let (logits16, logits) = random(shard.rows * shard.cols, 3);
    let targets: Vec<i32> = (0..shard.rows as i32).map(|i| 90 + 5 * i).collect();
    let mut max = vec![0.0; shard.rows];
    row_max(&logits, shard, &mut max).unwrap();
    let (mut exp, mut beside) = (vec![0f32; logits.len()], vec![0.0; 2 * shard.rows]);
    exp_sum(&logits, &max, &targets, shard, &mut exp, &mut beside).unwrap();
    let (mut exp_of_bf16, mut stats) = (vec![0f32; logits.len()], vec![0.0; 2 * shard.rows]);
    exp_sum(&logits16, &max, &targets, shard, &mut exp_of_bf16, &mut stats).unwrap();
    assert!(exp_of_bf16 == exp && stats == beside);
    let [mut alone, mut alone16] = [(); 2].map(|()| vec![0.0; 2 * shard.rows]);
    sums(&logits, &max, &targets, shard, &mut alone).unwrap();
    sums(&logits16, &max, &targets, shard, &mut alone16).unwrap();
    assert!(alone == beside && alone16 == beside);
    assert!(sums(&logits[1..], &max, &targets, shard, &mut alone).is_err());
}

#[test]
fn sums_over_a_whole_vocabulary_stay_exact() {
    let cols = 50304;
    let (mut exp, mut stats) = (vec![0.0; cols], [0.0; 2]);
    exp_sum(&vec![-0.1f32; cols], &[0.0], &[3], Shard { start: 0, rows: 1, cols }, &mut exp, &mut stats).unwrap();
    // Equal terms are the worst case: one f32 sum would be off by about a thousandth.
    let want = f64::from(-0.1f32).exp() * cols as f64;
    assert!((f64::from(stats[0]) / want - 1.0).abs() < 1e-6);
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let (rows, vocabulary) = (50, 2000);
    let (logits, grad) = (values(rows * vocabulary), values(rows));
    let targets: Vec<i32> = (0..rows as i32).collect();
    let run = |threads| {
        pool::set_threads(threads);
        divided(&logits, &targets, &grad, vocabulary, 2)
    };
    let one = run(1);
    assert!([2, 3, 7].into_iter().all(|threads| run(threads) == one));
}

#[test]
fn foreign_targets_empty_shards_and_nan() {
    let shard = Shard { start: 5, rows: 2, cols: 2 };
    let (mut exp, mut stats) = ([0.0; 4], [9.0; 4]);
    exp_sum(&[1.0, 2.0, f32::NAN, 0.0], &[2.0, 0.0], &[-100, 4], shard, &mut exp, &mut stats).unwrap();
    assert!(stats[1].is_nan() && stats[2..] == [0.0, 0.0] && exp[1] == 1.0);
    let mut max = [0.0];
    row_max::<f32>(&[], Shard { start: 0, rows: 1, cols: 0 }, &mut max).unwrap();
    assert_eq!(max, [f32::NEG_INFINITY]);
    row_max::<f32>(&[], Shard { start: 0, rows: 0, cols: 4 }, &mut []).unwrap();
    assert!(backward(&mut exp, &stats, &[0], shard, &[1.0; 2]).unwrap_err().contains("targets has 1 values"));
}

#[test]
fn bf16_logits_have_the_f32_statistics_and_their_exponentials_and_gradients_are_rounded() {
    let shard = Shard { start: 100, rows: 5, cols: 2311 };
    let (logits16, logits) = random(shard.rows * shard.cols, 1);
    let (targets, grad) = ([100, 99, 2410, 1000, 2411], [1.0, -0.5, 2.0, 0.25, 1.0]);
    let [mut max, mut max16] = [(); 2].map(|()| vec![0.0; shard.rows]);
    row_max(&logits, shard, &mut max).unwrap();
    row_max(&logits16, shard, &mut max16).unwrap();
    let (mut exp, mut exp16, mut own) = (logits.clone(), logits16.clone(), logits16.clone());
    let [mut stats, mut stats16, mut own_stats] = [(); 3].map(|()| vec![0.0; 2 * shard.rows]);
    exp_sum(&logits, &max, &targets, shard, &mut exp, &mut stats).unwrap();
    exp_sum(&logits16, &max, &targets, shard, &mut exp16, &mut stats16).unwrap();
    exp_sum_in_place(&mut own, &max, &targets, shard, &mut own_stats).unwrap();
    assert!(max16 == max && stats16 == stats && own_stats == stats && exp16 == bits(&exp) && own == exp16);
    // The gradient is that of the exponentials as they were kept.
    let mut kept = crate::stored::rounding::widened(&exp16);
    backward(&mut kept, &stats, &targets, shard, &grad).unwrap();
    backward(&mut exp16, &stats, &targets, shard, &grad).unwrap();
    assert_eq!(exp16, bits(&kept));
}
