//! Parts of the world's memory that groups claim when they first need them: whoever comes first reserves the memory.

use super::join::no_room;
use super::platform::{Mapping, PAGE};
use super::segment::{REGIONS, Segment};
use crate::operation::Fault;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What `RegionCell::offset` says when its memory could not be reserved.
const REFUSED: u64 = u64::MAX;

/// What a region is for: equal on every rank that uses it.
pub struct Purpose {
    /// The name of the group and, for messages, of the pair.
    pub text: String,
    /// Never 0.
    pub key: u64,
    pub bytes: usize,
    /// How many ranks use it.
    pub users: u32,
}

impl Purpose {
    /// `tag` tells the regions of one group apart.
    pub fn new(spec: &crate::GroupSpec, tag: &str, bytes: usize, users: u32) -> Self {
        let identity = format!("{}\n{:?}\n{}\n{tag}", spec.name, spec.ranks, spec.instance);
        // FNV-1a.
        let hash = identity.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        Self { text: format!("group {}", spec.name), key: hash.max(1), bytes: bytes.next_multiple_of(PAGE), users }
    }
}

/// A region that this rank uses.
pub struct Region {
    segment: Arc<Segment>,
    mapping: Mapping,
    cell: usize,
    offset: u64,
    bytes: usize,
    users: u32,
}

impl Region {
    /// The region of `purpose`; None while another rank is reserving its memory.
    pub fn claim(segment: &Arc<Segment>, purpose: &Purpose) -> Result<Option<Self>, Fault> {
        let start = purpose.key as usize;
        for index in (0..REGIONS).map(|step| start.wrapping_add(step) % REGIONS) {
            let cell = segment.region_cell(index);
            match cell.key.compare_exchange(0, purpose.key, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    let offset = reserve(segment, purpose);
                    cell.offset.store(*offset.as_ref().unwrap_or(&REFUSED), Ordering::Release);
                    segment.ring_all();
                    return Self::enter(segment, purpose, index, offset?).map(Some);
                }
                Err(key) if key == purpose.key => {
                    return match cell.offset.load(Ordering::Acquire) {
                        // The rank that was refused records the failure.
                        0 | REFUSED => Ok(None),
                        offset => Self::enter(segment, purpose, index, offset).map(Some),
                    };
                }
                Err(_) => {}
            }
        }
        Err(Fault::Broken(format!("{}: the world has used up its {REGIONS} regions. Open fewer groups.", purpose.text)))
    }

    fn enter(segment: &Arc<Segment>, purpose: &Purpose, cell: usize, offset: u64) -> Result<Self, Fault> {
        let mapping = segment.memory.map(offset, purpose.bytes);
        let mapping = mapping.map_err(|error| Fault::Broken(format!("{} cannot be mapped: {error}.", purpose.text)))?;
        Ok(Self { segment: Arc::clone(segment), mapping, cell, offset, bytes: purpose.bytes, users: purpose.users })
    }

    /// Its first byte; all bytes were zero when it was claimed.
    pub fn base(&self) -> *mut u8 {
        self.mapping.base()
    }
}

impl Drop for Region {
    /// The last user gives the memory back.
    fn drop(&mut self) {
        let closed = self.segment.region_cell(self.cell).closed.fetch_add(1, Ordering::AcqRel) + 1;
        if closed == self.users {
            self.segment.memory.discard(self.offset, self.bytes);
        }
    }
}

fn reserve(segment: &Segment, purpose: &Purpose) -> Result<u64, Fault> {
    let offset = segment.header().end.fetch_add(purpose.bytes as u64, Ordering::AcqRel);
    let reserved = segment.memory.reserve(offset, purpose.bytes);
    reserved.map_err(|error| Fault::Broken(no_room(&purpose.text, purpose.bytes, &error)))?;
    Ok(offset)
}
