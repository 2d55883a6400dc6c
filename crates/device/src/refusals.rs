//! What kernels refuse. A kernel cannot throw, and nobody waits for it: it leaves the first bad position in a place of its own, and the next
//! tensor or number that is read tells of it. Until then nothing outside a tensor was read or written, but what was computed is of no use.

use crate::accelerator::{STREAM, told};
use cuda::{Block, Device, Download, Part};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use storage::{Category, DType};

/// Who may refuse.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Refusal {
    /// A token that the table does not hold.
    Embedding = 0,
    /// An index outside its dim.
    Gather = 1,
    /// A position that the table of angles does not have.
    Rotary = 2,
    /// A token outside the vocabulary.
    Token = 3,
}

const COUNT: usize = 4;
/// Nothing was refused.
const NONE: u64 = u64::MAX;

/// A place for each who may refuse.
pub(crate) struct Refusals {
    places: Arc<Block>,
    /// Whether a kernel was launched since that may have.
    is_armed: AtomicBool,
}

impl Refusals {
    pub fn new(device: &Device) -> Result<Refusals, String> {
        let outside = Category::Workspace.make_current();
        let places = Block::new(device, STREAM, COUNT * size_of::<u64>()).map(Arc::new);
        outside.make_current();
        let refusals = Refusals { places: places.map_err(told)?, is_armed: AtomicBool::new(false) };
        refusals.forget()?;
        Ok(refusals)
    }

    /// Where a kernel leaves the position.
    pub fn place(&self, of: Refusal) -> u64 {
        self.is_armed.store(true, Relaxed);
        self.places.address() + of as u64 * size_of::<u64>() as u64
    }

    /// Tells that kernels run again that may refuse.
    pub fn arm(&self) {
        self.is_armed.store(true, Relaxed);
    }

    /// Asks for what was refused so far, and leaves it to others to ask too.
    pub fn peek(&self) -> Result<Option<Download>, String> {
        if !self.is_armed.load(Relaxed) {
            return Ok(None);
        }
        self.places.download(STREAM, 0, COUNT * size_of::<u64>()).map(Some).map_err(told)
    }

    /// Asks for what was refused, where there is something to ask for.
    pub fn download(&self, device: &Device) -> Result<Option<Download>, String> {
        if !self.is_armed.swap(false, Relaxed) {
            return Ok(None);
        }
        debug_assert!(self.places.device().is(device));
        self.places.download(STREAM, 0, COUNT * size_of::<u64>()).map(Some).map_err(told)
    }

    /// The sentence for what was refused.
    pub fn tell(&self, download: Option<Download>) -> Result<(), String> {
        let Some(download) = download else { return Ok(()) };
        let bytes = download.read().map_err(told)?;
        let positions: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes)).collect();
        let Some(who) = positions.iter().position(|&position| position != NONE) else { return Ok(()) };
        self.forget()?;
        let at = positions[who];
        Err(match who {
            0 => format!("embedding: the token at position {at} is outside the table, as was found since the last read. Check the tokens."),
            1 => format!("gather: the index at position {at} is outside its dim, as was found since the last read. Check the indices."),
            3 => format!("token {at} of those that were looked up or compared since the last read is not in the vocabulary. Check them."),
            _ => format!("rotary: position {at} is not in the table, as was found since the last read. Pass a longer table."),
        })
    }

    /// Leaves what a kernel of an embedding would, for tests where kernels do not run.
    pub fn refuse_for_test(&self, position: u64) -> Result<(), String> {
        self.places.write(STREAM, 0, &position.to_ne_bytes()).map_err(told)
    }

    fn forget(&self) -> Result<(), String> {
        Part::whole(&self.places, DType::U8).fill(STREAM, u8::MAX).map_err(told)
    }
}
