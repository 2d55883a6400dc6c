//! What operations say about themselves survives its way through a few words of memory.

use megatron_comm::{Descriptor, GroupName, KINDS, Kind, Label, ReduceOp, Signature};
use storage::DType;

#[test]
fn every_signature_survives_packing() {
    let ops = [None, Some(ReduceOp::Sum), Some(ReduceOp::Product)];
    for (kind, _) in KINDS {
        for dtype in DType::ALL.into_iter().map(Some).chain([None]) {
            for op in ops {
                for root in [None, Some(0), Some(70_000)] {
                    for on_device in [false, true] {
                        let signature = Signature { kind, dtype, op, root, count: u64::MAX - 3, on_device };
                        assert_eq!(Signature::unpack(signature.pack()), Some(signature));
                    }
                }
            }
        }
    }
    assert_eq!(Signature::unpack([0, 0]), None);
    assert_eq!(Signature::unpack([200, 0]), None);
}

#[test]
fn a_long_label_keeps_its_end() {
    assert_eq!(Label::new("layers.1.mlp").to_string(), "layers.1.mlp");
    let exact = "x".repeat(48);
    assert_eq!(Label::new(&exact).to_string(), exact);
    let long = format!("{}é.layers.12.self_attention.query_key_value.weight", "prefix.".repeat(9));
    let short = Label::new(&long).to_string();
    assert!(short.len() <= 48 && short.starts_with('…') && short.ends_with("query_key_value.weight"), "{short}");
    assert!(Label::new("").is_empty());
}

#[test]
fn descriptors_read_as_users_call_them() {
    let signature =
        Signature { kind: Kind::AllReduce, dtype: Some(DType::F32), op: Some(ReduceOp::Sum), root: None, count: 1024, on_device: false };
    let descriptor = Descriptor { group: GroupName::new("tp"), sequence: 43, signature, label: Label::new("layers.1.mlp.down") };
    assert_eq!(descriptor.to_string(), "allReduce#43 f32[1024] (layers.1.mlp.down)");
    assert_eq!(format!("{descriptor:#}"), "allReduce#43 f32[1024] sum (layers.1.mlp.down)");
    let there = Descriptor { signature: Signature { on_device: true, ..signature }, ..descriptor };
    assert_eq!(there.to_string(), descriptor.to_string());
    assert_eq!(format!("{there:#}"), "allReduce#43 f32[1024] sum on a device (layers.1.mlp.down)");
    let root = Signature { kind: Kind::Broadcast, op: None, root: Some(2), ..signature };
    let broadcast = Descriptor { signature: root, label: Label::EMPTY, ..descriptor };
    assert_eq!(broadcast.to_string(), "broadcast#43 f32[1024] from group rank 2");
}
