//! Things that JavaScript names by number.

use crate::hot_op::Failure;
use std::collections::VecDeque;

const SLOT_BITS: u32 = 20;
const SLOTS: usize = 1 << SLOT_BITS;
/// Free slots kept waiting, so that a stale handle is told from a new one for long.
const RESTING: usize = 64;

/// Things that handles name: 20 bits of slot, 11 of generation, never 0.
pub struct Table<T> {
    slots: Vec<(u32, Option<T>)>,
    free: VecDeque<usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: VecDeque::new() }
    }
}

impl<T> Table<T> {
    pub fn insert(&mut self, what: &str, value: T) -> Result<u32, Failure> {
        let index = if self.free.len() > RESTING { self.free.pop_front() } else { None }.unwrap_or(self.slots.len());
        if index == SLOTS {
            return Err(format!("{what}: {SLOTS} are open at once. Wait for work, and close groups.").into());
        }
        if index == self.slots.len() {
            self.slots.push((0, None));
        }
        let slot = &mut self.slots[index];
        *slot = (slot.0 % 0x7ff + 1, Some(value));
        Ok(slot.0 << SLOT_BITS | index as u32)
    }

    pub fn get(&self, what: &str, handle: u32) -> Result<&T, Failure> {
        let slot = self.slots.get(handle as usize % SLOTS).filter(|slot| slot.0 == handle >> SLOT_BITS);
        slot.and_then(|slot| slot.1.as_ref())
            .ok_or_else(|| format!("{what}: handle {handle} is not open. Use it before it is closed.").into())
    }

    pub fn remove(&mut self, what: &str, handle: u32) -> Result<T, Failure> {
        self.get(what, handle)?;
        let index = handle as usize % SLOTS;
        self.free.push_back(index);
        self.slots[index].1.take().ok_or_else(|| format!("{what}: handle {handle} is not open.").into())
    }
}
