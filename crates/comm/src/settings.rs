//! Limits and habits of a world.

use crate::group::Limits;
use std::path::PathBuf;
use std::time::Duration;

/// What carries the data of a world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// Shared memory of one host.
    #[default]
    Shm,
    /// The memory of this process, whose threads are the ranks.
    Sim,
    /// An MPI library found at run time.
    Mpi,
    /// Nothing: one rank is alone.
    Fake,
}

/// Limits and habits of a world.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What carries the data.
    pub carrier: Carrier,
    /// An operation that has not ended after this long fails the world.
    pub timeout: Duration,
    /// A warning names the missing ranks after this long, and each time the wait has doubled.
    pub slow: Duration,
    /// The limit for joining and, when longer than `timeout`, for the first operation of each group.
    pub join_timeout: Duration,
    /// Polls without result before a thread offers its core to others; 0 where ranks outnumber cores. Fewer on a core that another rank was
    /// seen on.
    pub spins: u32,
    /// Polls without result after that, each of which offers the core, before a thread sleeps.
    pub yields: u32,
    /// Bytes of one staging chunk; None chooses by the size of the world. For tests.
    pub chunk: Option<usize>,
    /// Whether a rank may read a long message from its sender's memory, where the system allows it.
    pub reads: bool,
    /// How many operations the flight recorder keeps, rounded up to a power of two; None keeps them all.
    pub recorded: Option<usize>,
    /// Where the flight records go when the world fails; None writes none.
    pub recorder_dir: Option<PathBuf>,
    /// Whether they are also written when an operation is slow.
    pub recorder_on_slow: bool,
    /// A process that still runs this long after its world failed is ended; None lets it go on.
    pub exit_grace: Option<Duration>,
}

impl Settings {
    /// The usual settings of a world of `size` ranks. `LOCAL_WORLD_SIZE` tells how many of them share this host.
    pub fn new(size: usize) -> Self {
        let local = std::env::var("LOCAL_WORLD_SIZE").ok().and_then(|text| text.parse().ok()).unwrap_or(size);
        Self::sharing_host(local)
    }

    /// The usual settings where `local` ranks share this host.
    pub fn sharing_host(local: usize) -> Self {
        const SPINS: u32 = 200;
        const YIELDS: u32 = 200;
        // Measured with 4 and 8 ranks on 2 cores: fewer cost wake-ups, more keep the ranks that have work from a core.
        const CROWDED_YIELDS: u32 = 8;
        const RECORDED: usize = 2048;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            carrier: Carrier::default(),
            timeout: Duration::from_secs(600),
            slow: Duration::from_secs(5),
            join_timeout: Duration::from_secs(1800),
            spins: if local > cores { 0 } else { SPINS },
            yields: if local > cores { CROWDED_YIELDS } else { YIELDS },
            chunk: None,
            reads: true,
            recorded: Some(RECORDED),
            recorder_dir: None,
            recorder_on_slow: false,
            exit_grace: None,
        }
    }

    /// The limits of groups that bring none of their own.
    pub fn limits(&self) -> Limits {
        Limits { timeout: self.timeout, slow: self.slow, first: self.join_timeout }
    }
}
