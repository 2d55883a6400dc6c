//! What the ranks of several hosts know about each other, by way of the store.

use super::client::StoreClient;
use super::message::{Ask, Doing, Reply, Seat};
use super::server::StoreServer;
use crate::backend::{ControlPlane, Presence, Wait};
use crate::descriptor::Descriptor;
use crate::failure::{Code, Error, Failure, ranks_text};
use crate::group::lock;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long the table of what all ranks do may take to come.
const TABLE: Duration = Duration::from_millis(300);
/// How long a table counts as new, and how long one that did not come is not asked for again.
const FRESH: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_secs(1);
/// How long the store may take to record a failure, a claim or a leave.
const RECORD: Duration = Duration::from_secs(1);
/// How long rank 0 keeps the store for the others after it has left.
const LAST: Duration = Duration::from_secs(5);
/// Bytes of a failure's message that are sent to everyone.
const MESSAGE: usize = 16 << 10;

/// What all ranks did when they were last asked.
#[derive(Default)]
struct Table {
    ranks: Vec<Doing>,
    /// Not asked for again before this.
    until: Option<Instant>,
}

/// The control plane of one rank over its connection to the store. Rank 0 also holds the store itself.
pub struct TcpControl {
    client: StoreClient,
    table: Mutex<Table>,
    /// Dropped after the client.
    server: Mutex<Option<StoreServer>>,
}

impl TcpControl {
    /// `server`: the store, on rank 0. `bell` is rung whenever a presence or the failure changes, by another thread.
    pub fn new(client: StoreClient, server: Option<StoreServer>, bell: Arc<dyn Fn() + Send + Sync>) -> Self {
        let _ = client.link.bell.set(bell);
        Self { client, table: Mutex::default(), server: Mutex::new(server) }
    }

    /// The store, for what the ranks have to agree on.
    pub fn store(&self) -> &StoreClient {
        &self.client
    }

    /// How `rank` was lost, as words that follow its name; None when it is not.
    pub fn how_lost(&self, rank: u32) -> Option<String> {
        self.seat(rank, |seat| seat.reason.clone()).filter(|reason| !reason.is_empty())
    }

    fn seat<T>(&self, rank: u32, read: impl FnOnce(&Seat) -> T) -> Option<T> {
        lock(&self.client.link.state).seats.get(rank as usize).map(read)
    }

    /// What `rank` does: asked for anew, unless that was just done; else what was heard last.
    fn doing(&self, rank: u32) -> Option<Doing> {
        if rank == self.client.link.rank {
            return Some(self.client.link.doing());
        }
        let mut table = lock(&self.table);
        if table.until.is_none_or(|until| Instant::now() >= until) {
            let answer = self.client.ask(Ask::Table {}, TABLE);
            let age = if answer.is_ok() { FRESH } else { PAUSE };
            if let Ok(Reply::Table { ranks }) = answer {
                table.ranks = ranks;
            }
            table.until = Some(Instant::now() + age);
        }
        table.ranks.get(rank as usize).cloned()
    }

    /// Returns once all ranks have joined.
    pub fn join(&self, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now().checked_add(limit);
        let mut state = lock(&self.client.link.state);
        loop {
            let with = |presence: Presence| {
                let found = state.seats.iter().enumerate().filter(move |(_, seat)| seat.presence == presence);
                found.map(|(rank, _)| rank as u32).collect::<Vec<_>>()
            };
            // What has gone wrong since is for the first operation to tell.
            if !state.seats.iter().any(|seat| seat.presence == Presence::Absent) {
                return Ok(());
            }
            let left = deadline.map_or(LAST, |deadline| deadline.saturating_duration_since(Instant::now()));
            let failure = match (self.failure(), with(Presence::Lost).first()) {
                (Some(failure), _) => failure,
                (None, Some(&rank)) => self.lost_while_joining(rank, &state.seats[rank as usize]),
                (None, None) if left.is_zero() => self.missing(&with(Presence::Absent), state.seats.len(), limit),
                (None, None) => {
                    state = self.client.sleep(state, left);
                    continue;
                }
            };
            drop(state);
            return Err(self.fail(failure).into());
        }
    }

    fn lost_while_joining(&self, rank: u32, seat: &Seat) -> Failure {
        let job = &self.client.link.settings.job;
        let message = format!(
            "join: rank {rank} (pid {} on {}) {} while the world of job {job} met. Look at the log of rank {rank}.",
            seat.pid, seat.host, seat.reason
        );
        Failure { code: Code::PeerLost, culprits: vec![rank], message }
    }

    fn missing(&self, absent: &[u32], size: usize, limit: Duration) -> Failure {
        let message = format!(
            "join: {} of {size} ranks joined job {} within {} ms; missing: {}. Check that they were started.",
            size - absent.len(),
            self.client.link.settings.job,
            limit.as_millis(),
            ranks_text(absent)
        );
        Failure { code: Code::Timeout, culprits: absent.to_vec(), message }
    }

    /// Rank 0 has left: the store stays until the others have, too.
    fn await_others(&self) {
        let deadline = Instant::now() + LAST;
        let mut state = lock(&self.client.link.state);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let is_done = !state.seats.iter().any(|seat| seat.presence == Presence::Alive);
            if is_done || left.is_zero() || state.lost.is_some() {
                return;
            }
            state = self.client.sleep(state, left);
        }
    }
}

/// `text`, of a long one the beginning.
fn shortened(text: String) -> String {
    if text.len() <= MESSAGE {
        return text;
    }
    let end = (0..=MESSAGE).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

impl ControlPlane for TcpControl {
    fn presence(&self, rank: u32) -> Presence {
        self.seat(rank, |seat| seat.presence.clone()).unwrap_or(Presence::Absent)
    }

    fn pid(&self, rank: u32) -> u32 {
        self.seat(rank, |seat| seat.pid).unwrap_or(0)
    }

    fn host(&self, rank: u32) -> Option<String> {
        self.seat(rank, |seat| seat.host.clone()).filter(|host| !host.is_empty())
    }

    fn enter(&self, descriptor: &Descriptor) {
        self.client.link.note(|doing| doing.entered = Some(*descriptor));
    }

    fn entered(&self, rank: u32) -> Option<Descriptor> {
        self.doing(rank)?.entered
    }

    fn note_wait(&self, wait: Option<&Wait>) {
        self.client.link.note(|doing| doing.waiting = wait.copied());
    }

    fn wait_of(&self, rank: u32) -> Option<Wait> {
        self.doing(rank)?.waiting
    }

    fn failure(&self) -> Option<Failure> {
        self.client.link.failure.get().cloned()
    }

    fn fail(&self, failure: Failure) -> Failure {
        if let Some(standing) = self.failure() {
            return standing;
        }
        let failure = Failure { message: shortened(failure.message), ..failure };
        let standing = match self.client.ask(Ask::Fail { failure: failure.clone() }, RECORD) {
            Ok(Reply::Standing { failure }) => failure,
            _ => failure,
        };
        let standing = self.client.link.failure.get_or_init(|| standing).clone();
        self.client.link.ring();
        standing
    }

    fn claim_report(&self) -> bool {
        !matches!(self.client.ask(Ask::Claim {}, RECORD), Ok(Reply::Number { number: 0 }))
    }

    fn leave(&self) {
        // Without an answer the store is gone, and nobody is left to be told.
        let _ = self.client.ask(Ask::Leave {}, RECORD);
        let server = lock(&self.server).take();
        if server.is_some() {
            self.await_others();
        }
        self.client.close();
        drop(server);
    }
}
