//! Plans by their keys.

use super::key::Key;
use super::plan::Plan;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Plans that are kept. Training needs some dozens; what has ever new shapes begins anew instead of growing for ever.
const MOST: usize = 1024;

#[derive(Default)]
pub(super) struct Plans {
    kept: HashMap<Key, Plan>,
    /// How many were made.
    pub made: u64,
}

impl Plans {
    /// The plan of a key, made when there is none.
    pub fn get_or_make<E>(&mut self, key: Key, make: impl FnOnce() -> Result<Plan, E>) -> Result<&Plan, E> {
        if self.kept.len() >= MOST && !self.kept.contains_key(&key) {
            self.kept.clear();
        }
        match self.kept.entry(key) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(free) => {
                let plan = make()?;
                self.made += 1;
                Ok(free.insert(plan))
            }
        }
    }

    /// Ends all of them.
    pub fn clear(&mut self) {
        self.kept.clear();
    }
}
