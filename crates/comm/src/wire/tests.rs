use super::header::{HEADER, Header};
use super::ledger::Ledger;
use super::link::cuts;
use super::{LONGEST_MESSAGE, Piece};
use crate::descriptor::{Descriptor, GroupName, Kind, Label, ReduceOp, Signature};
use crate::operation::Fault;
use storage::DType;

fn descriptor(sequence: u64, kind: Kind) -> Descriptor {
    let signature = Signature { kind, dtype: Some(DType::BF16), op: Some(ReduceOp::Max), root: Some(3), count: u64::MAX, on_device: false };
    Descriptor { group: GroupName::new("tp"), sequence, signature, label: Label::new("layers.1.mlp.down") }
}

#[test]
fn a_header_survives_its_way() {
    let header = Header { descriptor: descriptor(43, Kind::Reduce), counts: [u64::MAX, 7], length: 1 << 40 };
    assert_eq!(Header::read(&header.write(), GroupName::new("tp")), Some(header));
}

#[test]
fn other_bytes_are_no_header() {
    let header = Header { descriptor: descriptor(1, Kind::Reduce), counts: [0; 2], length: 0 }.write();
    assert_eq!(Header::read(&[0; HEADER], GroupName::EMPTY), None);
    for place in [0, 7, 16] {
        let mut other = header;
        other[place] = 0xee;
        assert_eq!(Header::read(&other, GroupName::EMPTY), None, "byte {place}");
    }
}

#[test]
fn long_data_is_cut_into_messages_of_bounded_length() {
    let lengths = |length| cuts(&Piece { length, ..Piece::empty() }).map(|piece| piece.length).collect::<Vec<_>>();
    assert!(lengths(0).is_empty());
    assert_eq!(lengths(LONGEST_MESSAGE), [LONGEST_MESSAGE]);
    assert_eq!(lengths(2 * LONGEST_MESSAGE + 5), [LONGEST_MESSAGE, LONGEST_MESSAGE, 5]);
}

#[test]
fn what_a_rank_says_is_compared_with_what_this_one_does_and_did() {
    let mut ledger = Ledger::new(3);
    let (before, own) = (descriptor(4, Kind::Gather), descriptor(5, Kind::Reduce));
    ledger.begin(&before);
    ledger.begin(&own);
    // Ahead, in the same, and late in one that this rank has ended.
    assert_eq!(ledger.hear(1, descriptor(6, Kind::Gather), &own, true), Ok(()));
    assert_eq!(ledger.posted(1, &own), None);
    assert_eq!(ledger.hear(1, own, &own, true), Ok(()));
    assert_eq!(ledger.posted(1, &own), Some(own));
    assert_eq!(ledger.hear(1, before, &own, false), Ok(()));
    // Data of an operation that has ended without it, and other operations.
    assert_eq!(ledger.hear(1, before, &own, true), Err(Fault::Disagree));
    assert_eq!(ledger.hear(2, descriptor(5, Kind::Scatter), &own, true), Err(Fault::Disagree));
    assert_eq!(ledger.hear(2, descriptor(4, Kind::Scatter), &own, false), Err(Fault::Disagree));
    assert_eq!(ledger.posted(2, &own), Some(descriptor(4, Kind::Scatter)));
}
