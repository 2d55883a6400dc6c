use super::field::Field;
use super::frame::{Inbox, TooLong, frame};
use super::keys::Keys;
use super::message::*;
use super::secret::Secret;
use crate::backend::{Presence, Wait};
use crate::descriptor::{Descriptor, GroupName, Kind, Label, ReduceOp, Signature};
use crate::failure::{Code, Failure};
use storage::DType;

fn descriptor() -> Descriptor {
    let signature =
        Signature { kind: Kind::AllReduce, dtype: Some(DType::BF16), op: Some(ReduceOp::Max), root: None, count: 1024, on_device: false };
    Descriptor { group: GroupName::new("tp"), sequence: 43, signature, label: Label::new("layers.1.mlp.down") }
}

fn doing() -> Doing {
    Doing { entered: Some(descriptor()), waiting: Some(Wait { operation: descriptor(), rank: 4 }) }
}

fn failure() -> Failure {
    Failure { code: Code::Timeout, culprits: vec![1, 3], message: "rank 1 is late; so is rank 3 …".into() }
}

fn hello() -> Hello {
    let secret = Secret::new("secret");
    Hello { magic: HELLO, version: VERSION, secret, job: "job".into(), size: 8, rank: 3, pid: 77, host: "n1".into() }
}

fn asks() -> Vec<Ask> {
    let (key, value) = ("key".to_owned(), vec![0, 255, 7]);
    vec![
        Ask::Set { key: key.clone(), value: value.clone() },
        Ask::Get { key: key.clone(), limit: 10 },
        Ask::Wait { keys: vec![key.clone(), String::new()], limit: u32::MAX },
        Ask::Add { key: key.clone(), by: -3 },
        Ask::CompareSet { key: key.clone(), expected: Some(value.clone()), value: value.clone() },
        Ask::CompareSet { key: key.clone(), expected: None, value },
        Ask::Delete { key: key.clone() },
        Ask::Intern { key: key.clone() },
        Ask::Barrier { name: key, ranks: vec![0, 5], limit: 0 },
        Ask::Table {},
        Ask::Fail { failure: failure() },
        Ask::Claim {},
        Ask::Leave {},
    ]
}

fn from_ranks() -> Vec<ToStore> {
    let mut list = vec![ToStore::Hello { hello: hello() }, ToStore::Heartbeat { doing: None }, ToStore::Heartbeat { doing: Some(doing()) }];
    list.extend(asks().into_iter().enumerate().map(|(id, ask)| ToStore::Request { id: id as u64, ask }));
    list
}

fn from_store() -> Vec<ToRank> {
    let seat = Seat { presence: Presence::Lost, pid: 5, host: "n2".into(), reason: "is gone".into() };
    let replies = [
        Reply::Done {},
        Reply::Value { value: vec![1, 2] },
        Reply::Number { number: i64::MIN },
        Reply::Compared { set: true, value: Some(vec![]) },
        Reply::Table { ranks: vec![Doing::default(), doing()] },
        Reply::Standing { failure: failure() },
        Reply::Refused { sentence: "no".into() },
        Reply::Failed { failure: failure() },
    ];
    let mut list = vec![
        ToRank::Welcome { magic: WELCOME, heartbeat: 2000, seats: vec![seat.clone(), seat.clone()], failure: Some(failure()) },
        ToRank::Refused { sentence: "no".into() },
        ToRank::Pulse {},
        ToRank::Presence { rank: 1, seat },
        ToRank::Failed { failure: failure() },
        ToRank::Report {},
    ];
    list.extend(replies.map(|reply| ToRank::Answer { id: 9, reply }));
    list
}

/// Numbers that only the seed decides.
fn random(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below.max(1) as u64) as usize
    }
}

/// The bytes of `message` say all of it, and nothing less or more does.
fn check<M: Field + PartialEq + std::fmt::Debug>(message: &M) -> Vec<u8> {
    let mut bytes = frame(message).split_off(4);
    assert_eq!(decode::<M>(&bytes).as_ref(), Some(message));
    for end in 0..bytes.len() {
        assert_eq!(decode::<M>(&bytes[..end]), None, "{message:?} without its end");
    }
    bytes.push(0);
    assert_eq!(decode::<M>(&bytes), None, "{message:?} and more");
    bytes.pop();
    bytes
}

#[test]
fn a_message_is_what_its_bytes_say_and_no_part_of_them() {
    from_ranks().iter().for_each(|message| drop(check(message)));
    from_store().iter().for_each(|message| drop(check(message)));
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let mut next = random(0x9e37_79b9);
    let valid: Vec<Vec<u8>> = from_ranks().iter().map(check).chain(from_store().iter().map(check)).collect();
    for _ in 0..200_000 {
        let mut bytes = valid[next(valid.len())].clone();
        for _ in 0..1 + next(4) {
            let place = next(bytes.len());
            bytes[place] = [next(256) as u8, 0, 255][next(3)];
        }
        bytes.truncate(bytes.len() - if next(4) == 0 { next(bytes.len()) } else { 0 });
        let _ = (decode::<ToStore>(&bytes), decode::<ToRank>(&bytes), hello_version(&bytes));
    }
    for length in 0..2000 {
        let bytes: Vec<u8> = (0..length % 97).map(|_| next(256) as u8).collect();
        let _ = (decode::<ToStore>(&bytes), decode::<ToRank>(&bytes), hello_version(&bytes));
    }
}

#[test]
fn a_hello_of_another_version_still_tells_its_version() {
    let mut bytes = frame(&ToStore::Hello { hello: Hello { version: 7, ..hello() } }).split_off(4);
    bytes.truncate(20);
    assert_eq!((hello_version(&bytes), decode::<ToStore>(&bytes)), (Some(7), None));
}

#[test]
fn messages_come_out_of_a_stream_however_it_is_cut() {
    let messages = from_ranks();
    let stream: Vec<u8> = messages.iter().flat_map(frame).collect();
    let mut next = random(7);
    for _ in 0..50 {
        let (mut inbox, mut rest, mut read) = (Inbox::default(), &stream[..], Vec::new());
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(1 + next(rest.len().min(40)));
            inbox.push(piece);
            rest = more;
            while let Some(bytes) = inbox.next(MESSAGE_BYTES).unwrap() {
                read.push(decode::<ToStore>(&bytes).unwrap());
            }
        }
        assert_eq!(read, messages);
    }
}

#[test]
fn a_message_that_is_too_long_is_refused_before_it_has_arrived() {
    let mut inbox = Inbox::default();
    inbox.push(&(HELLO_BYTES as u32).to_le_bytes());
    assert_eq!(inbox.next(HELLO_BYTES), Ok(None));
    assert_eq!(inbox.next(HELLO_BYTES - 1), Err(TooLong(HELLO_BYTES)));
}

#[test]
fn secrets_are_equal_when_all_their_bytes_are_and_are_never_printed() {
    let secret = Secret::new("secret");
    assert!(secret == Secret::new("secret"));
    for other in ["", "secre", "secret ", "Secret", "secreT"] {
        assert!(secret != Secret::new(other), "{other}");
    }
    assert!(!format!("{:?}", hello()).contains("secret\""));
}

#[test]
fn a_full_store_refuses_more_and_takes_it_after_a_delete() {
    let (mut keys, big) = (Keys::default(), vec![0; 24 << 20]);
    keys.set("a", big.clone()).unwrap();
    keys.set("b", big.clone()).unwrap();
    assert_eq!(keys.set("c", big.clone()), Err("the store holds 64 MiB and takes no more. Delete keys that nobody reads.".into()));
    assert!(keys.delete("a") && !keys.delete("a"));
    assert_eq!(keys.set("c", big), Ok(()));
}
