//! Matrix products, as cuBLASLt is asked for them.

use crate::machine::{Machine, head};
use device::ops::product;
use kernels::gemm::Precision::{Bf16, F32};
use kernels::linear::Sizes;
use kernels::matmul::Layout;
use storage::DType;

const ONE: Layout = Layout { batch: 1, m: 3, n: 5, k: 4, a_batch_stride: 0, b_batch_stride: 0, trans_a: false, trans_b: false };

/// Names of what was launched beside products.
fn names(machine: &Machine) -> Vec<String> {
    machine.launches().iter().map(|line| head(line).split(' ').nth(1).unwrap().to_owned()).collect()
}

fn run(machine: &Machine, [a, b]: [DType; 2], precision: kernels::gemm::Precision) -> (Vec<String>, DType) {
    let (a, b) = (machine.tensor(a, 12), machine.tensor(b, 20));
    machine.on.prepare_products().unwrap();
    machine.forget();
    let mut dtype = DType::U8;
    machine.expect_no_leak(|| dtype = product::matmul(&machine.on, [&a, &b], &ONE, precision).unwrap().dtype());
    (names(machine), dtype)
}

#[test]
fn factors_are_multiplied_in_one_type_and_rounded_once() {
    let machine = Machine::new();
    let (single, brain) = (DType::F32, DType::BF16);
    assert_eq!(run(&machine, [single, single], F32), (vec![], single));
    assert_eq!(run(&machine, [brain, brain], Bf16), (vec![], brain));
    let cast = |count: usize| vec!["cast".to_owned(); count];
    // f32 multiplied as bf16: both are rounded, the result is f32 all the same.
    assert_eq!(run(&machine, [single, single], Bf16), (cast(2), single));
    assert_eq!(run(&machine, [single, brain], F32), (cast(1), single));
    // Widened, multiplied as f32, and rounded at the end.
    assert_eq!(run(&machine, [brain, single], F32), (cast(2), brain));
    assert_eq!(machine.on.stats().unwrap().products, 5);
}

#[test]
fn products_are_told_their_sizes_and_what_they_add_to() {
    let machine = Machine::new();
    let layout = Layout { batch: 2, a_batch_stride: 12, trans_a: true, ..ONE };
    let (a, b, c) = (machine.tensor(DType::F32, 24), machine.tensor(DType::F32, 20), machine.tensor(DType::F32, 30));
    product::matmul_into(&machine.on, &c, [&a, &b], &layout, (true, F32)).unwrap();
    let asked: Vec<String> = machine.products().into_iter().filter(|line| line.starts_with("matmul")).collect();
    // The library's columns are our rows: its A is our b, its B our a.
    let sizes = "A 5x4/5 t0 x2 by 0 B 3x4/3 t0 x2 by 12 D 5x3/5 t0 x2 by 15";
    assert_eq!(
        asked,
        [format!("matmul NT compute 68 scale 0 {sizes} epilogue 1 aux/0 alpha 1 beta 1 algorithm 0 workspace 0 in stream 1")]
    );
    let refused = product::matmul_into(&machine.on, &c.alias(0, 29).unwrap(), [&a, &b], &layout, (true, F32)).unwrap_err();
    assert!(refused.contains("the result has 29 values"), "{refused}");
    let short = product::matmul_into(&machine.on, &c, [&a.alias(0, 20).unwrap(), &b], &layout, (false, F32)).unwrap_err();
    assert!(short.contains("the left factor has 20 elements where 24 are needed"), "{short}");
}

#[test]
fn sums_into_16_bits_are_rounded_once() {
    let machine = Machine::new();
    let (a, b) = (machine.tensor(DType::F32, 12), machine.tensor(DType::F32, 20));
    let c = machine.tensor(DType::BF16, 15);
    machine.on.prepare_products().unwrap();
    for (accumulate, casts) in [(false, 1), (true, 2)] {
        machine.forget();
        machine.expect_no_leak(|| product::matmul_into(&machine.on, &c, [&a, &b], &ONE, (accumulate, F32)).unwrap());
        assert_eq!(names(&machine), vec!["cast"; casts]);
    }
}

#[test]
fn a_product_without_an_inner_dimension_is_zero_or_adds_nothing() {
    let machine = Machine::new();
    let (empty, c) = (machine.tensor(DType::F32, 0), machine.tensor(DType::F32, 15));
    let layout = Layout { k: 0, ..ONE };
    machine.forget();
    product::matmul_into(&machine.on, &c, [&empty, &empty], &layout, (false, F32)).unwrap();
    assert_eq!(machine.log_of(&["fill"]), ["fill 60 with 0 in stream 1"]);
    machine.forget();
    product::matmul_into(&machine.on, &c, [&empty, &empty], &layout, (true, F32)).unwrap();
    assert!(machine.log_of(&["fill", "launch"]).is_empty() && machine.on.stats().unwrap().products == 0);
}

#[test]
fn a_layer_adds_its_bias_in_the_product_where_the_library_does() {
    let machine = Machine::new();
    let whole = Sizes { rows: 3, input: 16, output: 8 };
    let of = |types, bias| layer(&machine, types, bias, whole);
    let (single, brain) = (DType::F32, DType::BF16);
    assert!(of([single, single], None).is_empty());
    assert!(of([single, single], Some(single)).is_empty());
    assert!(of([brain, brain], Some(brain)).is_empty());
    // A bias of f32 beside bf16 is added before the result is rounded.
    assert_eq!(of([brain, brain], Some(single)), ["bias_add", "cast"]);
    assert_eq!(of([single, single], Some(brain)), ["cast", "bias_add"]);
    assert_eq!(of([brain, single], Some(brain)), ["cast", "cast", "bias_add", "cast"]);
    // Rows that are no multiple of 16 bytes.
    let odd = Sizes { rows: 3, input: 16, output: 5 };
    assert_eq!(layer(&machine, [single, single], Some(single), odd), ["bias_add"]);
    assert_eq!(layer(&machine, [brain, brain], Some(brain), odd), ["cast", "bias_add", "cast"]);
    let (x, w, bias) = (machine.tensor(DType::F32, 0), machine.tensor(DType::F32, 0), Some(machine.tensor(DType::F32, 8)));
    machine.forget();
    let nothing = Sizes { input: 0, ..whole };
    machine.expect_no_leak(|| product::linear(&machine.on, (&x, &w, &bias), nothing, F32).unwrap());
    assert_eq!(names(&machine), ["bias_add"]);
    let refused = product::linear(&machine.on, (&x, &w, &bias), Sizes { output: 7, ..nothing }, F32).unwrap_err();
    assert!(refused.contains("bias has 8 values"), "{refused}");
}

/// What is launched beside the product of a layer with these types of x, w and bias.
fn layer(machine: &Machine, [x, w]: [DType; 2], bias: Option<DType>, sizes: Sizes) -> Vec<String> {
    let Sizes { rows, input, output } = sizes;
    let (x, w) = (machine.tensor(x, rows * input), machine.tensor(w, output * input));
    let bias = bias.map(|dtype| machine.tensor(dtype, output));
    machine.on.prepare_products().unwrap();
    machine.forget();
    let precision = if x.dtype() == DType::BF16 && w.dtype() == DType::BF16 { Bf16 } else { F32 };
    let mut dtype = DType::U8;
    machine.expect_no_leak(|| dtype = product::linear(&machine.on, (&x, &w, &bias), sizes, precision).unwrap().dtype());
    assert_eq!(dtype, x.dtype());
    names(machine)
}
