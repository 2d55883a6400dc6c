//! The values of a store, by key, and the small numbers of interned keys.

use std::collections::HashMap;

/// Bytes of all keys and values together.
const CAPACITY: usize = 64 << 20;
/// What an entry costs besides its bytes.
const ENTRY: usize = 64;

#[derive(Default)]
pub struct Keys {
    values: HashMap<String, Vec<u8>>,
    interned: HashMap<String, u32>,
    bytes: usize,
}

impl Keys {
    pub fn get(&self, key: &str) -> Option<&Vec<u8>> {
        self.values.get(key)
    }

    pub fn set(&mut self, key: &str, value: Vec<u8>) -> Result<(), String> {
        let before = self.values.get(key).map_or(0, |value| ENTRY + key.len() + value.len());
        let after = self.reserve(ENTRY + key.len() + value.len(), before)?;
        self.values.insert(key.to_owned(), value);
        self.bytes = after;
        Ok(())
    }

    /// What the store would hold with `more` bytes in place of `less`.
    fn reserve(&self, more: usize, less: usize) -> Result<usize, String> {
        let after = self.bytes - less + more;
        if after > CAPACITY && more > less {
            return Err(format!("the store holds {} MiB and takes no more. Delete keys that nobody reads.", CAPACITY >> 20));
        }
        Ok(after)
    }

    /// Adds to the number that `key` holds, written in decimal digits; an absent one counts as 0.
    pub fn add(&mut self, key: &str, by: i64) -> Result<i64, String> {
        let before = match self.values.get(key) {
            None => 0,
            Some(value) => std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok()).ok_or_else(|| {
                format!("key {key:?} holds {} bytes that are no whole number. Add only to keys that were made by adding.", value.len())
            })?,
        };
        let after = before.checked_add(by).ok_or_else(|| format!("{before} and {by} make no 64-bit number. Add less."))?;
        self.set(key, after.to_string().into_bytes())?;
        Ok(after)
    }

    /// Sets `key` if it holds `expected`, None for a key that is absent. Returns whether it did, and what it holds now.
    pub fn compare_set(&mut self, key: &str, expected: Option<&Vec<u8>>, value: Vec<u8>) -> Result<(bool, Option<Vec<u8>>), String> {
        let held = self.values.get(key);
        if held != expected {
            return Ok((false, held.cloned()));
        }
        self.set(key, value.clone())?;
        Ok((true, Some(value)))
    }

    /// Whether there was such a key.
    pub fn delete(&mut self, key: &str) -> bool {
        let value = self.values.remove(key);
        self.bytes -= value.as_ref().map_or(0, |value| ENTRY + key.len() + value.len());
        value.is_some()
    }

    /// The number of `key`: from 1, in the order of first asking.
    pub fn intern(&mut self, key: &str) -> Result<u32, String> {
        if let Some(&number) = self.interned.get(key) {
            return Ok(number);
        }
        self.bytes = self.reserve(ENTRY + key.len(), 0)?;
        let number = self.interned.len() as u32 + 1;
        self.interned.insert(key.to_owned(), number);
        Ok(number)
    }
}
