//! Attention: which kernels, and what they are told of their buffers.

use crate::machine::{Machine, arguments, head};
use device::ops::attention::{Inputs, Saved, attention, attention_backward};
use kernels::attention::Attention;
use kernels::gemm::Precision;
use kernels::random::Dropout;
use storage::DType;

const SHAPE: Attention = Attention {
    queries: 70,
    keys: 70,
    batch: 2,
    heads: 4,
    key_heads: 2,
    head_dim: 64,
    causal: true,
    window: None,
    scale: 0.125,
    dropout: None,
    precision: Precision::F32,
};

fn names(machine: &Machine) -> Vec<String> {
    machine.launches().iter().map(|line| head(line).split(' ').nth(1).unwrap().to_owned()).collect()
}

/// One buffer of q, k and v.
fn fused(machine: &Machine, dtype: DType, shape: &Attention) -> Inputs {
    let heads = shape.heads + 2 * shape.key_heads;
    let q = machine.tensor(dtype, shape.queries * shape.batch * heads * shape.head_dim);
    Inputs { q, kv: None, segments: [None, None], bias: None }
}

#[test]
fn sixteen_bits_go_to_tensor_cores_and_the_rest_to_the_plain_kernels() {
    let machine = Machine::new();
    let launched = |dtype: DType, shape: Attention, with_bias: bool| {
        let mut inputs = fused(&machine, dtype, &shape);
        inputs.bias = with_bias.then(|| machine.tensor(DType::F32, shape.heads * shape.queries * shape.keys));
        machine.forget();
        machine.expect_no_leak(|| attention(&machine.on, &inputs, &shape).unwrap());
        head(&machine.launches()[0]).to_owned()
    };
    let plain = "launch attention_plain grid 72x1x1 block 256x1x1 shared 18688 in stream 1";
    assert_eq!(launched(DType::BF16, SHAPE, false), "launch attention grid 16x1x1 block 128x1x1 shared 0 in stream 1");
    assert_eq!(launched(DType::F32, SHAPE, false), plain);
    assert_eq!(launched(DType::BF16, SHAPE, true), plain);
    assert_eq!(launched(DType::F16, Attention { head_dim: 20, ..SHAPE }, false), plain);
    assert!(launched(DType::F16, Attention { head_dim: 80, ..SHAPE }, false).starts_with("launch attention grid"));
    assert!(launched(DType::BF16, Attention { head_dim: 256, ..SHAPE }, false).contains("attention_plain grid 72x1x1"));
    let odd = fused(&machine, DType::F32, &Attention { head_dim: 300, ..SHAPE });
    let refused = attention(&machine.on, &odd, &Attention { head_dim: 300, ..SHAPE }).unwrap_err();
    assert!(refused.contains("heads of 300 channels have no kernel on a CUDA device"), "{refused}");
}

#[test]
fn a_fused_buffer_is_told_by_three_places_and_its_strides() {
    let machine = Machine::new();
    let shape = Attention { window: Some(9), dropout: Some(Dropout::new(0.5, [1, 2], [3, 4]).unwrap()), ..SHAPE };
    let inputs = fused(&machine, DType::BF16, &shape);
    machine.forget();
    machine.expect_no_leak(|| attention(&machine.on, &inputs, &shape).unwrap());
    let numbers = "[70,70,2,4,64,2,1,9,2147483648][0.125,2][1024,512,64,1024,512,64,512,256,64]";
    let places = "draw=#3+0 query_segments=null key_segments=null q=#2+0 k=#2+512 v=#2+768 out=#4+0 lse=#5+0";
    assert_eq!(arguments(&machine.launches()[0]), format!("shape={numbers} {places}"));
}

#[test]
fn keys_of_another_sequence_have_a_buffer_of_their_own() {
    let machine = Machine::new();
    let shape = Attention { keys: 30, causal: false, ..SHAPE };
    let (q, kv) = (machine.tensor(DType::F32, 70 * 2 * 4 * 64), machine.tensor(DType::F32, 30 * 2 * 4 * 64));
    let segments = [70, 30].map(|rows| Some(machine.tensor(DType::I32, rows * 2)));
    let inputs = Inputs { q, kv: Some(kv), segments, bias: None };
    machine.forget();
    machine.expect_no_leak(|| attention(&machine.on, &inputs, &shape).unwrap());
    let numbers = "[70,30,2,4,64,2,0,0,0][0.125,1][512,256,64,512,256,64,512,256,64]";
    let places = "draw=null query_segments=#4+0 key_segments=#5+0 bias=null q=#2+0 k=#3+0 v=#3+512 out=#6+0 lse=#7+0";
    assert_eq!(arguments(&machine.launches()[0]), format!("shape={numbers} {places}"));
    let short = Inputs { segments: [Some(machine.tensor(DType::I32, 70)), None], ..inputs };
    assert!(attention(&machine.on, &short, &shape).unwrap_err().contains("querySegments has 70 values"));
}

#[test]
fn the_gradients_go_where_the_operands_lie() {
    let machine = Machine::new();
    let backward = |dtype: DType, wants_bias: bool| {
        let mut inputs = fused(&machine, dtype, &SHAPE);
        inputs.bias = wants_bias.then(|| machine.tensor(DType::F32, 4 * 70 * 70));
        let [out, grad] = [0, 0].map(|_| machine.tensor(dtype, 70 * 2 * 4 * 64));
        let lse = machine.tensor(DType::F32, 2 * 4 * 70);
        machine.forget();
        machine.expect_no_leak(|| {
            let saved = Saved { out: &out, lse: &lse, grad: &grad };
            let made = attention_backward(&machine.on, &inputs, &saved, &SHAPE, wants_bias).unwrap();
            assert_eq!((made.q.len(), made.kv.is_some(), made.bias.is_some()), (inputs.q.len(), false, wants_bias));
        });
        names(&machine)
    };
    assert_eq!(backward(DType::BF16, false), ["attention_delta", "attention_backward_q", "attention_backward_kv"]);
    let last = machine.launches().pop().unwrap();
    assert_eq!(head(&last), "launch attention_backward_kv grid 8x1x1 block 128x1x1 shared 0 in stream 1");
    let places: Vec<&str> = arguments(&last).split(' ').rev().take(2).collect();
    assert!(places[1].ends_with("+512") && places[0].ends_with("+768"), "{places:?}");
    let plain = ["attention_delta", "attention_plain_backward_q", "attention_plain_backward_kv", "attention_plain_backward_bias"];
    assert_eq!(backward(DType::F32, true), plain);
    assert_eq!(backward(DType::F32, false), plain[..3]);
}
