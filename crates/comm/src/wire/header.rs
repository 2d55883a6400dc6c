//! What stands before the first data of an operation on its way from one rank to another.

use crate::descriptor::{Descriptor, GroupName, ShortText, Signature};

/// Bytes of a header; the data behind it is aligned for any element.
pub const HEADER: usize = 128;
const WORDS: usize = HEADER / size_of::<u64>();
const MAGIC: u64 = u64::from_le_bytes(*b"megwire1");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's; the group is the receiver's word for it.
    pub descriptor: Descriptor,
    /// Elements that the sender has for the receiver, and expects from it, where ranks may differ in them. In a notice the first says whom
    /// the sender waits for.
    pub counts: [u64; 2],
    /// Bytes of the message that follows: with the header where it is short, by itself where it is not.
    pub length: u64,
}

impl Header {
    pub fn write(&self) -> [u8; HEADER] {
        let Descriptor { sequence, signature, label, .. } = &self.descriptor;
        let mut words = [0; WORDS];
        words[0] = MAGIC;
        words[1] = *sequence;
        words[2..4].copy_from_slice(&signature.pack());
        words[4..10].copy_from_slice(&label.0);
        words[10..12].copy_from_slice(&self.counts);
        words[12] = self.length;
        let mut bytes = [0; HEADER];
        bytes.chunks_exact_mut(size_of::<u64>()).zip(words).for_each(|(eight, word)| eight.copy_from_slice(&word.to_le_bytes()));
        bytes
    }

    /// The inverse of `write`; None when the bytes are no header.
    pub fn read(bytes: &[u8; HEADER], group: GroupName) -> Option<Self> {
        let mut words = [0; WORDS];
        for (word, eight) in words.iter_mut().zip(bytes.chunks_exact(size_of::<u64>())) {
            *word = eight.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        }
        if words[0] != MAGIC {
            return None;
        }
        let signature = Signature::unpack([words[2], words[3]])?;
        let label = ShortText(std::array::from_fn(|index| words[4 + index]));
        let descriptor = Descriptor { group, sequence: words[1], signature, label };
        Some(Self { descriptor, counts: [words[10], words[11]], length: words[12] })
    }
}
