//! Which attentions a real cuDNN plans, without a device: `cargo run --example cudnn_plans -- PROPERTIES.json`, with the library where the
//! doctor finds it. The file holds the properties of a device as cuDNN writes them (`CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION`). The library
//! opens `libcuda.so.1` all the same: without a driver, any that answers its calls will do.

extern crate megatron_cuda as cuda;

use cuda::{AttentionShape, Environment, Pass, plan_without_device};
use storage::DType;

const SHAPE: AttentionShape = AttentionShape {
    dtype: DType::BF16,
    queries: 2048,
    keys: 2048,
    batch: 2,
    heads: 16,
    key_heads: 16,
    head_dim: 128,
    causal: true,
    has_window: false,
    rows: [48, 48],
};

fn shapes() -> Vec<(&'static str, AttentionShape)> {
    let heads = |head_dim| AttentionShape { head_dim, ..SHAPE };
    let apart = AttentionShape { causal: false, keys: 1024, rows: [16, 32], ..SHAPE };
    vec![
        ("64 channels", heads(64)),
        ("72 channels", heads(72)),
        ("128 channels", SHAPE),
        ("256 channels", heads(256)),
        ("f16", AttentionShape { dtype: DType::F16, ..SHAPE }),
        ("no mask", AttentionShape { causal: false, ..SHAPE }),
        ("window", AttentionShape { has_window: true, ..SHAPE }),
        ("4 key heads", AttentionShape { key_heads: 4, rows: [24, 24], ..SHAPE }),
        ("4 key heads, window", AttentionShape { key_heads: 4, rows: [24, 24], has_window: true, ..SHAPE }),
        ("1 key head", AttentionShape { key_heads: 1, rows: [18, 18], ..SHAPE }),
        ("keys of another buffer", apart),
        ("1000 positions", AttentionShape { queries: 1000, keys: 1000, ..SHAPE }),
        ("3 positions", AttentionShape { queries: 3, keys: 3, ..SHAPE }),
        ("1 position", AttentionShape { queries: 1, keys: 1, ..SHAPE }),
    ]
}

fn main() {
    let path = std::env::args().nth(1).expect("name a file with a device's properties");
    let properties = std::fs::read_to_string(&path).expect("the file can be read");
    let environment = Environment::of_process();
    let passes = [
        ("forward", Pass::Forward),
        ("backward", Pass::Backward { is_fixed: false }),
        ("backward, fixed order", Pass::Backward { is_fixed: true }),
    ];
    for (name, shape) in shapes() {
        for (which, pass) in passes {
            let told = match plan_without_device(&environment, &properties, &shape, pass) {
                Ok(bytes) => format!("{bytes} bytes"),
                Err(reason) => reason.chars().take(160).collect(),
            };
            println!("{name:24} {which:22} {told}");
        }
    }
}
