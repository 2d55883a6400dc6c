//! Messages in a stream of bytes: the length of each stands in front of it.

use super::field::Field;

const PREFIX: usize = 4;
/// Memory that an idle connection may keep.
const IDLE: usize = 64 << 10;

/// `message` as it goes over the wire.
pub fn frame(message: &impl Field) -> Vec<u8> {
    let mut bytes = vec![0; PREFIX];
    message.put(&mut bytes);
    let length = (bytes.len() - PREFIX) as u32;
    bytes[..PREFIX].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// A message longer than the reader takes: its length in bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong(pub usize);

/// What has arrived and was not read yet.
#[derive(Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
}

impl Inbox {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message of at most `limit` bytes. A longer one is refused as soon as its length has arrived.
    pub fn next(&mut self, limit: usize) -> Result<Option<Vec<u8>>, TooLong> {
        let Some((prefix, rest)) = self.bytes[self.start..].split_first_chunk::<PREFIX>() else {
            self.compact();
            return Ok(None);
        };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > limit {
            return Err(TooLong(length));
        }
        let Some(message) = rest.get(..length).map(<[u8]>::to_vec) else {
            self.compact();
            return Ok(None);
        };
        self.start += PREFIX + length;
        Ok(Some(message))
    }

    /// Gives up what was read.
    fn compact(&mut self) {
        self.bytes.drain(..self.start);
        self.start = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > IDLE {
            self.bytes = Vec::new();
        }
    }
}
