//! The world's memory: a header of plain atomics that every rank maps, followed by regions that groups claim when first used.
//!
//! It loses its name once all ranks have it open, so nothing is left behind however the ranks end.

use super::platform::{self, Mapping, Memory, PAGE};
use crate::backend::Wait;
use crate::descriptor::{Descriptor, ShortText, Signature};
use crate::failure::{Code, Failure};
use std::mem::size_of;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

pub const MAGIC: u64 = u64::from_le_bytes(*b"megtron1");
/// Regions that a world can ever claim.
pub const REGIONS: usize = 4096;
const CULPRITS: usize = 61;
const TEXT_WORDS: usize = 256;

/// What `FailureCell::state` says.
const WRITING: u32 = 1;
const WRITTEN: u32 = 2;

#[repr(C, align(128))]
pub struct Header {
    pub magic: AtomicU64,
    pub size: AtomicU32,
    pub joined: AtomicU32,
    /// 1 once the memory has lost its name.
    pub nameless: AtomicU32,
    /// First byte that no region has claimed.
    pub end: AtomicU64,
    failure: FailureCell,
}

#[repr(C)]
struct FailureCell {
    state: AtomicU32,
    code: AtomicU32,
    /// 1 once a rank has taken it upon itself to report the failure.
    reported: AtomicU32,
    culprits: AtomicU32,
    culprit: [AtomicU32; CULPRITS],
    text: [AtomicU64; TEXT_WORDS],
}

/// What `RankCell::presence` says; zero is absent.
pub const ALIVE: u32 = 1;
pub const LEFT: u32 = 2;

#[repr(C, align(128))]
pub struct RankCell {
    pub presence: AtomicU32,
    pub pid: AtomicU32,
    pub namespace: AtomicU64,
    /// The operation this rank entered last.
    entered: DescriptorCell,
    /// The operation that keeps it waiting.
    waiting: DescriptorCell,
    /// Whom that waits for, plus 1; 0 while it goes on.
    awaited: AtomicU32,
    core: CoreCell,
}

/// The core on which a rank entered its last operation, plus 1; 0 where it is unknown. It has a line of its own: others read it while they
/// wait, and what shares a line with it is written for each operation.
#[repr(C, align(128))]
struct CoreCell(AtomicU32);

/// One descriptor that others may read at any time.
#[repr(C)]
struct DescriptorCell {
    group: [AtomicU64; 4],
    /// 0 while there is none.
    sequence: AtomicU64,
    signature: [AtomicU64; 2],
    label: [AtomicU64; 6],
}

impl DescriptorCell {
    fn store(&self, descriptor: &Descriptor) {
        store_words(&self.group, &descriptor.group.0);
        store_words(&self.signature, &descriptor.signature.pack());
        store_words(&self.label, &descriptor.label.0);
        self.sequence.store(descriptor.sequence, Ordering::Release);
    }

    fn load(&self) -> Option<Descriptor> {
        let sequence = self.sequence.load(Ordering::Acquire);
        let signature = Signature::unpack(load_words(&self.signature))?;
        let (group, label) = (ShortText(load_words(&self.group)), ShortText(load_words(&self.label)));
        (sequence > 0).then_some(Descriptor { group, sequence, signature, label })
    }
}

/// Where the threads of one rank sleep.
#[repr(C, align(128))]
pub struct BellCell {
    pub epoch: AtomicU32,
    pub sleepers: AtomicU32,
}

/// One claimed region of the memory.
#[repr(C)]
pub struct RegionCell {
    /// What the region is for; 0 while free.
    pub key: AtomicU64,
    /// Where it lies; 0 until its memory is reserved.
    pub offset: AtomicU64,
    /// How many ranks have done with it.
    pub closed: AtomicU32,
}

/// Writes words that others read only after an acquire of something stored later.
pub fn store_words<const N: usize>(cells: &[AtomicU64; N], words: &[u64; N]) {
    cells.iter().zip(words).for_each(|(cell, &word)| cell.store(word, Ordering::Relaxed));
}

pub fn load_words<const N: usize>(cells: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|index| cells[index].load(Ordering::Relaxed))
}

/// The core of the calling thread as `RankCell` has it.
fn own_core() -> u32 {
    platform::core().map_or(0, |core| core + 1)
}

/// Bytes before the first region, for a world of `size`.
pub fn header_bytes(size: usize) -> usize {
    (size_of::<Header>() + size * (size_of::<RankCell>() + size_of::<BellCell>()) + REGIONS * size_of::<RegionCell>())
        .next_multiple_of(PAGE)
}

/// The world's memory as one rank has it open.
pub struct Segment {
    pub memory: Memory,
    pub rank: u32,
    pub size: usize,
    mapping: Mapping,
}

impl Segment {
    /// Maps the header of memory that has `header_bytes(size)` reserved bytes.
    pub fn map(memory: Memory, rank: u32, size: usize) -> std::io::Result<Self> {
        let mapping = memory.map(0, header_bytes(size))?;
        Ok(Self { memory, rank, size, mapping })
    }

    /// The `index`th of the cells that begin `offset` bytes into the header.
    ///
    /// # Safety
    /// The header holds such a cell there.
    unsafe fn cell<T>(&self, offset: usize, index: usize) -> &T {
        // SAFETY: the caller's promise; cells consist of atomics, so sharing them between processes is sound.
        unsafe { &*self.mapping.base().add(offset).cast::<T>().add(index) }
    }

    pub fn header(&self) -> &Header {
        // SAFETY: the header begins the mapping.
        unsafe { self.cell(0, 0) }
    }

    pub fn rank_cell(&self, rank: u32) -> &RankCell {
        // SAFETY: rank cells follow the header; the index is kept within the world.
        unsafe { self.cell(size_of::<Header>(), rank as usize % self.size) }
    }

    fn bell_cell(&self, rank: u32) -> &BellCell {
        let offset = size_of::<Header>() + self.size * size_of::<RankCell>();
        // SAFETY: bell cells follow the rank cells; the index is kept within the world.
        unsafe { self.cell(offset, rank as usize % self.size) }
    }

    pub fn region_cell(&self, index: usize) -> &RegionCell {
        let offset = size_of::<Header>() + self.size * (size_of::<RankCell>() + size_of::<BellCell>());
        // SAFETY: region cells follow the bell cells; the index is kept within the table.
        unsafe { self.cell(offset, index % REGIONS) }
    }

    pub fn own_bell(&self) -> &BellCell {
        self.bell_cell(self.rank)
    }

    /// Wakes the sleepers of `rank`. What they shall see was stored before.
    pub fn ring(&self, rank: u32) {
        // Either the sleeper sees what was stored, or this thread sees the sleeper.
        fence(Ordering::SeqCst);
        self.ring_unfenced(rank);
    }

    /// `ring` after a sequentially consistent fence of the caller's own.
    pub fn ring_unfenced(&self, rank: u32) {
        let bell = self.bell_cell(rank);
        if bell.sleepers.load(Ordering::Relaxed) > 0 {
            bell.epoch.fetch_add(1, Ordering::SeqCst);
            platform::wake(&bell.epoch);
        }
    }

    pub fn ring_all(&self) {
        (0..self.size as u32).for_each(|rank| self.ring(rank));
    }

    /// Notes the operation that this rank has entered, and where.
    pub fn enter(&self, descriptor: &Descriptor) {
        let cell = self.rank_cell(self.rank);
        cell.entered.store(descriptor);
        let core = own_core();
        // Others keep the line as long as nothing is written there.
        if cell.core.0.load(Ordering::Relaxed) != core {
            cell.core.0.store(core, Ordering::Relaxed);
        }
    }

    /// Whether another rank has entered its last operation on the core on which the calling thread runs.
    pub fn shares_core(&self) -> bool {
        let own = own_core();
        let others = (0..self.size as u32).filter(|&rank| rank != self.rank);
        own > 0 && others.into_iter().any(|rank| self.rank_cell(rank).core.0.load(Ordering::Relaxed) == own)
    }

    /// The operation that `rank` entered last.
    pub fn entered(&self, rank: u32) -> Option<Descriptor> {
        self.rank_cell(rank).entered.load()
    }

    /// Notes what keeps this rank waiting.
    pub fn note_wait(&self, wait: Option<&Wait>) {
        let cell = self.rank_cell(self.rank);
        if let Some(wait) = wait {
            cell.waiting.store(&wait.operation);
        }
        cell.awaited.store(wait.map_or(0, |wait| wait.rank + 1), Ordering::Release);
    }

    /// What keeps `rank` waiting.
    pub fn wait_of(&self, rank: u32) -> Option<Wait> {
        let cell = self.rank_cell(rank);
        let awaited = cell.awaited.load(Ordering::Acquire).checked_sub(1)?;
        Some(Wait { operation: cell.waiting.load()?, rank: awaited })
    }

    /// Whether no rank has reported the failure before.
    pub fn claim_report(&self) -> bool {
        self.header().failure.reported.swap(1, Ordering::AcqRel) == 0
    }

    /// The failure that ended this world; None also while it is being written.
    pub fn failure(&self) -> Option<Failure> {
        let cell = &self.header().failure;
        if cell.state.load(Ordering::Acquire) != WRITTEN {
            return None;
        }
        let culprits = cell.culprits.load(Ordering::Relaxed) as usize;
        let culprits = cell.culprit.iter().take(culprits).map(|rank| rank.load(Ordering::Relaxed)).collect();
        let message = ShortText(load_words(&cell.text)).to_string();
        Some(Failure { code: Code::from_number(cell.code.load(Ordering::Relaxed)), culprits, message })
    }

    /// Records `failure` unless there is a record; returns the one that stands.
    pub fn fail(&self, failure: Failure) -> Failure {
        let cell = &self.header().failure;
        if cell.state.compare_exchange(0, WRITING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            cell.code.store(failure.code as u32, Ordering::Relaxed);
            cell.culprits.store(failure.culprits.len() as u32, Ordering::Relaxed);
            cell.culprit.iter().zip(&failure.culprits).for_each(|(cell, &rank)| cell.store(rank, Ordering::Relaxed));
            store_words(&cell.text, &ShortText::<TEXT_WORDS>::new(&failure.message).0);
            cell.state.store(WRITTEN, Ordering::Release);
            self.ring_all();
        }
        self.await_record().unwrap_or(failure)
    }

    /// The record that another rank may be writing at this moment; None when that one has died over it.
    fn await_record(&self) -> Option<Failure> {
        const TRIES: u32 = 200;
        for _ in 0..TRIES {
            if let Some(failure) = self.failure() {
                return Some(failure);
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        None
    }
}
