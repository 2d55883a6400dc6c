//! Attention as the fake cuDNN is asked for it: what is refused before it is asked, plans, and captures. What comes out of it is held against
//! the CPU's attention where both are, in the crate `device`.
#![cfg(target_os = "linux")]

mod fake;

use fake::{Folder, Machine, control, forget, log};
use megatron_cuda::{
    AttentionInputs, AttentionOutputs, AttentionSaved, AttentionSetting, AttentionShape, Block, Code, Dnn, Environment, Error, Outcome,
    Part, Pass, Stream, Toolkit, doctor, plan_without_device,
};
use std::sync::Arc;
use storage::DType;

const ON: Stream = Stream::Compute;
const CUDNN: &str = "libcudnn.so.9";
const SHAPE: AttentionShape = AttentionShape {
    dtype: DType::BF16,
    queries: 6,
    keys: 6,
    batch: 2,
    heads: 2,
    key_heads: 1,
    head_dim: 8,
    causal: true,
    has_window: false,
    rows: [4, 4],
};
const FIXED: Pass = Pass::Backward { is_fixed: true };

struct Bench {
    machine: Machine,
    dnn: Dnn,
}

impl Bench {
    fn new() -> Bench {
        let machine = Machine::new("");
        let dnn = Dnn::open(&machine.device, ON, usize::MAX).unwrap();
        Bench { machine, dnn }
    }

    fn part(&self, dtype: DType, len: usize) -> Part {
        let block = Arc::new(Block::new(&self.machine.device, ON, len * dtype.size()).unwrap());
        block.fill(ON, 0).unwrap();
        Part::whole(&block, dtype)
    }

    /// One buffer of queries, keys and values.
    fn inputs(&self) -> AttentionInputs {
        let query = self.part(DType::BF16, 6 * 2 * 4 * 8);
        let at = |head: usize| query.alias(head * 8, query.len() - head * 8).unwrap();
        let [key, value] = [at(2), at(3)];
        AttentionInputs { query, key, value, scale: 0.5, window: 0 }
    }

    fn forward(&self) -> AttentionOutputs {
        AttentionOutputs::Forward { out: self.part(DType::BF16, 6 * 2 * 2 * 8), lse: self.part(DType::F32, 2 * 2 * 6) }
    }

    fn run(&self, inputs: &AttentionInputs, outputs: &AttentionOutputs) -> Result<Outcome, Error> {
        self.dnn.run(&SHAPE, inputs, outputs, Pass::Forward)
    }

    fn log(&self) -> Vec<String> {
        log(&self.machine.folder.0.join(CUDNN))
    }
}

#[test]
fn one_plan_serves_all_runs_of_a_shape_and_all_descriptors_end_with_the_library() {
    let bench = Bench::new();
    for _ in 0..3 {
        assert_eq!(bench.run(&bench.inputs(), &bench.forward()).unwrap(), Outcome::Asked);
    }
    assert_eq!(bench.dnn.plans_made(), 1);
    assert_eq!(bench.dnn.refusal(&SHAPE, FIXED).unwrap(), None);
    assert_eq!(bench.dnn.plans_made(), 2);
    let AttentionOutputs::Forward { out, lse } = bench.forward() else { unreachable!() };
    let (inputs, grad) = (bench.inputs(), bench.part(DType::BF16, out.len()));
    let made = bench.inputs();
    let outputs = AttentionOutputs::Backward { saved: AttentionSaved { out, lse, grad }, gradients: [made.query, made.key, made.value] };
    assert_eq!(bench.dnn.run(&SHAPE, &inputs, &outputs, FIXED).unwrap(), Outcome::Asked);
    assert_eq!(bench.dnn.plans_made(), 2);
    let Bench { machine, dnn } = bench;
    drop(dnn);
    assert_eq!(log(&machine.folder.0.join(CUDNN)).last().unwrap(), "destroy with 0 descriptors");
}

#[test]
fn memory_that_does_not_fit_the_shape_is_refused_before_the_library_is_asked() {
    let bench = Bench::new();
    let refused = |inputs: &AttentionInputs, outputs: &AttentionOutputs| {
        let error = bench.run(inputs, outputs).unwrap_err();
        assert_eq!(error.code, Code::Refused);
        error.message
    };
    let whole = bench.inputs();
    let short = AttentionInputs { value: whole.value.alias(8, whole.value.len() - 8).unwrap(), ..whole.clone() };
    assert!(refused(&short, &bench.forward()).starts_with("attention by cuDNN: the memory of Value is not that of"));
    let odd = AttentionInputs { key: whole.key.alias(1, whole.key.len() - 1).unwrap(), ..whole.clone() };
    assert!(refused(&odd, &bench.forward()).contains("the memory of Key"));
    let AttentionOutputs::Forward { out, .. } = bench.forward() else { unreachable!() };
    let other = AttentionOutputs::Forward { out, lse: bench.part(DType::BF16, 24) };
    assert!(refused(&whole, &other).contains("the memory of Lse"));
    for shape in [
        AttentionShape { dtype: DType::F32, ..SHAPE },
        AttentionShape { head_dim: 12, ..SHAPE },
        AttentionShape { key_heads: 0, ..SHAPE },
        AttentionShape { heads: 3, key_heads: 2, ..SHAPE },
    ] {
        assert_eq!(bench.dnn.refusal(&shape, Pass::Forward).unwrap_err().code, Code::Refused, "{shape:?}");
    }
    assert_eq!((bench.log(), bench.dnn.plans_made()), (vec!["create".to_owned()], 0));
}

#[test]
fn passes_that_want_more_memory_than_they_may_are_refused() {
    let machine = Machine::new("");
    let bytes = |limit| Dnn::open(&machine.device, ON, limit).unwrap().refusal(&SHAPE, FIXED).unwrap();
    // Of each of 24 rows one number, at a multiple of 256 bytes, and what the library wants.
    assert_eq!(bytes(256 + 4096), None);
    assert_eq!(bytes(4351).unwrap(), "it wants 4352 bytes of working memory, more than 4351");
}

#[test]
fn a_capture_wants_what_was_planned_before() {
    let bench = Bench::new();
    let (inputs, outputs) = (bench.inputs(), bench.forward());
    let captured = bench.machine.device.capture(ON, || bench.run(&inputs, &outputs));
    let told = "device 0: an attention of a new shape cannot be planned while a graph is captured, in which nothing has run yet. Do it before \
                or afterwards.";
    assert_eq!(captured.err().unwrap().message, told);
    let opened = bench.machine.device.capture(ON, || Dnn::open(&bench.machine.device, ON, 0));
    assert!(opened.err().unwrap().message.contains("cuDNN, which the first attention opens, cannot be opened while a graph is captured"));
    bench.run(&inputs, &outputs).unwrap();
    let (graph, outcome) = bench.machine.device.capture(ON, || bench.run(&inputs, &outputs)).unwrap();
    assert_eq!((outcome, bench.dnn.plans_made()), (Outcome::Asked, 1));
    // Each launch reads what stands there by then: bf16 of 1.0, then of 2.0, whose mean is the output of every query.
    let AttentionOutputs::Forward { out, .. } = &outputs else { unreachable!() };
    for value in [[0x80, 0x3f], [0x00, 0x40]] {
        inputs.query.block().write(ON, 0, &value.repeat(6 * 2 * 4 * 8)).unwrap();
        graph.launch(ON).unwrap();
        let mut bytes = vec![0; out.byte_len()];
        out.block().read(ON, 0, &mut bytes).unwrap();
        assert_eq!(bytes, value.repeat(6 * 2 * 2 * 8));
    }
}

#[test]
fn a_library_without_a_function_is_told_and_missed_by_attention_alone() {
    let folder = Folder::new();
    folder.install_all();
    forget(&folder.0.join(CUDNN), "cudnnBackendExecute");
    let environment = Environment::only(&[("MEGATRON_CUDA_LIBS", folder.text())]);
    let device = megatron_cuda::Device::open(&Toolkit::find(&environment).unwrap(), 0).unwrap();
    let path = folder.0.join(CUDNN);
    let told = format!("cuDNN: {} cannot be used (it has no function cudnnBackendExecute). Install", path.display());
    assert!(device.has_dnn().unwrap_err().message.starts_with(&told));
}

#[test]
fn the_doctor_tells_who_computes_attention() {
    let folder = Folder::new();
    folder.install_all();
    let asked = |setting: &str| doctor(&Environment::only(&[("MEGATRON_CUDA_LIBS", folder.text()), ("MEGATRON_ATTENTION", setting)]));
    let told = |setting: &str| asked(setting).attention.unwrap();
    assert_eq!(told(""), "cuDNN 9.19.0, with gradients that are summed in one order; our kernels for the rest");
    assert_eq!(told("auto"), told(""));
    assert_eq!(told("cudnn"), "cuDNN 9.19.0 by its fastest algorithm; our kernels for the rest");
    assert_eq!(told("kernel"), "our kernels: MEGATRON_ATTENTION is kernel");
    let odd = "MEGATRON_ATTENTION: \"flash\" is nobody who computes attention. Use auto, cudnn or kernel.";
    assert_eq!(asked("flash").refusal(0).unwrap(), odd);
    control(&folder.0.join(CUDNN), "cudnn=91702");
    assert!(told("auto").starts_with("our kernels: cuDNN: version 9.17.2 of "), "{}", told("auto"));
    assert!(asked("cudnn").refusal(0).unwrap().starts_with("MEGATRON_ATTENTION=cudnn: cuDNN: version 9.17.2 of "));
    assert_eq!(AttentionSetting::of(&Environment::only(&[])).unwrap(), AttentionSetting::Auto);
}

#[test]
fn plans_are_made_without_a_device_from_its_properties() {
    let folder = Folder::new();
    folder.install_all();
    let environment = Environment::only(&[("MEGATRON_CUDA_LIBS", folder.text())]);
    assert_eq!(plan_without_device(&environment, "{}", &SHAPE, Pass::Forward).unwrap(), 256);
    control(&folder.0.join(CUDNN), "capability=80");
    let wide = AttentionShape { head_dim: 256, ..SHAPE };
    let told = "cudnnBackendFinalize fails with CUDNN_STATUS_NOT_SUPPORTED: Reason: heads of 256 channels";
    assert_eq!(plan_without_device(&environment, "{}", &wide, FIXED).unwrap_err(), told);
}
