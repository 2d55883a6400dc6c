//! Losses, the optimizer, and what looks at gradients.

use crate::machine::{Machine, arguments, head};
use device::ops::cross_entropy::{Rows, backward, exp_sum, exp_sum_in_place, losses, row_max, sums};
use device::ops::{adamw, first_outside, non_finite, sum_squares};
use kernels::cross_entropy::{Shard, Terms};
use storage::DType;

fn names(machine: &Machine) -> Vec<String> {
    machine.launches().iter().map(|line| head(line).split(' ').nth(1).unwrap().to_owned()).collect()
}

const SHARD: Shard = Shard { start: 100, rows: 6, cols: 50, held: 45 };

#[test]
fn the_pieces_of_a_loss_are_told_the_shard_and_the_terms() {
    let machine = Machine::new();
    let (logits, max) = (machine.tensor(DType::BF16, 300), machine.tensor(DType::F32, 6));
    let (targets, grad) = (machine.tensor(DType::I32, 6), machine.tensor(DType::F32, 6));
    let of = Rows { shard: SHARD, terms: Terms::new(0.5, 200.0, 0.25, Some(-100)).unwrap(), max: &max, targets: &targets };
    machine.forget();
    machine.expect_no_leak(|| row_max(&machine.on, &logits, SHARD).unwrap());
    assert_eq!(head(&machine.launches()[0]), "launch ce_row_max grid 6x1x1 block 32x1x1 shared 0 in stream 1");
    assert!(arguments(&machine.launches()[0]).starts_with("cols=50 held=45 logits=#2+0 max="));
    machine.forget();
    machine.expect_no_leak(|| exp_sum(&machine.on, &logits, of).unwrap());
    let told = "rows=6 cols=50 held=45 start=100 uniform=0.0025 logits=#2+0 max=#3+0 targets=#4+0";
    assert!(arguments(&machine.launches()[0]).starts_with(told));
    assert!(machine.log_of(&["allocate"])[1].contains("of 72 in"), "three statistics of six rows");
    machine.forget();
    machine.expect_no_leak(|| sums(&machine.on, &logits, of).unwrap());
    assert!(names(&machine) == ["ce_sums"] && arguments(&machine.launches()[0]).starts_with(told));
    let stats = machine.tensor(DType::F32, 18);
    machine.forget();
    machine.expect_no_leak(|| losses(&machine.on, of, &stats).unwrap());
    assert_eq!(head(&machine.launches()[0]), "launch ce_loss grid 1x1x1 block 256x1x1 shared 0 in stream 1");
    let ignored = -100i32 as u32;
    assert!(
        arguments(&machine.launches()[0]).starts_with(&format!("rows=6 hot=0.5 uniform=0.0025 z=0.25 is_ignoring=1 ignored={ignored} "))
    );
    let exp = machine.tensor(DType::F32, 300);
    machine.forget();
    machine.expect_no_leak(|| backward(&machine.on, &exp, of, [&stats, &grad]).unwrap());
    assert_eq!(head(&machine.launches()[0]), "launch ce_backward grid 6x1x1 block 32x1x1 shared 0 in stream 1");
    assert!(arguments(&machine.launches()[0]).starts_with("cols=50 held=45 start=100 hot=0.5 uniform=0.0025 z=0.25 is_ignoring=1"));
    let two = Rows { terms: Terms::PLAIN, ..of };
    assert!(losses(&machine.on, two, &stats).unwrap_err().contains("stats has 18 values"));
}

#[test]
fn exponentials_take_the_place_of_f32_and_go_round_for_16_bits() {
    let machine = Machine::new();
    let (max, targets, stats) = (machine.tensor(DType::F32, 6), machine.tensor(DType::I32, 6), machine.tensor(DType::F32, 12));
    let of = Rows { shard: SHARD, terms: Terms::PLAIN, max: &max, targets: &targets };
    for (dtype, kernels) in [(DType::F32, vec!["ce_exp_sum"]), (DType::BF16, vec!["ce_exp_sum", "cast"])] {
        let logits = machine.tensor(dtype, 300);
        machine.forget();
        machine.expect_no_leak(|| exp_sum_in_place(&machine.on, &logits, of, &stats).unwrap());
        assert_eq!(names(&machine), kernels);
    }
}

#[test]
fn a_step_of_adam_reads_its_numbers_on_the_device() {
    let machine = Machine::new();
    let [p, g, m, v] = [0; 4].map(|_| machine.tensor(DType::F32, 3000));
    let (hyper, model) = (machine.tensor(DType::F32, 9), Some(machine.tensor(DType::BF16, 3000)));
    machine.forget();
    let run = |model| adamw::Run { p: &p, g: &g, m: &m, v: &v, hyper: hyper.clone(), model };
    machine.expect_no_leak(|| adamw::adamw(&machine.on, run(&model)).unwrap());
    machine.expect_no_leak(|| adamw::adamw(&machine.on, run(&None)).unwrap());
    let lines = machine.launches();
    assert_eq!(head(&lines[0]), "launch adamw grid 2x1x1 block 256x1x1 shared 0 in stream 1");
    assert_eq!(arguments(&lines[0]), "length=3000 hyper=#6+0 g=#3+0 p=#2+0 m=#4+0 v=#5+0 model=#7+0");
    assert_eq!(head(&lines[1]), "launch adamw grid 3x1x1 block 256x1x1 shared 0 in stream 1");
    assert!(arguments(&lines[1]).ends_with("model=null"));
    assert_eq!(machine.on.stats().unwrap().reads, 0);
    let short = adamw::Run { hyper: hyper.alias(0, 8).unwrap(), ..run(&None) };
    assert!(adamw::adamw(&machine.on, short).unwrap_err().contains("hyper has 8 values"));
}

#[test]
fn a_global_norm_is_one_sum_over_all_tensors() {
    let machine = Machine::new();
    let tensors = [machine.tensor(DType::F32, 70_000), machine.tensor(DType::BF16, 5)];
    machine.forget();
    machine.expect_no_leak(|| assert_eq!(sum_squares::sum_squares(&machine.on, &tensors).unwrap().len(), 22));
    assert_eq!(names(&machine), ["sum_squares", "sum_squares", "sum_squares_carry"]);
    assert_eq!(machine.log_of(&["fill"]), ["fill 176 with 0 in stream 1"]);
    assert_eq!(head(&machine.launches()[0]), "launch sum_squares grid 5x1x1 block 256x1x1 shared 0 in stream 1");
    assert_eq!(head(&machine.launches()[2]), "launch sum_squares_carry grid 1x1x1 block 32x1x1 shared 0 in stream 1");
}

#[test]
fn the_count_of_what_is_not_finite_is_read() {
    let machine = Machine::new();
    let x = machine.tensor(DType::F16, 100);
    machine.forget();
    assert_eq!(non_finite::non_finite(&machine.on, &x).unwrap(), 0);
    assert_eq!((names(&machine), machine.on.stats().unwrap().reads), (vec!["non_finite".to_owned()], 1));
}

#[test]
fn tokens_outside_are_noted_and_those_that_count_for_nothing_are_not() {
    let machine = Machine::new();
    let tokens = machine.tensor(DType::I32, 40);
    machine.forget();
    machine.expect_no_leak(|| first_outside::first_outside(&machine.on, &tokens, 30, None).unwrap());
    assert_eq!(arguments(&machine.launches()[0]), "length=40 dim_x=30 index=#2+0 bad=#1+24");
    machine.forget();
    machine.expect_no_leak(|| first_outside::first_outside(&machine.on, &tokens, 30, Some(-100)).unwrap());
    assert_eq!(names(&machine), ["compare", "select", "gather_check"]);
    assert!(first_outside::first_outside(&machine.on, &machine.tensor(DType::F32, 4), 30, None).is_err());
}
