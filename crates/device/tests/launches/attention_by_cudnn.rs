//! Attention by cuDNN: the graphs that the fake library is given, carried out operation by operation, agree with the CPU's attention; and what
//! is left to our kernels.

use crate::machine::Machine;
use device::ops::attention::{Inputs, Saved, attention, attention_backward};
use kernels::attention::{self as cpu, Attention};
use kernels::gemm::Precision;
use kernels::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use kernels::random::Dropout;
use storage::{DType, Span};

const CUDNN: &str = "libcudnn.so.9";
const SHAPE: Attention = Attention {
    queries: 37,
    keys: 37,
    batch: 2,
    heads: 4,
    key_heads: 4,
    head_dim: 16,
    causal: true,
    window: None,
    scale: 0.3,
    dropout: None,
    precision: Precision::F32,
};

fn machine(variables: &[(&str, &str)]) -> Machine {
    let machine = Machine::with(&[(CUDNN, "")], variables).unwrap();
    machine.tell("arguments=0");
    machine
}

/// Numbers between -1 and 1, all different, as a 16-bit type holds them.
fn numbers(dtype: DType, count: usize, seed: u64) -> Vec<f32> {
    let number = |at: u64| {
        let mixed = (at + 1 + seed * 1_000_003).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 40) as f32 / (1 << 23) as f32) - 1.0
    };
    (0..count as u64).map(|at| read_back(dtype, &bytes(dtype, &[number(at)]))[0]).collect()
}

fn bytes(dtype: DType, values: &[f32]) -> Vec<u8> {
    match dtype {
        DType::BF16 => values.iter().flat_map(|&value| f32_to_bf16(value).to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|&value| f32_to_f16(value).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

fn read_back(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        DType::BF16 => bytes.as_chunks::<2>().0.iter().map(|two| bf16_to_f32(u16::from_le_bytes(*two))).collect(),
        DType::F16 => bytes.as_chunks::<2>().0.iter().map(|two| f16_to_f32(u16::from_le_bytes(*two))).collect(),
        _ => bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect(),
    }
}

fn values(machine: &Machine, span: &Span) -> Vec<f32> {
    let mut bytes = vec![0; span.byte_len()];
    machine.on.read(span, &mut bytes).unwrap();
    read_back(span.dtype(), &bytes)
}

fn close(name: &str, have: &[f32], want: &[f32], tolerance: f32) {
    let size = want.iter().fold(0_f32, |most, value| most.max(value.abs()));
    assert_eq!(have.len(), want.len(), "{name}");
    for (at, (a, b)) in have.iter().zip(want).enumerate() {
        assert!((a - b).abs() <= tolerance * size, "{name}[{at}] is {a} and not {b}, of {size}");
    }
}

/// Runs both passes on the device and on the CPU; the passes that cuDNN was asked for meanwhile.
fn compare(machine: &Machine, dtype: DType, shape: &Attention, is_apart: bool) -> u64 {
    let Attention { queries, keys, batch, heads, key_heads, head_dim, .. } = *shape;
    let rows = if is_apart { heads } else { heads + 2 * key_heads };
    let q = numbers(dtype, queries * batch * rows * head_dim, 1);
    let kv = is_apart.then(|| numbers(dtype, keys * batch * 2 * key_heads * head_dim, 2));
    let grad = numbers(dtype, queries * batch * heads * head_dim, 3);

    let (mut out, mut lse) = (vec![0.0; grad.len()], vec![0.0; batch * heads * queries]);
    let read = cpu::Inputs { q: &q, kv: kv.as_deref(), segments: [None, None], bias: None };
    cpu::attention(&read, shape, &mut out, &mut lse).unwrap();
    let (mut dq, mut dkv) = (vec![0.0; q.len()], kv.as_ref().map(|kv| vec![0.0; kv.len()]));
    let saved = cpu::Saved { out: &out, lse: &lse, grad: &grad };
    let gradients = cpu::Gradients { q: &mut dq, kv: dkv.as_deref_mut(), bias: None };
    cpu::attention_backward(&read, &saved, shape, gradients).unwrap();

    let upload = |values: &[f32]| machine.on.upload(dtype, &bytes(dtype, values)).unwrap();
    let inputs = Inputs { q: upload(&q), kv: kv.as_deref().map(upload), segments: [None, None], bias: None };
    let grad = upload(&grad);
    let before = machine.on.stats().unwrap().cudnn_attentions;
    let [made, sums] = attention(&machine.on, &inputs, shape).unwrap();
    let saved = Saved { out: &made, lse: &sums, grad: &grad };
    let gradients = attention_backward(&machine.on, &inputs, &saved, shape, false).unwrap();
    let told = format!("{} {shape:?}", dtype.name());
    let tolerance = if dtype == DType::BF16 { 2e-2 } else { 3e-3 };
    close(&format!("out {told}"), &values(machine, &made), &out, tolerance);
    close(&format!("lse {told}"), &values(machine, &sums), &lse, 1e-5);
    close(&format!("dq {told}"), &values(machine, &gradients.q), &dq, tolerance);
    for (have, want) in gradients.kv.iter().zip(&dkv) {
        close(&format!("dkv {told}"), &values(machine, have), want, tolerance);
    }
    assert_eq!(gradients.kv.is_some(), is_apart);
    machine.on.stats().unwrap().cudnn_attentions - before
}

#[test]
fn both_passes_agree_with_the_cpu_whatever_the_mask_and_the_groups() {
    let shapes = [
        SHAPE,
        Attention { causal: false, ..SHAPE },
        Attention { window: Some(5), ..SHAPE },
        Attention { window: Some(1), ..SHAPE },
        Attention { window: Some(200), ..SHAPE },
        Attention { key_heads: 2, ..SHAPE },
        Attention { key_heads: 1, window: Some(9), ..SHAPE },
        Attention { key_heads: 2, causal: false, head_dim: 24, ..SHAPE },
        Attention { queries: 1, keys: 1, batch: 1, ..SHAPE },
    ];
    for setting in ["auto", "cudnn"] {
        let machine = machine(&[("MEGATRON_ATTENTION", setting)]);
        for dtype in [DType::BF16, DType::F16] {
            for shape in &shapes {
                assert_eq!(compare(&machine, dtype, shape, false), 2, "{setting} {shape:?}");
            }
            let apart = Attention { causal: false, keys: 21, key_heads: 2, ..SHAPE };
            assert_eq!(compare(&machine, dtype, &apart, true), 2, "{setting} {apart:?}");
        }
        assert!(machine.launches().is_empty(), "none of our kernels ran");
    }
}

#[test]
fn each_shape_is_planned_once_and_widths_and_factors_are_told_with_each_run() {
    let machine = machine(&[]);
    let plans = || machine.log_of_library(CUDNN).iter().filter(|line| *line == "plan").count();
    let window = |width, scale| Attention { window: Some(width), scale, ..SHAPE };
    for (width, scale) in [(3, 0.3), (4, 0.2), (3, 0.1)] {
        assert_eq!(compare(&machine, DType::BF16, &window(width, scale), false), 2);
        assert_eq!(plans(), 2, "one for each pass");
    }
    assert_eq!(compare(&machine, DType::F16, &window(3, 0.3), false), 2);
    assert_eq!(plans(), 4);
    let runs: Vec<String> = machine.log_of_library(CUDNN).into_iter().filter(|line| line.contains(" operations ")).collect();
    assert_eq!(runs[0], "forward b2 h4 q37 k37 d16 of 19 operations in stream 1");
    assert_eq!(runs[1], "backward b2 h4 q37 k37 d16 of 26 operations in stream 1");
}

#[test]
fn sums_in_one_order_are_another_graph_and_only_asked_for_where_the_device_has_them() {
    let operations = |setting: &str| {
        let machine = machine(&[("MEGATRON_ATTENTION", setting)]);
        compare(&machine, DType::BF16, &SHAPE, false);
        machine.log_of_library(CUDNN).into_iter().rfind(|line| line.starts_with("backward")).unwrap()
    };
    // The rounding of a sum over keys that was made in f32 memory is an operation more.
    assert!(operations("cudnn").contains(" of 22 operations"));
    assert!(operations("auto").contains(" of 21 operations"));

    let mut machine = machine(&[]);
    machine.tell("capability=100");
    machine.on = machine.other();
    let q = machine.tensor(DType::BF16, 37 * 2 * 12 * 16);
    let inputs = Inputs { q, kv: None, segments: [None, None], bias: None };
    let [out, lse] = attention(&machine.on, &inputs, &SHAPE).unwrap();
    machine.forget();
    attention_backward(&machine.on, &inputs, &Saved { out: &out, lse: &lse, grad: &out }, &SHAPE, false).unwrap();
    let stats = machine.on.stats().unwrap();
    assert_eq!((stats.cudnn_attentions, machine.launches().len()), (1, 3), "cuDNN's forward and our backward");
    assert_eq!(stats.why_kernels.unwrap(), "cuDNN is not asked for sums in one order on compute capability 10.0");
}

#[test]
fn memory_of_a_run_comes_from_the_pool_and_goes_back() {
    let machine = machine(&[]);
    let inputs =
        |machine: &Machine| Inputs { q: machine.tensor(DType::BF16, 37 * 2 * 12 * 16), kv: None, segments: [None, None], bias: None };
    let (inputs, out) = (inputs(&machine), machine.tensor(DType::BF16, 37 * 2 * 4 * 16));
    let lse = machine.tensor(DType::F32, 37 * 2 * 4);
    machine.forget();
    machine.expect_no_leak(|| attention(&machine.on, &inputs, &SHAPE).unwrap());
    machine.expect_no_leak(|| {
        let saved = Saved { out: &out, lse: &lse, grad: &out };
        attention_backward(&machine.on, &inputs, &saved, &SHAPE, false).unwrap()
    });
    let cudnn = machine.log_of_library(CUDNN);
    assert!(!cudnn.iter().any(|line| line.starts_with("refused")), "{cudnn:?}");
}

/// Why an attention was left to our kernels, which were launched instead.
fn why(machine: &Machine, dtype: DType, shape: &Attention, change: impl FnOnce(&mut Inputs)) -> String {
    let rows = shape.heads + 2 * shape.key_heads;
    let q = machine.tensor(dtype, shape.queries * shape.batch * rows * shape.head_dim);
    let mut inputs = Inputs { q, kv: None, segments: [None, None], bias: None };
    change(&mut inputs);
    machine.forget();
    attention(&machine.on, &inputs, shape).unwrap();
    assert_eq!(machine.launches().len(), 1, "our kernel");
    machine.on.stats().unwrap().why_kernels.unwrap()
}

#[test]
fn the_rest_is_left_to_our_kernels_with_the_reason() {
    let machine = machine(&[]);
    let plain = |_: &mut Inputs| {};
    assert_eq!(why(&machine, DType::F32, &SHAPE, plain), "its elements are f32");
    assert_eq!(why(&machine, DType::BF16, &Attention { head_dim: 20, ..SHAPE }, plain), "its heads are no multiple of 8 channels");
    let dropout = Attention { dropout: Some(Dropout::new(0.5, [1, 2], [3, 4]).unwrap()), ..SHAPE };
    assert_eq!(why(&machine, DType::BF16, &dropout, plain), "it drops weights by our own random numbers");
    let biased = |inputs: &mut Inputs| inputs.bias = Some(machine.tensor(DType::F32, 4 * 37 * 37));
    assert_eq!(why(&machine, DType::BF16, &SHAPE, biased), "it has a bias");
    let packed = |inputs: &mut Inputs| inputs.segments = [0, 0].map(|_| Some(machine.tensor(DType::I32, 37 * 2)));
    assert_eq!(why(&machine, DType::BF16, &SHAPE, packed), "it has segments");
    let shifted = |inputs: &mut Inputs| {
        let len = inputs.q.len();
        inputs.q = machine.tensor(DType::BF16, len + 1).alias(1, len).unwrap();
    };
    assert_eq!(why(&machine, DType::BF16, &SHAPE, shifted), "its tensors do not begin at multiples of 16 bytes");
    assert_eq!(machine.on.stats().unwrap().cudnn_attentions, 0);
}

#[test]
fn what_the_library_refuses_is_asked_once_and_left_to_our_kernels() {
    let machine = machine(&[]);
    // As on Ampere: forward passes of wide heads, and no backward ones.
    machine.tell_library(CUDNN, "capability=80");
    let shape = Attention { head_dim: 256, queries: 3, keys: 3, ..SHAPE };
    let q = machine.tensor(DType::BF16, 3 * 2 * 12 * 256);
    let inputs = Inputs { q, kv: None, segments: [None, None], bias: None };
    for _ in 0..2 {
        let [out, lse] = attention(&machine.on, &inputs, &shape).unwrap();
        machine.forget();
        attention_backward(&machine.on, &inputs, &Saved { out: &out, lse: &lse, grad: &out }, &shape, false).unwrap();
        assert_eq!(machine.launches().len(), 3, "delta and both halves by our kernels");
    }
    let (stats, log) = (machine.on.stats().unwrap(), machine.log_of_library(CUDNN));
    assert_eq!(stats.cudnn_attentions, 2);
    let told = "cudnnBackendFinalize fails with CUDNN_STATUS_NOT_SUPPORTED: Reason: heads of 256 channels";
    assert_eq!(stats.why_kernels.as_deref(), Some(told));
    assert_eq!(log.iter().filter(|line| line.starts_with("refused")).count(), 3, "each of three proposals, once");
}

#[test]
fn a_setting_without_its_library_is_refused_and_auto_does_without() {
    let fails = |libraries: &[(&str, &str)], setting: &str| Machine::with(libraries, &[("MEGATRON_ATTENTION", setting)]).err().unwrap();
    let missing = fails(&[], "cudnn");
    assert!(missing.starts_with("MEGATRON_ATTENTION=cudnn: cuDNN: libcudnn.so.9 was not found in "), "{missing}");
    let old = fails(&[(CUDNN, "cudnn=91702")], "cudnn");
    assert!(
        old.starts_with("MEGATRON_ATTENTION=cudnn: cuDNN: version 9.17.2 of ") && old.contains(" is older than 9.18. Install "),
        "{old}"
    );
    let odd = "MEGATRON_ATTENTION: \"flash\" is nobody who computes attention. Use auto, cudnn or kernel.";
    assert_eq!(fails(&[(CUDNN, "")], "flash"), odd);
    let auto = Machine::with(&[], &[("MEGATRON_ATTENTION", "auto")]).unwrap();
    let told = why(&auto, DType::BF16, &SHAPE, |_| {});
    assert!(told.starts_with("cuDNN: libcudnn.so.9 was not found in "), "{told}");
    let kernel = machine(&[("MEGATRON_ATTENTION", "kernel")]);
    assert_eq!(why(&kernel, DType::BF16, &SHAPE, |_| {}), "MEGATRON_ATTENTION is kernel");
}

#[test]
fn failures_are_one_sentence_each() {
    let fails = |function: &str, status: u32| {
        let machine = machine(&[("MEGATRON_ATTENTION", "cudnn")]);
        machine.tell_library(CUDNN, &format!("fail={function}:{status}:0"));
        let inputs = Inputs { q: machine.tensor(DType::BF16, 37 * 2 * 12 * 16), kv: None, segments: [None, None], bias: None };
        attention(&machine.on, &inputs, &SHAPE).map(|_| machine.on.stats().unwrap().why_kernels)
    };
    let execute = fails("cudnnBackendExecute", 5000).unwrap_err();
    let told = "attention of 37 queries and 37 keys of 2 samples, 4 heads and 4 of keys, 16 channels, bf16: cudnnBackendExecute fails with \
                CUDNN_STATUS_EXECUTION_FAILED. See what the device has told before, or set MEGATRON_ATTENTION=kernel.";
    assert_eq!(execute, told);
    assert!(fails("cudnnBackendCreateDescriptor", 5001).unwrap_err().contains("cudnnBackendCreateDescriptor fails with status 5001. See"));
    // A graph that the library does not take or cannot compile is one that others can.
    assert_eq!(fails("cudnnBackendFinalize", 4001).unwrap().unwrap(), "cudnnBackendFinalize fails with status 4001");
    // A library that does not start is no reason to end a training that our kernels can do.
    assert_eq!(
        fails("cudnnCreate", 1001).unwrap().unwrap(),
        "device 0: cudnnCreate fails with CUDNN_STATUS_NOT_INITIALIZED. Free memory, and see whether the library is whole."
    );
}
