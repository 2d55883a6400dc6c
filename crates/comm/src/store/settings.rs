//! What the ranks of a job have to agree on before they talk.

use super::secret::Secret;
use std::time::Duration;

/// How many heartbeats a rank may miss before it is lost.
const MISSED: u32 = 3;
/// The longest limit: milliseconds in 32 bits.
pub const LONGEST: Duration = Duration::from_millis(u32::MAX as u64);

/// `limit` in whole milliseconds, as messages carry it.
pub fn milliseconds(limit: Duration) -> u32 {
    u32::try_from(limit.as_millis()).unwrap_or(u32::MAX)
}

/// The same on all ranks of a job.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    pub(super) job: String,
    /// Ranks of the world.
    pub(super) size: u32,
    /// How often a rank shows that it is alive; after three times this in silence it is lost. Rank 0's counts.
    pub(super) heartbeat: Duration,
    pub(super) secret: Secret,
}

impl StoreSettings {
    /// `token`: what only the ranks of this job know.
    pub fn new(job: &str, size: u32, token: &str) -> Self {
        Self { job: job.to_owned(), size, heartbeat: Duration::from_secs(2), secret: Secret::new(token) }
    }

    /// These settings with another heartbeat than one every 2 s.
    pub fn with_heartbeat(self, heartbeat: Duration) -> Self {
        Self { heartbeat, ..self }
    }

    /// The longest silence of a living rank.
    pub(super) fn silence(&self) -> Duration {
        self.heartbeat.saturating_mul(MISSED).clamp(Duration::from_millis(1), LONGEST)
    }

    /// How a rank that fell silent was lost.
    pub(super) fn silence_text(&self) -> String {
        format!("has not been heard of for {} s", self.silence().as_millis() as f64 / 1000.0)
    }
}
