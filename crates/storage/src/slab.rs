//! Integers that name spans: 20 bits of slot, 11 bits of generation, so that a stale handle is refused and not another tensor.

use crate::Span;
use std::collections::VecDeque;

const SLOT_BITS: u32 = 20;
const SLOTS: usize = 1 << SLOT_BITS;
const GENERATIONS: u32 = 1 << 11;

/// Free slots kept waiting: a slot is reused only after this many others, and so a generation comes back late.
const RESTING: usize = 1024;

struct Slot {
    /// From 1 on, so that no handle is 0.
    generation: u32,
    span: Option<Span>,
}

/// The spans that one thread's JavaScript holds.
#[derive(Default)]
pub struct Slab {
    slots: Vec<Slot>,
    free: VecDeque<u32>,
}

/// The sentence for a handle that names nothing.
pub fn not_live(op: &str, handle: u32) -> String {
    format!("{op}: handle {handle} is not live. Use a tensor before its scope closes, or keep() it.")
}

impl Slab {
    /// The handle of a span that lives until `remove`: below 2^31 and never 0.
    pub fn insert(&mut self, span: Span) -> Result<u32, String> {
        let grow = self.slots.len() < SLOTS && self.free.len() < RESTING;
        let index = match if grow { None } else { self.free.pop_front() } {
            Some(index) => index,
            None if grow => {
                self.slots.push(Slot { generation: 1, span: None });
                self.slots.len() as u32 - 1
            }
            None => return Err(format!("{SLOTS} tensors are live. Release tensors, or close scopes sooner.")),
        };
        let slot = &mut self.slots[index as usize];
        slot.span = Some(span);
        Ok(slot.generation << SLOT_BITS | index)
    }

    /// The span of a live handle.
    pub fn get(&self, handle: u32) -> Option<&Span> {
        let slot = self.slots.get(handle as usize % SLOTS)?;
        if slot.generation == handle >> SLOT_BITS { slot.span.as_ref() } else { None }
    }

    /// Ends a handle and hands its span over.
    pub fn remove(&mut self, handle: u32) -> Option<Span> {
        let index = handle % SLOTS as u32;
        let slot = self.slots.get_mut(index as usize).filter(|slot| slot.generation == handle >> SLOT_BITS)?;
        let span = slot.span.take()?;
        slot.generation = if slot.generation + 1 == GENERATIONS { 1 } else { slot.generation + 1 };
        self.free.push_back(index);
        Some(span)
    }

    /// How many handles are live.
    pub fn live(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
