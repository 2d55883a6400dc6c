//! How the fields of a message become bytes: numbers with the lowest byte first, a length before whatever has one.

use crate::backend::{Presence, Wait};
use crate::descriptor::{Descriptor, ShortText, Signature};
use crate::failure::{Code, Failure};

/// Something that can stand in a message.
pub trait Field: Sized {
    fn put(&self, to: &mut Vec<u8>);

    /// Takes the field from the front; None when what stands there is no such field.
    fn take(from: &mut &[u8]) -> Option<Self>;
}

/// The first `count` bytes.
fn bytes<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (front, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(front)
}

/// One byte. Not a `Field`: lists of bytes are packed.
pub fn byte(from: &mut &[u8]) -> Option<u8> {
    Some(bytes(from, 1)?[0])
}

/// A length; None when fewer bytes than that follow, which every list needs at least.
fn length(from: &mut &[u8]) -> Option<usize> {
    let length = u32::take(from)? as usize;
    (length <= from.len()).then_some(length)
}

macro_rules! numbers {
    ($($type:ty)*) => { $(
        impl Field for $type {
            fn put(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }

            fn take(from: &mut &[u8]) -> Option<Self> {
                Some(Self::from_le_bytes(bytes(from, size_of::<Self>())?.try_into().ok()?))
            }
        }
    )* };
}

numbers!(u32 u64 i64);

impl Field for bool {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        match byte(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Field for Vec<u8> {
    fn put(&self, to: &mut Vec<u8>) {
        (self.len() as u32).put(to);
        to.extend_from_slice(self);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let length = length(from)?;
        Some(bytes(from, length)?.to_vec())
    }
}

impl Field for String {
    fn put(&self, to: &mut Vec<u8>) {
        (self.len() as u32).put(to);
        to.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Self::from_utf8(Field::take(from)?).ok()
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, to: &mut Vec<u8>) {
        (self.len() as u32).put(to);
        self.iter().for_each(|item| item.put(to));
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let length = length(from)?;
        // Grows as items are found: the length alone reserves nothing.
        (0..length).map(|_| T::take(from)).collect()
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, to: &mut Vec<u8>) {
        self.is_some().put(to);
        if let Some(value) = self {
            value.put(to);
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        if bool::take(from)? { T::take(from).map(Some) } else { Some(None) }
    }
}

impl<const WORDS: usize> Field for ShortText<WORDS> {
    fn put(&self, to: &mut Vec<u8>) {
        self.0.iter().for_each(|word| word.put(to));
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let mut words = [0; WORDS];
        for word in &mut words {
            *word = u64::take(from)?;
        }
        Some(Self(words))
    }
}

impl Field for Descriptor {
    fn put(&self, to: &mut Vec<u8>) {
        self.group.put(to);
        self.sequence.put(to);
        self.signature.pack().iter().for_each(|word| word.put(to));
        self.label.put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let (group, sequence) = (Field::take(from)?, Field::take(from)?);
        let signature = Signature::unpack([Field::take(from)?, Field::take(from)?])?;
        Some(Self { group, sequence, signature, label: Field::take(from)? })
    }
}

impl Field for Wait {
    fn put(&self, to: &mut Vec<u8>) {
        self.operation.put(to);
        self.rank.put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(Self { operation: Field::take(from)?, rank: Field::take(from)? })
    }
}

impl Field for Failure {
    fn put(&self, to: &mut Vec<u8>) {
        (self.code as u32).put(to);
        self.culprits.put(to);
        self.message.put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(Self { code: Code::from_number(Field::take(from)?), culprits: Field::take(from)?, message: Field::take(from)? })
    }
}

const PRESENCES: [Presence; 4] = [Presence::Absent, Presence::Alive, Presence::Left, Presence::Lost];

impl Field for Presence {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(PRESENCES.iter().position(|presence| presence == self).unwrap_or(0) as u8);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        PRESENCES.get(usize::from(byte(from)?)).cloned()
    }
}
