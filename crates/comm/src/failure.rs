//! Why a world stopped: one record, the first one, told alike by every rank.

use std::fmt;

/// What kind of failure stopped the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// A rank exited, or left, while another waited for it.
    PeerLost = 1,
    /// The ranks called different operations.
    Mismatch = 2,
    /// A rank did not arrive before the deadline.
    Timeout = 3,
    /// A rank gave the world up for a reason of its own.
    Aborted = 4,
}

impl Code {
    pub fn name(self) -> &'static str {
        match self {
            Self::PeerLost => "PEER_LOST",
            Self::Mismatch => "MISMATCH",
            Self::Timeout => "TIMEOUT",
            Self::Aborted => "ABORTED",
        }
    }

    /// The code with this number; an unknown number reads as `Aborted`.
    pub fn from_number(number: u32) -> Self {
        match number {
            1 => Self::PeerLost,
            2 => Self::Mismatch,
            3 => Self::Timeout,
            _ => Self::Aborted,
        }
    }
}

/// The record of a failure. `culprits` are world ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub culprits: Vec<u32>,
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error of this crate: a call that is wrong by itself, or a failure of the whole world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Refused before anything was sent; the world is unharmed.
    Refused(String),
    /// The world has failed; nothing more will move.
    Failed(Failure),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(message) => f.write_str(message),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// `1` as "rank 1", `1, 3` as "ranks 1, 3".
pub fn ranks_text(ranks: &[u32]) -> String {
    let list: Vec<String> = ranks.iter().map(u32::to_string).collect();
    format!("{} {}", if ranks.len() == 1 { "rank" } else { "ranks" }, list.join(", "))
}
