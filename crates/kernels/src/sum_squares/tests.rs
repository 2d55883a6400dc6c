use super::*;

/// Values of many magnitudes that look random and are the same every time.
fn values(len: usize) -> Vec<f32> {
    let mut state = 12345u64;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let bits = (state >> 33) as u32 | ((state >> 20) as u32 & 0x8000_0000);
            let x = f32::from_bits(bits);
            if x.is_finite() { x } else { 1.0 }
        })
        .collect()
}

fn exact(tensors: &[&[f32]]) -> [i64; LIMBS] {
    sum_squares(&tensors.iter().map(|x| Values::F32(x)).collect::<Vec<_>>())
}

fn resolved(tensors: &[&[f32]]) -> f64 {
    resolve_sum(&exact(tensors)).unwrap()
}

#[test]
fn small_sums_are_exact() {
    assert_eq!(resolved(&[&[3.0, 4.0]]), 25.0);
    assert_eq!(resolved(&[]), 0.0);
    assert_eq!(resolved(&[&[-0.0, 0.0]]), 0.0);
    let least = f32::from_bits(1);
    assert_eq!(resolved(&[&[least, least, least]]), 3.0 * f64::from(least) * f64::from(least));
    assert_eq!(resolved(&[&[f32::MAX]]), f64::from(f32::MAX) * f64::from(f32::MAX));
    assert_eq!(resolved(&[&[f32::MIN_POSITIVE]]), f64::from(f32::MIN_POSITIVE).powi(2));
    // 2^60 + 1 + 1 is exact only when nothing is rounded on the way; f64 rounds the result once.
    assert_eq!(resolved(&[&[2f32.powi(30), 1.0], &[1.0]]), 2f64.powi(60));
    // Neighbours of 2^54 are 4 apart: a tie goes to the even one, and the smallest excess decides it.
    let tie = [2f32.powi(27), 2.0, 2.0, 1.0, 1.0];
    assert_eq!(resolved(&[&tie]), 2f64.powi(54) + 8.0);
    assert_eq!(resolved(&[&tie, &[2f32.powi(-100)]]), 2f64.powi(54) + 12.0);
}

#[test]
fn the_order_the_shards_and_the_threads_do_not_matter() {
    let x = values(700_001);
    pool::set_threads(1);
    let want = exact(&[&x]);
    let mut shuffled = x.clone();
    (0..x.len()).for_each(|i| shuffled.swap(i, (i * 7_368_787) % x.len()));
    for threads in [1, 2, 3, 7] {
        pool::set_threads(threads);
        assert_eq!(exact(&[&x]), want);
        assert_eq!(exact(&[&shuffled]), want);
        assert_eq!(exact(&[&x[..123_457], &x[123_457..], &[]]), want);
    }
    let shards: Vec<_> = x.chunks(99_991).map(|shard| exact(&[shard])).collect();
    let mut summed = [0i64; LIMBS];
    shards.iter().for_each(|shard| summed.iter_mut().zip(shard).for_each(|(sum, limb)| *sum += limb));
    assert_eq!(resolve_sum(&summed).unwrap().to_bits(), resolve_sum(&want).unwrap().to_bits());
    assert!(want.iter().all(|&limb| (0..1 << 32).contains(&limb)));
}

#[test]
fn the_limbs_of_many_ranks_may_be_added() {
    let one = exact(&[&[f32::MAX; 100]]);
    let ranks = 1i64 << 30;
    let summed = one.map(|limb| limb.checked_mul(ranks).unwrap());
    assert_eq!(resolve_sum(&summed).unwrap(), resolve_sum(&one).unwrap() * ranks as f64);
}

#[test]
fn an_ordinary_sum_is_the_f64_sum() {
    let x: Vec<f32> = (1..50_000).map(|i| (i % 4096) as f32 / 64.0).collect();
    assert_eq!(resolved(&[&x]), x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>());
}

#[test]
fn nan_and_infinity_pass_through() {
    assert!(resolved(&[&[1.0, f32::NAN], &[f32::INFINITY]]).is_nan());
    assert_eq!(resolved(&[&[1.0, f32::NEG_INFINITY]]), f64::INFINITY);
    assert!(resolve_sum(&[0; 3]).is_err());
}

#[test]
fn bf16_values_count_as_the_f32_that_they_stand_for() {
    let (bits, wide) = crate::stored::rounding::random(300_007, 1);
    assert_eq!(sum_squares(&[Values::Bf16(&bits), Values::F32(&[3.0])]), exact(&[&wide, &[3.0]]));
    assert!(resolve_sum(&sum_squares(&[Values::Bf16(&[0x7fc0])])).unwrap().is_nan());
    assert_eq!(resolve_sum(&sum_squares(&[Values::Bf16(&[0xff80])])).unwrap(), f64::INFINITY);
}

#[test]
fn elements_of_any_size_stand_beside_each_other() {
    // Alone, an element has no neighbours that it is scaled with.
    let one_by_one = |x: &[f32]| {
        let mut limbs = [0i64; LIMBS];
        x.iter().for_each(|x| limbs.iter_mut().zip(exact(&[&[*x]])).for_each(|(sum, limb)| *sum += limb));
        resolve_sum(&limbs).unwrap()
    };
    for (least, largest) in [(-149, -126), (-140, -99), (-20, 0), (-25, 0), (-26, 0), (-40, 10), (100, 127), (-149, 127)] {
        let span = (largest - least) as usize + 1;
        let x: Vec<f32> = (0..9001)
            .map(|i| {
                let fraction = 1.0 + ((i * 7919) % 8_388_608) as f64 / 8_388_608.0;
                (fraction * f64::from(least + (i * i % span) as i32).exp2() * if i % 3 == 0 { -1.0 } else { 1.0 }) as f32
            })
            .collect();
        assert_eq!(resolved(&[&x]), one_by_one(&x), "2^{least} to 2^{largest}");
        let ones = [f32::from_bits((((largest + 127).max(0) as u32) << 23) | 0x7f_ffff); 8192];
        let square = f64::from(ones[0]) * f64::from(ones[0]);
        assert_eq!(resolved(&[&ones]), square * 8192.0, "2^{largest}");
    }
}

#[test]
fn bf16_of_any_spread_are_added_as_exactly_as_f32() {
    for spread in [0, 1, 14, 15, 16, 17, 18, 24, 25, 26, 60, 200] {
        for largest in [-100, -20, 0, 127] {
            let wide: Vec<f32> = (0..9001i32)
                .map(|i| {
                    let fraction = 1.0 + f64::from(i * 37 % 128) / 128.0;
                    (fraction * f64::from(largest - (i * 31 % 997).min(spread)).exp2()) as f32
                })
                .collect();
            let bits = crate::stored::rounding::bits(&wide);
            let wide = crate::stored::rounding::widened(&bits);
            assert_eq!(sum_squares(&[Values::Bf16(&bits)]), exact(&[&wide]), "2^{largest} and {spread} places below");
        }
    }
    let largest = [0x7f7f; 8192];
    assert_eq!(sum_squares(&[Values::Bf16(&largest)]), exact(&[&crate::stored::rounding::widened(&largest)]));
}
