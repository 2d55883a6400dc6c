//! A rank's side of the store: requests that block, each with a deadline.

use super::frame::frame;
use super::link::{self, Link, State};
use super::message::{Ask, MESSAGE_BYTES, Reply, Seat, ToStore};
use super::place::rank_text;
use super::settings::{LONGEST, StoreSettings, milliseconds};
use crate::backend::Presence;
use crate::failure::{Code, Error, Failure};
use crate::group::lock;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the store may take for an answer that waits for nobody.
const ANSWER: Duration = Duration::from_secs(30);
/// How long the store's answer that a wait was in vain may take beyond the wait's limit.
const MARGIN: Duration = Duration::from_secs(5);

/// What `compare_set` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Whether the key held what was expected, and was set.
    pub set: bool,
    /// What the key holds now; None when it is absent.
    pub value: Option<Vec<u8>>,
}

/// A rank's connection to the store. Dropping it without `leave` makes the others take this rank for lost.
pub struct StoreClient {
    pub(super) link: Arc<Link>,
    next: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

impl StoreClient {
    /// Connects `rank` to the store at `address`, which rank 0 may open later, but not later than after `limit`.
    pub fn connect(address: &str, rank: u32, settings: &StoreSettings, limit: Duration) -> Result<Self, Error> {
        let (link, inbox) = link::connect(address, rank, settings, limit.min(LONGEST))?;
        let shared = Arc::clone(&link);
        let thread = std::thread::Builder::new().name("megatron-link".into()).spawn(move || shared.run(inbox));
        let thread = thread.map_err(|error| Error::Refused(format!("join: rank {rank} cannot start a thread: {error}.")))?;
        Ok(Self { link, next: AtomicU64::new(1), thread: Some(thread) })
    }

    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.ask(Ask::Set { key: key.into(), value: value.into() }, ANSWER).map(drop)
    }

    /// The value of `key`, once some rank has set it.
    pub fn get(&self, key: &str, limit: Duration) -> Result<Vec<u8>, Error> {
        let ask = Ask::Get { key: key.into(), limit: milliseconds(limit) };
        self.ask_for(ask, limit.saturating_add(MARGIN), |reply| match reply {
            Reply::Value { value } => Some(value),
            _ => None,
        })
    }

    /// Returns once all `keys` are set.
    pub fn wait(&self, keys: &[&str], limit: Duration) -> Result<(), Error> {
        let keys = keys.iter().map(|&key| key.into()).collect();
        self.ask(Ask::Wait { keys, limit: milliseconds(limit) }, limit.saturating_add(MARGIN)).map(drop)
    }

    /// Adds to the whole number at `key`, which begins at 0; returns the sum. Other ranks read it as decimal digits.
    pub fn add(&self, key: &str, by: i64) -> Result<i64, Error> {
        self.number(Ask::Add { key: key.into(), by })
    }

    /// Sets `key` if it holds `expected`; None expects that it is absent.
    pub fn compare_set(&self, key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<Compared, Error> {
        let ask = Ask::CompareSet { key: key.into(), expected: expected.map(Into::into), value: value.into() };
        self.ask_for(ask, ANSWER, |reply| match reply {
            Reply::Compared { set, value } => Some(Compared { set, value }),
            _ => None,
        })
    }

    /// Whether there was such a key.
    pub fn delete(&self, key: &str) -> Result<bool, Error> {
        Ok(self.number(Ask::Delete { key: key.into() })? == 1)
    }

    /// A small number for `key`: the same on every rank, from 1 in the order of first asking.
    pub fn intern(&self, key: &str) -> Result<u32, Error> {
        Ok(self.number(Ask::Intern { key: key.into() })? as u32)
    }

    /// Returns once all `ranks`, this one among them, wait at the barrier of this name.
    pub fn barrier(&self, name: &str, ranks: &[u32], limit: Duration) -> Result<(), Error> {
        let ask = Ask::Barrier { name: name.into(), ranks: ranks.into(), limit: milliseconds(limit) };
        self.ask(ask, limit.saturating_add(MARGIN)).map(drop)
    }

    fn number(&self, ask: Ask) -> Result<i64, Error> {
        self.ask_for(ask, ANSWER, |reply| match reply {
            Reply::Number { number } => Some(number),
            _ => None,
        })
    }

    /// The answer to `ask`, as `read` understands it.
    pub(super) fn ask_for<T>(&self, ask: Ask, limit: Duration, read: impl FnOnce(Reply) -> Option<T>) -> Result<T, Error> {
        let title = ask.title();
        let unread = || Error::Refused(format!("{title}: the store gave another answer than was asked for. Use one version on all ranks."));
        read(self.ask(ask, limit)?).ok_or_else(unread)
    }

    /// Asks the store and waits for the answer.
    pub(super) fn ask(&self, ask: Ask, limit: Duration) -> Result<Reply, Error> {
        let title = ask.title();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let bytes = frame(&ToStore::Request { id, ask });
        if bytes.len() > MESSAGE_BYTES {
            let message = format!("{title}: the request has {} bytes, more than {MESSAGE_BYTES}. Store less at once.", bytes.len());
            return Err(Error::Refused(message));
        }
        let mut state = lock(&self.link.state);
        self.connected(&state, &title)?;
        state.requests.insert(id, None);
        drop(state);
        self.link.send(&bytes);
        let limit = limit.min(LONGEST);
        let deadline = Instant::now() + limit;
        let mut state = lock(&self.link.state);
        loop {
            if state.requests.get(&id).is_some_and(Option::is_some) {
                let reply = state.requests.remove(&id).flatten();
                return reply.map_or_else(|| Err(self.silent(&state, &title, limit)), outcome);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let connected = self.connected(&state, &title);
            if connected.is_err() || left.is_zero() {
                state.requests.remove(&id);
                return Err(connected.err().unwrap_or_else(|| self.silent(&state, &title, limit)));
            }
            state = self.sleep(state, left);
        }
    }

    /// Sleeps until something has changed, or `limit` has passed.
    pub(super) fn sleep<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        self.link.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    fn connected(&self, state: &State, title: &str) -> Result<(), Error> {
        let Some(reason) = &state.lost else { return Ok(()) };
        let who = state.seats.first().map_or_else(|| "rank 0".into(), |seat| rank_text(0, seat));
        let has_left = |seat: &Seat| seat.presence == Presence::Left;
        if state.closing || state.seats.first().is_some_and(has_left) {
            return Err(Error::Refused(format!("{title}: the connection to the store of {who} was closed. Use the store before leaving.")));
        }
        let message = format!("{title}: {who}, which holds the store, {reason}. Look at the log of rank 0.");
        Err(Failure { code: Code::PeerLost, culprits: vec![0], message }.into())
    }

    fn silent(&self, state: &State, title: &str, limit: Duration) -> Error {
        let who = state.seats.first().map_or_else(|| "rank 0".into(), |seat| rank_text(0, seat));
        let message = format!("{title}: the store of {who} did not answer within {} ms. Find what keeps it busy.", limit.as_millis());
        Failure { code: Code::Timeout, culprits: vec![0], message }.into()
    }

    /// Closes the connection and ends its thread.
    pub(super) fn close(&self) {
        lock(&self.link.state).closing = true;
        let _ = self.link.stream.shutdown(Shutdown::Both);
    }
}

fn outcome(reply: Reply) -> Result<Reply, Error> {
    match reply {
        Reply::Refused { sentence } => Err(Error::Refused(sentence)),
        Reply::Failed { failure } => Err(failure.into()),
        reply => Ok(reply),
    }
}

impl Drop for StoreClient {
    fn drop(&mut self) {
        self.close();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
