//! How a communicator is made.

use cudarc::nccl::sys::ncclConfig_t;
use std::ffi::c_int;
use std::ptr;
use std::time::Duration;

/// What NCCL knows its configuration by.
const MAGIC: u32 = 0xcafe_beef;
/// What it takes for a number that was not chosen.
const UNSET: c_int = c_int::MIN;
/// The version whose fields are filled in, the oldest that will do: a newer library reads no more than the size that is given with it.
const VERSION: u32 = 21900;

/// How a communicator is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether NCCL keeps the caller until it is done. Where it does not, an abort never waits for NCCL: hence that is the default.
    pub is_blocking: bool,
    /// Whether parts that are split off use the resources of the whole, which saves memory and forbids both at once.
    pub shares_on_split: bool,
    /// Thread blocks that a collective may have at most; None leaves it to NCCL.
    pub most_blocks: Option<u16>,
    /// How long the ranks may take to meet, and a call to be taken.
    pub limit: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config { is_blocking: false, shares_on_split: false, most_blocks: None, limit: Duration::from_secs(600) }
    }
}

impl Config {
    pub(super) fn raw(&self) -> ncclConfig_t {
        ncclConfig_t {
            size: size_of::<ncclConfig_t>(),
            magic: MAGIC,
            version: VERSION,
            blocking: self.is_blocking.into(),
            cgaClusterSize: UNSET,
            minCTAs: UNSET,
            maxCTAs: self.most_blocks.map_or(UNSET, c_int::from),
            netName: ptr::null(),
            splitShare: self.shares_on_split.into(),
        }
    }
}
