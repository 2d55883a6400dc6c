//! Products as the fake cuBLASLt saw them: its descriptors for every transposition and epilogue, and what comes out of them.
#![cfg(target_os = "linux")]

mod fake;

use fake::{CUBLASLT, Folder, Machine, control, forget, log};
use megatron_cuda::{Blas, Block, Choice, Code, Environment, Epilogue, Error, Factor, Part, Precision, Product, Stream, Target, Toolkit};
use std::sync::Arc;
use storage::DType;

const ON: Stream = Stream::Compute;

/// Rows, columns and the inner dimension.
const SHAPE: (usize, usize, usize) = (3, 4, 2);

struct Bench {
    machine: Machine,
    blas: Blas,
}

impl Bench {
    fn new(words: &str, choice: Choice) -> Bench {
        let machine = Machine::new(words);
        let blas = Blas::open(&machine.device, ON, choice).unwrap();
        Bench { machine, blas }
    }

    fn tell(&self, words: &str) {
        control(&self.machine.folder.0.join(CUBLASLT), words);
    }

    /// The products that were run since the log was forgotten.
    fn products(&self) -> Vec<String> {
        log(&self.machine.folder.0.join(CUBLASLT)).into_iter().filter(|line| line.starts_with("matmul")).collect()
    }

    fn part(&self, dtype: DType, values: &[f32]) -> Part {
        let bytes: Vec<u8> = match dtype {
            DType::F64 => values.iter().flat_map(|&value| f64::from(value).to_le_bytes()).collect(),
            DType::BF16 => values.iter().flat_map(|value| value.to_le_bytes()[2..].to_vec()).collect(),
            DType::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            DType::F16 => values.iter().flat_map(|&value| half_of(value).to_le_bytes()).collect(),
            other => vec![0; values.len() * other.size()],
        };
        let block = Block::new(&self.machine.device, ON, bytes.len()).unwrap();
        block.write(ON, 0, &bytes).unwrap();
        Part::whole(&Arc::new(block), dtype)
    }

    fn filled(&self, dtype: DType, count: usize) -> Part {
        self.part(dtype, &numbers(count))
    }
}

/// Small, and all different: -2, -1, 0, 1, 2, -2.5 …
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|at| (at % 5) as f32 - 2.0 - (at / 5) as f32 * 0.5).collect()
}

fn values(part: &Part) -> Vec<f32> {
    let mut bytes = vec![0; part.block().len()];
    part.block().read(ON, 0, &mut bytes).unwrap();
    match part.dtype() {
        DType::F64 => bytes.chunks(8).map(|eight| f64::from_le_bytes(eight.try_into().unwrap()) as f32).collect(),
        DType::BF16 => bytes.chunks(2).map(|two| f32::from_le_bytes([0, 0, two[0], two[1]])).collect(),
        DType::F16 => bytes.chunks(2).map(|two| of_half(u16::from_le_bytes([two[0], two[1]]))).collect(),
        _ => bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect(),
    }
}

/// The bits of a normal number that f16 has, or of 0.
fn half_of(value: f32) -> u16 {
    let (bits, sign) = (value.abs().to_bits(), if value < 0.0 { 0x8000 } else { 0 });
    sign | if value == 0.0 { 0 } else { ((bits >> 13) - (112 << 10)) as u16 }
}

fn of_half(bits: u16) -> f32 {
    let magnitude = if bits & 0x7fff == 0 { 0 } else { (u32::from(bits & 0x7fff) << 13) + (112 << 23) };
    f32::from_bits(magnitude | u32::from(bits & 0x8000) << 16)
}

/// The product of two factors, either of which may be stored as its transpose.
fn expected(left: (&[f32], bool), right: (&[f32], bool), (rows, columns, inner): (usize, usize, usize)) -> Vec<f32> {
    let at = |(values, is_transposed): (&[f32], bool), row: usize, column: usize, (height, width): (usize, usize)| {
        if is_transposed { values[column * height + row] } else { values[row * width + column] }
    };
    let element = |row, column| (0..inner).map(|k| at(left, row, k, (rows, inner)) * at(right, k, column, (inner, columns))).sum();
    (0..rows * columns).map(|index| element(index / columns, index % columns)).collect()
}

fn close(have: &[f32], want: &[f32]) {
    assert_eq!(have.len(), want.len());
    assert!(have.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-4), "{have:?} is not {want:?}");
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044_715 * x * x * x)).tanh())
}

fn gelu_slope(x: f32) -> f32 {
    (gelu(x + 1e-2) - gelu(x - 1e-2)) / 2e-2
}

fn sentence<T>(result: Result<T, Error>) -> String {
    result.err().unwrap().message
}

#[test]
fn every_transposition_has_its_descriptors_and_its_product() {
    let bench = Bench::new("", Choice::First);
    let (rows, columns, inner) = SHAPE;
    let [a, b] = [bench.filled(DType::F32, rows * inner), bench.filled(DType::F32, inner * columns)];
    let operands = [
        ("NN", "A 4x2/4 t0 B 2x3/2 t0"),
        ("NT", "A 4x2/4 t0 B 3x2/3 t0"),
        ("TN", "A 2x4/2 t0 B 2x3/2 t0"),
        ("TT", "A 2x4/2 t0 B 3x2/3 t0"),
    ];
    for (which, (letters, layouts)) in operands.into_iter().enumerate() {
        let (turns_left, turns_right) = (which % 2 == 1, which / 2 == 1);
        let target = bench.filled(DType::F32, rows * columns);
        let factor = |part, is_transposed| Factor { is_transposed, ..Factor::of(part) };
        bench.blas.run(&Product::of(factor(&a, turns_left), factor(&b, turns_right), &target, SHAPE)).unwrap();
        assert_eq!(values(&target), expected((&values(&a), turns_left), (&values(&b), turns_right), SHAPE), "{letters}");
        // The library's A is the right factor: its columns are our rows.
        let rest = "D 4x3/4 t0 epilogue 1 aux/0 alpha 1 beta 0 algorithm 0 workspace 0 in stream 1";
        assert_eq!(bench.products()[which], format!("matmul {letters} compute 68 scale 0 {layouts} {rest}"));
    }
}

#[test]
fn products_of_f16_are_rounded_once_or_kept_in_f32() {
    let bench = Bench::new("", Choice::First);
    // 2048 + 1 + 1 is 2050, which f16 has; 2049, a partial sum, it has not.
    let (left, right) = (bench.part(DType::F16, &[2048.0, 1.0, 1.0, 0.5, 0.25, -3.0]), bench.part(DType::F16, &[1.0; 3]));
    let (narrow, wide) = (bench.part(DType::F16, &[7.0; 2]), bench.part(DType::F32, &[100.0; 2]));
    let product = |target| Product::of(Factor::of(&left), Factor::of(&right), target, (2, 1, 3));
    bench.blas.run(&product(&narrow)).unwrap();
    assert_eq!(values(&narrow), [2050.0, -2.25]);
    bench.blas.run(&Product { keep: 1.0, ..product(&wide) }).unwrap();
    assert_eq!(values(&wide), [2150.0, 97.75]);
    // 1025 times 2 and 3 more: 2053 lies between 2052 and 2054, and goes to the even one.
    let (left, right) = (bench.part(DType::F16, &[1025.0, 1.0]), bench.part(DType::F16, &[2.0, 3.0]));
    bench.blas.run(&Product::of(Factor::of(&left), Factor::of(&right), &narrow.alias(0, 1).unwrap(), (1, 1, 2))).unwrap();
    assert_eq!(values(&narrow)[0], 2052.0);
    assert!(bench.products().iter().all(|line| line.contains("compute 68 scale 0") && line.contains(" t2 B ")));
}

#[test]
fn a_weight_gradient_of_half_precision_is_added_to_a_target_of_f32_with_the_gradient_of_the_bias() {
    let bench = Bench::new("", Choice::First);
    // [tokens, out] and [tokens, in]: the gradient is [out, in].
    let (out, features, tokens) = (3, 4, 2);
    let (gradient, input) = (bench.filled(DType::BF16, tokens * out), bench.filled(DType::BF16, tokens * features));
    let (main, bias) = (bench.part(DType::F32, &[100.0; 12]), bench.part(DType::F32, &[0.0; 3]));
    let product = Product {
        keep: 1.0,
        scale: 0.5,
        epilogue: Epilogue::LeftSums(&bias),
        ..Product::of(Factor::transposed(&gradient), Factor::of(&input), &main, (out, features, tokens))
    };
    bench.blas.run(&product).unwrap();
    let plain = expected((&values(&gradient), true), (&values(&input), false), (out, features, tokens));
    assert_eq!(values(&main), plain.iter().map(|value| 100.0 + value / 2.0).collect::<Vec<_>>());
    let sums: Vec<f32> = (0..out).map(|column| (0..tokens).map(|row| values(&gradient)[row * out + column]).sum()).collect();
    assert_eq!(values(&bias), sums);
    let wanted = "matmul NT compute 68 scale 0 A 4x2/4 t14 B 3x2/3 t14 D 4x3/4 t0 epilogue 512 aux/0 alpha 0.5 beta 1 \
                  algorithm 0 workspace 0 in stream 1";
    assert_eq!(bench.products(), [wanted]);
}

#[test]
fn a_bias_and_gelu_follow_in_the_same_kernel_and_so_do_their_gradients() {
    let bench = Bench::new("", Choice::First);
    let (rows, columns, _) = SHAPE;
    let [a, b] = [bench.filled(DType::F32, 6), bench.filled(DType::F32, 8)];
    let bias = bench.part(DType::F32, &[0.5, -0.5, 1.0, 0.0]);
    let [saved, target, sums] = [12, 12, 4].map(|count| bench.part(DType::F32, &vec![0.0; count]));
    let plain = expected((&values(&a), false), (&values(&b), false), SHAPE);
    let shifted: Vec<f32> = plain.iter().enumerate().map(|(at, value)| value + [0.5, -0.5, 1.0, 0.0][at % columns]).collect();
    let with = |epilogue| Product { epilogue, ..Product::of(Factor::of(&a), Factor::of(&b), &target, SHAPE) };
    bench.blas.run(&with(Epilogue::Bias(&bias))).unwrap();
    assert_eq!(values(&target), shifted);
    bench.blas.run(&with(Epilogue::Gelu { bias: Some(&bias), saved: &saved })).unwrap();
    assert_eq!(values(&saved), shifted);
    close(&values(&target), &shifted.iter().map(|&value| gelu(value)).collect::<Vec<_>>());
    let slopes: Vec<f32> = plain.iter().zip(&shifted).map(|(value, &at)| value * gelu_slope(at)).collect();
    for bias_gradient in [None, Some(&sums)] {
        bench.blas.run(&with(Epilogue::GeluGradient { saved: &saved, bias_gradient })).unwrap();
        let off = values(&target).iter().zip(&slopes).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 2e-2, "{off}");
    }
    let columns_of = |from: &[f32]| (0..columns).map(|c| (0..rows).map(|r| from[r * columns + c]).sum()).collect::<Vec<f32>>();
    close(&values(&sums), &columns_of(&values(&target)));
    bench.blas.run(&with(Epilogue::Gelu { bias: None, saved: &saved })).unwrap();
    assert_eq!(values(&saved), plain);
    let epilogues: Vec<String> = bench.products().iter().map(|line| line.split(" epilogue ").nth(1).unwrap()[..9].to_owned()).collect();
    assert_eq!(epilogues, ["4 aux/0 a", "164 aux/4", "192 aux/4", "208 aux/4", "160 aux/4"]);
}

#[test]
fn types_choose_how_it_is_computed_and_tf32_only_comes_when_asked_for() {
    let bench = Bench::new("", Choice::First);
    let cases = [
        (DType::F32, DType::F32, Precision::Full, "compute 68 scale 0 A 4x2/4 t0 B 2x3/2 t0 D 4x3/4 t0 "),
        (DType::F32, DType::F32, Precision::Tf32, "compute 77 scale 0 A 4x2/4 t0 B 2x3/2 t0 D 4x3/4 t0 "),
        (DType::F64, DType::F64, Precision::Full, "compute 70 scale 1 A 4x2/4 t1 B 2x3/2 t1 D 4x3/4 t1 "),
        (DType::BF16, DType::BF16, Precision::Full, "compute 68 scale 0 A 4x2/4 t14 B 2x3/2 t14 D 4x3/4 t14 "),
        (DType::BF16, DType::F32, Precision::Full, "compute 68 scale 0 A 4x2/4 t14 B 2x3/2 t14 D 4x3/4 t0 "),
        (DType::F16, DType::F16, Precision::Full, "compute 68 scale 0 A 4x2/4 t2 B 2x3/2 t2 D 4x3/4 t2 "),
        (DType::F16, DType::F32, Precision::Full, "compute 68 scale 0 A 4x2/4 t2 B 2x3/2 t2 D 4x3/4 t0 "),
    ];
    for (at, (factors, result, precision, wanted)) in cases.into_iter().enumerate() {
        let (a, b, target) = (bench.filled(factors, 6), bench.filled(factors, 8), bench.filled(result, 12));
        let product = Product { precision, ..Product::of(Factor::of(&a), Factor::of(&b), &target, SHAPE) };
        bench.blas.run(&product).unwrap();
        assert!(bench.products()[at].contains(wanted), "{}", bench.products()[at]);
        if factors != DType::F16 {
            assert_eq!(values(&target), expected((&values(&a), false), (&values(&b), false), SHAPE), "{factors:?}");
        }
    }
}

#[test]
fn batches_have_strides_and_rows_may_lie_apart() {
    let bench = Bench::new("", Choice::First);
    let (rows, columns, inner) = (2, 2, 3);
    // Two heads side by side in rows of 6, times one matrix for both.
    let (a, b, target) = (bench.filled(DType::F32, 12), bench.filled(DType::F32, 6), bench.part(DType::F32, &[9.0; 10]));
    let product = Product {
        left: Factor { row: Some(6), step: 3, ..Factor::of(&a) },
        target: Target { row: Some(3), step: 5, ..Target::of(&target) },
        batches: 2,
        ..Product::of(Factor::of(&a), Factor::of(&b), &target, (rows, columns, inner))
    };
    bench.blas.run(&product).unwrap();
    let all = values(&a);
    let of = |head: usize| {
        expected((&[&all[head * 3..][..3], &all[6 + head * 3..][..3]].concat(), false), (&values(&b), false), (rows, columns, inner))
    };
    let (one, two) = (of(0), of(1));
    assert_eq!(values(&target), [one[0], one[1], 9.0, one[2], one[3], two[0], two[1], 9.0, two[2], two[3]]);
    let wanted = "A 2x3/2 t0 x2 by 0 B 3x2/6 t0 x2 by 3 D 2x2/3 t0 x2 by 5 ";
    assert!(bench.products()[0].contains(wanted), "{}", bench.products()[0]);
}

#[test]
fn experts_are_multiplied_one_after_the_other_and_those_without_tokens_are_left_out() {
    let bench = Bench::new("", Choice::First);
    let tokens = [2, 0, 3];
    let input = bench.filled(DType::F32, 5 * 2);
    let weights = [0, 1, 2].map(|_| bench.filled(DType::F32, 2 * 4));
    let output = bench.part(DType::F32, &[0.0; 20]);
    let slices: Vec<[Part; 2]> = [(0, 2), (2, 0), (2, 3)]
        .map(|(from, count): (usize, usize)| [input.alias(from * 2, count * 2).unwrap(), output.alias(from * 4, count * 4).unwrap()])
        .to_vec();
    let products: Vec<Product> = slices
        .iter()
        .zip(&weights)
        .zip(tokens)
        .map(|(([from, to], weight), rows)| Product::of(Factor::of(from), Factor::of(weight), to, (rows, 4, 2)))
        .collect();
    bench.blas.run_grouped(&products).unwrap();
    let all = values(&input);
    let whole = [(0, 2), (2, 3)].map(|(from, rows)| expected((&all[from * 2..], false), (&values(&weights[0]), false), (rows, 4, 2)));
    assert_eq!(values(&output), whole.concat());
    assert_eq!(bench.products().len(), 2);
    // The gradient of a weight that saw no token: nothing is added, or it is cleared.
    let gradient = bench.filled(DType::F32, 8);
    let none = Product { keep: 1.0, ..Product::of(Factor::transposed(&slices[1][0]), Factor::of(&slices[1][1]), &gradient, (2, 4, 0)) };
    bench.blas.run(&none).unwrap();
    assert_eq!(values(&gradient), numbers(8));
    bench.blas.run(&Product { keep: 0.0, ..none }).unwrap();
    assert_eq!(values(&gradient), [0.0; 8]);
    assert!(sentence(bench.blas.run(&Product { keep: 0.5, ..none })).ends_with("more to do than to leave or to clear. Skip it."));
}

#[test]
fn equal_products_share_a_plan_and_whatever_it_depends_on_makes_another() {
    let bench = Bench::new("", Choice::First);
    let (a, b, target) = (bench.filled(DType::F32, 64), bench.filled(DType::F32, 64), bench.filled(DType::F32, 64));
    let base = Product::of(Factor::of(&a), Factor::of(&b), &target, SHAPE);
    let bias = bench.filled(DType::F32, 4);
    let shifted = a.alias(1, 20).unwrap();
    bench.tell("forget");
    let variants = [
        base,
        Product { rows: 2, ..base },
        Product { keep: 1.0, ..base },
        Product { epilogue: Epilogue::Bias(&bias), ..base },
        Product { left: Factor::transposed(&a), ..base },
        Product { left: Factor { row: Some(7), ..base.left }, ..base },
        Product { left: Factor::of(&shifted), ..base },
        Product { precision: Precision::Tf32, ..base },
        Product { batches: 2, target: Target { step: 12, ..base.target }, ..base },
    ];
    for turn in 0..3 {
        variants.iter().for_each(|product| bench.blas.run(product).unwrap());
        assert_eq!(bench.blas.plans_made(), variants.len() as u64, "turn {turn}");
    }
    // What is scaled, and other memory of the same alignment, are no reason.
    bench.blas.run(&Product { scale: 2.0, ..base }).unwrap();
    bench.blas.run(&Product { right: Factor::of(&a), ..base }).unwrap();
    assert_eq!(bench.blas.plans_made(), variants.len() as u64);
    let asked: Vec<String> = log(&bench.machine.folder.0.join(CUBLASLT)).into_iter().filter(|line| line.starts_with("propose")).collect();
    assert_eq!(asked.len(), variants.len());
    assert_eq!(asked[0], "propose 1 within 33554432 alignment 256 256 256");
    assert_eq!(asked[6], "propose 1 within 33554432 alignment 256 4 256");
}

#[test]
fn of_several_algorithms_the_fastest_is_taken_and_the_target_is_written_once() {
    let bench = Bench::new("", Choice::Timed(8));
    bench.machine.tell("elapsed=3,1,2");
    let (a, b, target) = (bench.filled(DType::F32, 6), bench.filled(DType::F32, 8), bench.part(DType::F32, &[100.0; 12]));
    let product = Product { keep: 1.0, ..Product::of(Factor::of(&a), Factor::of(&b), &target, SHAPE) };
    bench.blas.run(&product).unwrap();
    let once = expected((&values(&a), false), (&values(&b), false), SHAPE);
    assert_eq!(values(&target), once.iter().map(|value| 100.0 + value).collect::<Vec<_>>());
    let lines = bench.products();
    assert_eq!(lines.len(), 3 * 4 + 1);
    assert!(lines[12].contains("algorithm 1 workspace 1024 "), "{}", lines[12]);
    bench.tell("forget");
    bench.blas.run(&product).unwrap();
    assert_eq!(bench.products().len(), 1);
    let live = bench.machine.device.memory_stats().unwrap();
    assert_eq!(live.all.live, (6 + 8 + 12) * 4);
}

#[test]
fn the_workspace_is_taken_once_and_counted_apart() {
    for (words, bytes) in [("capability=80", 4 << 20), ("capability=90", 32 << 20)] {
        let bench = Bench::new(words, Choice::First);
        let stats = bench.machine.device.memory_stats().unwrap();
        assert_eq!((stats.all.live, stats.by_category[storage::Category::Workspace as usize].live), (0, bytes));
        let (a, b, target) = (bench.filled(DType::F32, 6), bench.filled(DType::F32, 8), bench.filled(DType::F32, 12));
        bench.blas.run(&Product::of(Factor::of(&a), Factor::of(&b), &target, SHAPE)).unwrap();
        let path = bench.machine.folder.0.join(CUBLASLT);
        drop(bench.blas);
        assert_eq!(log(&path).last().unwrap(), "destroy with 0 descriptors");
        assert_eq!(bench.machine.device.memory_stats().unwrap().live_blocks, 3);
    }
}

#[test]
fn what_does_not_fit_is_refused_in_one_sentence() {
    let bench = Bench::new("", Choice::First);
    let f32s = |count| bench.filled(DType::F32, count);
    let (a, b, target, half, short, whole) =
        (f32s(6), f32s(8), f32s(12), bench.filled(DType::BF16, 12), f32s(3), bench.filled(DType::I32, 12));
    let base = Product::of(Factor::of(&a), Factor::of(&b), &target, SHAPE);
    let other = Machine::new("");
    let elsewhere = Part::whole(&Arc::new(Block::new(&other.device, ON, 24).unwrap()), DType::F32);
    let cases = [
        (Product { left: Factor::of(&short), ..base }, "the left factor has 3 elements where 6 are needed. Pass memory of that size."),
        (Product { target: Target::of(&short), ..base }, "the target has 3 elements where 12 are needed. Pass memory of that size."),
        (
            Product { right: Factor { row: Some(3), ..base.right }, ..base },
            "the rows of the right factor have 4 elements and lie 3 apart. Use at least 4.",
        ),
        (Product { right: Factor::of(&half), ..base }, "the factors are f32 and bf16. Cast one of them."),
        (
            Product { target: Target::of(&half), ..base },
            "these types cannot be multiplied so. Use f32, f64, bf16 or f16, and of the latter two f32 as result.",
        ),
        (
            Product { left: Factor::of(&whole), right: Factor::of(&whole), ..base },
            "these types cannot be multiplied so. Use f32, f64, bf16 or f16, and of the latter two f32 as result.",
        ),
        (
            Product { left: Factor::of(&half), right: Factor::of(&half), precision: Precision::Tf32, ..base },
            "TF32 is a way to multiply f32. Leave the precision as it is.",
        ),
        (
            Product { epilogue: Epilogue::Bias(&short), ..base },
            "the bias or its gradient has 3 elements where 4 are needed. Pass memory of that size.",
        ),
        (
            Product { epilogue: Epilogue::Gelu { bias: None, saved: &half }, ..base },
            "the epilogue has memory of bf16 beside a target of f32. Use that.",
        ),
        (
            Product { batches: 2, target: Target { step: 3, ..base.target }, right: Factor { step: 0, ..base.right }, ..base },
            "the target has 12 elements where 15 are needed. Pass memory of that size.",
        ),
        (Product { left: Factor::of(&elsewhere), ..base }, "the memory is on another device. Use that of the product."),
    ];
    for (product, wanted) in cases {
        let error = bench.blas.run(&product).err().unwrap();
        assert!(error.code == Code::Refused && error.message.ends_with(wanted), "{error}");
        assert!(error.message.starts_with("product of "), "{error}");
    }
    let large = f32s(64);
    let batched = Product { batches: 2, left: Factor::of(&large), target: Target { step: 3, ..Target::of(&large) }, ..base };
    assert_eq!(
        sentence(bench.blas.run(&batched)),
        "product of 2 times 3 x 2 by 2 x 4 (f32 to f32): the matrices of the target overlap. Let them lie further apart."
    );
    let fused = Product { target: Target { step: 12, ..Target::of(&large) }, epilogue: Epilogue::Bias(&a), ..batched };
    assert!(sentence(bench.blas.run(&fused)).ends_with("only a single product has an epilogue. Apply it apart."));
    assert!(bench.products().is_empty());
}

#[test]
fn what_the_library_refuses_names_the_product_and_a_way_out() {
    let bench = Bench::new("", Choice::First);
    let (a, b, target, bias) =
        (bench.filled(DType::BF16, 6), bench.filled(DType::BF16, 6), bench.filled(DType::BF16, 9), bench.filled(DType::BF16, 3));
    let product = Product { epilogue: Epilogue::Bias(&bias), ..Product::of(Factor::of(&a), Factor::of(&b), &target, (3, 3, 2)) };
    let error = bench.blas.run(&product).err().unwrap();
    let wanted = "product of 3 x 2 by 2 x 3 (bf16 to bf16, then a bias): cublasLtMatmulAlgoGetHeuristic fails with CUBLAS_STATUS_NOT_SUPPORTED. \
                  There is no algorithm for it: use sizes and addresses that are multiples of 16 bytes, or no epilogue.";
    assert_eq!((error.code, error.message.as_str()), (Code::Product, wanted));
    let plain = Product { epilogue: Epilogue::None, ..product };
    bench.tell("proposals=0");
    assert!(sentence(bench.blas.run(&plain)).contains("CUBLAS_STATUS_NOT_SUPPORTED. There is no algorithm"));
    bench.tell("proposals=3");
    for function in ["cublasLtMatmulDescCreate", "cublasLtMatrixLayoutCreate", "cublasLtMatmulPreferenceCreate", "cublasLtMatmul"] {
        bench.tell(&format!("fail={function}:13:0"));
        let wanted = format!(
            "product of 3 x 2 by 2 x 3 (bf16 to bf16): {function} fails with CUBLAS_STATUS_EXECUTION_FAILED. \
             See what the device has told before, and run again with CUBLASLT_LOG_LEVEL=5."
        );
        assert_eq!(sentence(bench.blas.run(&plain)), wanted);
    }
    bench.tell("fail=cublasLtMatmul:99:0");
    assert!(sentence(bench.blas.run(&plain)).contains("cublasLtMatmul fails with status 99."));
    bench.tell("fail=none:0:0");
    bench.blas.run(&plain).unwrap();
    let path = bench.machine.folder.0.join(CUBLASLT);
    drop(bench.blas);
    assert_eq!(log(&path).last().unwrap(), "destroy with 0 descriptors");
}

#[test]
fn a_library_that_cannot_be_opened_or_lacks_a_function_is_told() {
    let machine = Machine::new("");
    control(&machine.folder.0.join(CUBLASLT), "fail=cublasLtCreate:1:0");
    let error = Blas::open(&machine.device, ON, Choice::First).err().unwrap();
    let wanted = "device 0: cublasLtCreate fails with CUBLAS_STATUS_NOT_INITIALIZED. Free memory, and see whether the library is whole.";
    assert_eq!((error.code, error.message.as_str()), (Code::Product, wanted));
    assert_eq!(machine.device.memory_stats().unwrap().live_blocks, 0);
    let folder = Folder::new();
    folder.install_all();
    forget(&folder.0.join(CUBLASLT), "cublasLtMatmul");
    let error = Toolkit::find(&Environment::only(&[("MEGATRON_CUDA_LIBS", folder.text())])).err().unwrap();
    let wanted = "cuBLASLt: $LIBS/libcublasLt.so.13 cannot be used (it has no function cublasLtMatmul). \
                  Install the Python package nvidia-cublas of CUDA 13.";
    assert_eq!((error.code, error.message.replace(folder.text(), "$LIBS").as_str()), (Code::Library, wanted));
}
