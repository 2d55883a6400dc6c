use super::cpu::{ln_of_fraction, sin_cos_of_turn};
use super::*;

const UNIFORM: Distribution = Distribution::Uniform { from: 0.0, to: 1.0 };
const NORMAL: Distribution = Distribution::Normal { mean: 0.0, std: 1.0 };

/// Consecutive elements from global index `first` on.
fn drawn(distribution: Distribution, first: usize, len: usize, key: [u32; 2]) -> Vec<f32> {
    let span = Span::new(DType::F32, len).unwrap();
    fill_random(&span, distribution, &Layout::dense(len).at([0, first]), key).unwrap();
    span.f32s().unwrap().to_vec()
}

#[test]
fn the_generator_gives_the_known_answers_of_its_authors() {
    let philox = |counter: [u32; 4], key| super::cpu::philox(counter.map(|word| [word]), key).map(|[word]| word);
    let all = u32::MAX;
    assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(philox([all; 4], [all; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
    assert_eq!(philox(pi, [0xa409_3822, 0x299f_31d0]), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
}

#[test]
fn an_element_depends_on_the_key_and_its_global_index_only() {
    for distribution in [UNIFORM, NORMAL] {
        pool::set_threads(1);
        let whole = drawn(distribution, 0, 100_000, [7, 9]);
        for threads in [2, 3, 7] {
            pool::set_threads(threads);
            assert_eq!(drawn(distribution, 0, 100_000, [7, 9]), whole);
        }
        assert_eq!(drawn(distribution, 33_333, 50, [7, 9]), whole[33_333..33_383]);
        assert_ne!(drawn(distribution, 0, 50, [8, 9]), whole[..50]);
        // Columns 2..5 of a [1000, 100] tensor, stored transposed.
        let shard = Span::new(DType::F32, 3000).unwrap();
        let places = Layout::new(&[1000, 3], [&[1, 1000], &[100, 1]], [0, 2]).unwrap();
        fill_random(&shard, distribution, &places, [7, 9]).unwrap();
        let got = shard.f32s().unwrap();
        assert!((0..3000).all(|i| got[i] == whole[i % 1000 * 100 + 2 + i / 1000]));
    }
}

#[test]
fn uniform_values_fill_their_interval_evenly() {
    let x = drawn(Distribution::Uniform { from: -2.0, to: 6.0 }, 0, 200_000, [1, 2]);
    assert!(x.iter().all(|x| (-2.0..6.0).contains(x)));
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / 2e5;
    assert!((mean - 2.0).abs() < 0.03, "{mean}");
    let below = x.iter().filter(|&&x| x < 0.0).count();
    assert!((49_000..51_000).contains(&below), "{below}");
    assert_eq!(below_f32(1.0 - 1e-10, UNIFORM), 1f32.next_down());
}

#[test]
fn normal_values_have_their_mean_and_deviation() {
    let x = drawn(Distribution::Normal { mean: 3.0, std: 2.0 }, 1 << 33, 200_000, [3, 4]);
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / 2e5;
    let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / 2e5;
    assert!((mean - 3.0).abs() < 0.03 && (variance - 4.0).abs() < 0.08, "{mean} {variance}");
    let beyond = x.iter().filter(|&&x| (x - 3.0).abs() > 4.0).count() as f64 / 2e5;
    assert!((beyond - 0.0455).abs() < 0.003, "{beyond}");
}

#[test]
fn other_types_hold_the_rounded_values_and_integers_are_refused() {
    let (half, wide) = (Span::new(DType::BF16, 64).unwrap(), Span::new(DType::F64, 64).unwrap());
    fill_random(&half, NORMAL, &Layout::dense(64), [5, 6]).unwrap();
    fill_random(&wide, NORMAL, &Layout::dense(64), [5, 6]).unwrap();
    let single = drawn(NORMAL, 0, 64, [5, 6]);
    assert!(half.slice::<u16>().unwrap().iter().zip(&single).all(|(&half, &x)| half == f32_to_bf16(x)));
    assert!(wide.slice::<f64>().unwrap().iter().zip(&single).all(|(&wide, &x)| wide as f32 == x));
    assert!(fill_random(&Span::new(DType::I32, 4).unwrap(), UNIFORM, &Layout::dense(4), [0, 0]).is_err());
    assert!(fill_random(&half, UNIFORM, &Layout::dense(65), [0, 0]).is_err());
    let overlapping = Layout::new(&[2, 4], [&[0, 1], &[4, 1]], [0, 0]).unwrap();
    assert!(fill_random(&wide, UNIFORM, &overlapping, [0, 0]).is_err());
}

#[test]
fn logarithm_and_angle_are_close_to_the_true_ones() {
    for i in 0..100_000u32 {
        let u = (f64::from(i.wrapping_mul(2_654_435_761)) + 0.5) / 4_294_967_296.0;
        let (ln, [sin, cos]) = (libm::log(u), sin_cos_of_turn(u));
        assert!((ln_of_fraction(u) - ln).abs() <= 4e-16 * (1.0 + ln.abs()), "ln {u}");
        let (want_sin, want_cos) = libm::sincos(std::f64::consts::TAU * u);
        assert!((sin - want_sin).abs() < 2e-15 && (cos - want_cos).abs() < 2e-15, "angle {u}");
    }
    assert_eq!(ln_of_fraction(0.5f64.powi(33)), -33.0 * std::f64::consts::LN_2);
}
