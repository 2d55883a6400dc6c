//! Regions of pages, cut into pieces: the smallest free piece that is long enough is given out, and neighbours that are free grow
//! together again.

use crate::pages::{self, LARGE_PAGE};
use std::collections::{BTreeMap, BTreeSet};
use std::ptr::NonNull;

/// The least that is asked of the system at once; pages of it that are never touched cost nothing.
const REGION: usize = 32 << 20;

/// A run of bytes within a region.
#[derive(Clone, Copy)]
struct Piece {
    bytes: usize,
    is_free: bool,
    /// Whether a region begins here: it never grows together with what lies before.
    is_first: bool,
}

/// All regions; pieces are named by their addresses.
pub(crate) struct Arena {
    regions: Vec<(usize, usize)>,
    pieces: BTreeMap<usize, Piece>,
    /// Free pieces by size, then by address: low addresses first keep the top of a region whole.
    free: BTreeSet<(usize, usize)>,
    reserved: usize,
}

/// Where a piece begins, as a pointer.
pub(crate) fn pointer(address: usize) -> Option<NonNull<u8>> {
    NonNull::new(std::ptr::with_exposed_provenance_mut(address))
}

impl Arena {
    pub const fn new() -> Arena {
        Arena { regions: Vec::new(), pieces: BTreeMap::new(), free: BTreeSet::new(), reserved: 0 }
    }

    /// Bytes that the system has given.
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// The address of `bytes` bytes, if a free piece is long enough. `bytes` is a multiple of the alignment of all pieces.
    pub fn take(&mut self, bytes: usize) -> Option<usize> {
        let &(found, address) = self.free.range((bytes, 0)..).next()?;
        self.free.remove(&(found, address));
        let is_first = self.pieces.get(&address).is_some_and(|piece| piece.is_first);
        self.pieces.insert(address, Piece { bytes, is_free: false, is_first });
        if found > bytes {
            self.add_free(address + bytes, found - bytes, false);
        }
        Some(address)
    }

    /// Ends the use of the piece at `address`.
    pub fn give(&mut self, address: usize) {
        let Some(&Piece { mut bytes, mut is_first, .. }) = self.pieces.get(&address) else { return };
        let mut start = address;
        if let Some((&next, &Piece { bytes: more, is_free: true, is_first: false })) = self.pieces.range(address + 1..).next() {
            self.drop_free(next, more);
            bytes += more;
        }
        if !is_first && let Some((&before, &piece)) = self.pieces.range(..address).next_back().filter(|(_, piece)| piece.is_free) {
            self.pieces.remove(&address);
            self.drop_free(before, piece.bytes);
            (start, bytes, is_first) = (before, bytes + piece.bytes, piece.is_first);
        }
        self.add_free(start, bytes, is_first);
    }

    fn add_free(&mut self, address: usize, bytes: usize, is_first: bool) {
        self.pieces.insert(address, Piece { bytes, is_free: true, is_first });
        self.free.insert((bytes, address));
    }

    fn drop_free(&mut self, address: usize, bytes: usize) {
        self.pieces.remove(&address);
        self.free.remove(&(bytes, address));
    }

    /// Adds a region with room for `bytes`; false when the system refuses. A region grows with what there is already, so that the
    /// number of requests grows with the logarithm of the memory, but never beyond `available`.
    pub fn grow(&mut self, bytes: usize, available: Option<usize>) -> bool {
        let Some(least) = bytes.checked_next_multiple_of(LARGE_PAGE) else { return false };
        let wanted = least.max(REGION).max(self.reserved / 8 / LARGE_PAGE * LARGE_PAGE);
        let modest = available.is_some_and(|available| available / 2 < wanted);
        let sizes = [if modest { least } else { wanted }, least];
        let Some((start, size)) = sizes.into_iter().find_map(|size| Some((pages::map(size)?, size))) else { return false };
        let address = start.as_ptr().expose_provenance();
        self.regions.push((address, size));
        self.reserved += size;
        self.add_free(address, size, true);
        true
    }

    /// Gives every region that is free from end to end back to the system.
    pub fn trim(&mut self) {
        let regions = std::mem::take(&mut self.regions);
        for (address, size) in regions {
            let is_whole = self.free.contains(&(size, address));
            match pointer(address).filter(|_| is_whole) {
                Some(start) => {
                    self.drop_free(address, size);
                    self.reserved -= size;
                    // SAFETY: the region came from `map` with this size, and none of its bytes is in use.
                    unsafe { pages::unmap(start, size) };
                }
                None => self.regions.push((address, size)),
            }
        }
    }
}
