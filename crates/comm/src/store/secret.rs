//! The token that the ranks of a job share.

use super::field::Field;
use std::fmt;
use std::hint::black_box;

/// A token. Its debug text does not show it, and comparing takes as long wherever two tokens differ.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(token: &str) -> Self {
        Self(token.as_bytes().to_vec())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        // Lengths are no secret. The sum is hidden from the optimiser, which might otherwise leave the loop early.
        let differences = self.0.iter().zip(&other.0).fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
        self.0.len() == other.0.len() && black_box(differences) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Field for Secret {
    fn put(&self, to: &mut Vec<u8>) {
        self.0.put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(Self(Field::take(from)?))
    }
}
