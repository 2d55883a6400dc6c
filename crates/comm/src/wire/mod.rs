//! Collectives over messages: for transports that only move bytes between pairs of ranks. Sums run in group-rank order as everywhere.
//!
//! The first message of an operation from one rank to another begins with a header that says what the sender is about, so that a rank in
//! another operation is seen before any data is used. Little data rides along; more follows straight from and into the tensors' memory.

mod all_reduce;
mod barrier;
mod broadcast;
mod bruck;
mod collective;
mod direct_reduce;
mod exchange;
mod flight;
mod header;
mod ledger;
mod link;
mod memory;
mod notices;
mod pairwise;
mod reduce_scatter;
mod rooted;
mod small_all_gather;
mod small_all_reduce;
#[cfg(test)]
mod tests;
mod transport;

use crate::operation::Fault;
use std::any::Any;
use std::sync::Arc;

pub use transport::WireTransport;

/// The longest message that a wire is asked to move: libraries count in 32 bits.
pub const LONGEST_MESSAGE: usize = 1 << 30;

/// Memory of one message.
#[derive(Clone)]
pub struct Piece {
    pub bytes: *mut u8,
    pub length: usize,
    /// Holds the memory until the message has ended, also when its operation is given up before.
    pub keep: Arc<dyn Any + Send + Sync>,
}

// SAFETY: plain memory, held by `keep`; whoever dereferences the pointer answers for races.
unsafe impl Send for Piece {}

/// A message under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub u64);

/// Moves messages between the ranks of a world. Ranks are world ranks. Nothing blocks. Messages of one sender, receiver and tag are received
/// in the order in which they were sent, into the pieces in the order in which those were posted.
pub trait Wire: Send + Sync {
    /// A tag for `purpose`: the same on all ranks, unlike that of any other purpose. None while it is being agreed upon.
    fn tag(&self, purpose: &str) -> Result<Option<u32>, Fault>;

    /// Starts to send. The memory must not change until the message has ended.
    fn send(&self, peer: u32, tag: u32, piece: Piece) -> Result<Token, Fault>;

    /// Starts to receive a message of at most the piece's length. The memory must not be touched until the message has ended.
    fn receive(&self, peer: u32, tag: u32, piece: Piece) -> Result<Token, Fault>;

    /// The message's length once it has ended, and then no more; None before.
    fn test(&self, token: Token) -> Result<Option<usize>, Fault>;

    /// Gives a message up. Its memory stays held until it has ended by itself.
    fn abandon(&self, token: Token);
}
