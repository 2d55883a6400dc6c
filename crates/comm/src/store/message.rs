//! What a rank and the store say to each other: one table for each direction, read and written by the same rows.

use super::field::{Field, byte};
use super::secret::Secret;
use crate::backend::{Presence, Wait};
use crate::descriptor::Descriptor;
use crate::failure::Failure;

/// Begins a rank's first message.
pub const HELLO: u64 = u64::from_le_bytes(*b"MGTNrank");
/// Begins the store's first message. Another word, so that a socket that met itself is told apart.
pub const WELCOME: u64 = u64::from_le_bytes(*b"MGTNmain");
/// Raised by whatever changes the tables below. The hello keeps its first fields, so that versions can name each other.
pub const VERSION: u32 = 1;

/// The largest first message: a limit for strangers.
pub const HELLO_BYTES: usize = 64 << 10;
/// The largest message of a rank that was let in.
pub const MESSAGE_BYTES: usize = 1 << 20;
/// The largest message of the store: a table of all ranks.
pub const TABLE_BYTES: usize = 64 << 20;

/// An enum whose rows carry their number: a byte in front of the fields.
macro_rules! messages {
    ($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $number:literal $row:ident { $($field:ident: $type:ty),* })* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$note])* $row { $($field: $type),* },)* }

        impl Field for $name {
            fn put(&self, to: &mut Vec<u8>) {
                match self {
                    $(Self::$row { $($field),* } => {
                        to.push($number);
                        $($field.put(to);)*
                    })*
                }
            }

            fn take(from: &mut &[u8]) -> Option<Self> {
                match byte(from)? {
                    $($number => Some(Self::$row { $($field: Field::take(from)?),* }),)*
                    _ => None,
                }
            }
        }
    };
}

/// Fields one after the other.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Clone, Debug, PartialEq, Eq)]
        $(#[$doc])*
        pub struct $name { $($(#[$note])* pub $field: $type,)* }

        impl Field for $name {
            fn put(&self, to: &mut Vec<u8>) {
                $(self.$field.put(to);)*
            }

            fn take(from: &mut &[u8]) -> Option<Self> {
                Some(Self { $($field: Field::take(from)?,)* })
            }
        }
    };
}

record! {
    /// Who wants in.
    Hello {
        magic: u64,
        version: u32,
        secret: Secret,
        job: String,
        size: u32,
        rank: u32,
        pid: u32,
        host: String,
    }
}

record! {
    /// What everyone knows about a rank.
    Seat {
        presence: Presence,
        pid: u32,
        host: String,
        /// How it was lost, as words that follow its name; empty otherwise.
        reason: String,
    }
}

record! {
    /// What a rank does, as far as it has told.
    #[derive(Default)]
    Doing {
        /// The operation it entered last.
        entered: Option<Descriptor>,
        waiting: Option<Wait>,
    }
}

messages! {
    /// From a rank.
    ToStore {
        1 Hello { hello: Hello }
        /// `doing`: None when nothing has changed since the last one.
        2 Heartbeat { doing: Option<Doing> }
        3 Request { id: u64, ask: Ask }
    }
}

messages! {
    /// What a request asks for. Limits in milliseconds.
    Ask {
        1 Set { key: String, value: Vec<u8> }
        2 Get { key: String, limit: u32 }
        3 Wait { keys: Vec<String>, limit: u32 }
        4 Add { key: String, by: i64 }
        5 CompareSet { key: String, expected: Option<Vec<u8>>, value: Vec<u8> }
        6 Delete { key: String }
        7 Intern { key: String }
        8 Barrier { name: String, ranks: Vec<u32>, limit: u32 }
        9 Table {}
        10 Fail { failure: Failure }
        /// The number 1 for the first who asks to report the failure, 0 for the others.
        11 Claim {}
        12 Leave {}
    }
}

messages! {
    /// From the store.
    ToRank {
        /// `heartbeat`: milliseconds between two heartbeats.
        1 Welcome { magic: u64, heartbeat: u32, seats: Vec<Seat>, failure: Option<Failure> }
        2 Refused { sentence: String }
        /// The answer to a heartbeat.
        3 Pulse {}
        4 Presence { rank: u32, seat: Seat }
        5 Failed { failure: Failure }
        /// Asks for a heartbeat at once.
        6 Report {}
        7 Answer { id: u64, reply: Reply }
    }
}

messages! {
    /// What becomes of a request.
    Reply {
        1 Done {}
        2 Value { value: Vec<u8> }
        3 Number { number: i64 }
        4 Compared { set: bool, value: Option<Vec<u8>> }
        5 Table { ranks: Vec<Doing> }
        6 Standing { failure: Failure }
        /// The request is wrong by itself.
        7 Refused { sentence: String }
        /// The wait for it was in vain.
        8 Failed { failure: Failure }
    }
}

/// The message that `frame` is, whole; None for any other bytes.
pub fn decode<M: Field>(mut frame: &[u8]) -> Option<M> {
    let message = M::take(&mut frame)?;
    frame.is_empty().then_some(message)
}

/// The protocol version of a hello, whatever else that version writes into it.
pub fn hello_version(frame: &[u8]) -> Option<u32> {
    let (&kind, mut rest) = frame.split_first()?;
    let is_hello = kind == 1 && u64::take(&mut rest)? == HELLO;
    is_hello.then(|| u32::take(&mut rest))?
}

impl Ask {
    /// The request as errors name it, such as `get "layout"`.
    pub fn title(&self) -> String {
        match self {
            Self::Set { key, .. } => format!("set {key:?}"),
            Self::Get { key, .. } => format!("get {key:?}"),
            Self::Wait { keys, .. } => format!("wait for {}", keys_text(keys)),
            Self::Add { key, .. } => format!("add to {key:?}"),
            Self::CompareSet { key, .. } => format!("compare and set {key:?}"),
            Self::Delete { key } => format!("delete {key:?}"),
            Self::Intern { key } => format!("intern {key:?}"),
            Self::Barrier { name, .. } => format!("barrier {name:?}"),
            Self::Table {} => "table of all ranks".into(),
            Self::Fail { .. } => "record of a failure".into(),
            Self::Claim {} => "report of the failure".into(),
            Self::Leave {} => "leave".into(),
        }
    }
}

/// `"a", "b"`
pub fn keys_text<S: std::fmt::Debug>(keys: &[S]) -> String {
    keys.iter().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(", ")
}
