//! The store's state, and what each message does to it. Knows ranks and messages; sockets and threads are elsewhere.

use super::keys::Keys;
use super::message::{Ask, Doing, Hello, Reply, Seat, ToRank, ToStore, WELCOME};
use super::place::{self, Place};
use super::round::Round;
use super::settings::{StoreSettings, milliseconds};
use super::waits::{Awaited, Ended, Wait, Waits};
use crate::backend::Presence;
use crate::failure::Failure;
use std::time::{Duration, Instant};

/// How often an idle store looks at the clock.
pub const IDLE: Duration = Duration::from_secs(60);

/// How long arrivals are gathered, so that a thousand ranks are not told of each other one by one.
const GATHER: Duration = Duration::from_millis(20);

/// Who gets a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// All ranks that have joined.
    All,
    Rank(u32),
}

/// A message to be sent.
pub type Letter = (To, ToRank);

pub struct Ledger {
    settings: StoreSettings,
    places: Vec<Place>,
    keys: Keys,
    waits: Waits,
    /// Ranks that have joined and were not announced.
    arrived: Vec<u32>,
    failure: Option<Failure>,
    /// A rank reports the failure.
    claimed: bool,
    round: Round,
    /// To be sent, in this order.
    pub letters: Vec<Letter>,
    /// `expire` has nothing to do before this.
    pub due: Instant,
}

impl Ledger {
    pub fn new(settings: StoreSettings, now: Instant) -> Self {
        let places = (0..settings.size).map(|_| Place::empty(now)).collect();
        let (keys, waits, round) = (Keys::default(), Waits::default(), Round::default());
        Self { settings, places, keys, waits, arrived: Vec::new(), failure: None, claimed: false, round, letters: Vec::new(), due: now }
    }

    /// Lets a rank in, or returns the sentence why not.
    pub fn seat(&mut self, hello: Hello, now: Instant) -> Result<u32, String> {
        place::admit(&hello, &self.settings, &self.places)?;
        let rank = hello.rank;
        let seat = Seat { presence: Presence::Alive, pid: hello.pid, host: hello.host, reason: String::new() };
        self.places[rank as usize] = Place { seat, doing: Doing::default(), heard: now };
        let seats = self.places.iter().map(|place| place.seat.clone()).collect();
        let heartbeat = milliseconds(self.settings.heartbeat);
        self.letters.push((To::Rank(rank), ToRank::Welcome { magic: WELCOME, heartbeat, seats, failure: self.failure.clone() }));
        self.due = self.due.min(now + self.settings.silence()).min(now + GATHER);
        self.arrived.push(rank);
        if self.places.iter().all(|place| place.seat.presence != Presence::Absent) {
            self.announce_arrivals();
        }
        Ok(rank)
    }

    fn announce_arrivals(&mut self) {
        for rank in std::mem::take(&mut self.arrived) {
            self.announce(rank);
        }
    }

    /// Tells everyone about `rank`.
    fn announce(&mut self, rank: u32) {
        let seat = self.places[rank as usize].seat.clone();
        self.letters.push((To::All, ToRank::Presence { rank, seat }));
    }

    /// A message of a rank that was let in. False when no rank says such a thing.
    pub fn receive(&mut self, rank: u32, message: ToStore, now: Instant) -> bool {
        self.places[rank as usize].heard = now;
        match message {
            ToStore::Hello { .. } => return false,
            ToStore::Heartbeat { doing } => {
                if let Some(doing) = doing {
                    self.places[rank as usize].doing = doing;
                }
                self.letters.push((To::Rank(rank), ToRank::Pulse {}));
                self.reported(rank, now);
            }
            ToStore::Request { id, ask } => self.serve(rank, id, ask, now),
        }
        true
    }

    fn serve(&mut self, rank: u32, id: u64, ask: Ask, now: Instant) {
        let reply = match ask {
            Ask::Set { key, value } => {
                let set = self.keys.set(&key, value);
                self.key_set(&key);
                set.map(|()| Reply::Done {})
            }
            Ask::Add { key, by } => {
                let sum = self.keys.add(&key, by);
                self.key_set(&key);
                sum.map(|number| Reply::Number { number })
            }
            Ask::CompareSet { key, expected, value } => {
                let compared = self.keys.compare_set(&key, expected.as_ref(), value);
                self.key_set(&key);
                compared.map(|(set, value)| Reply::Compared { set, value })
            }
            Ask::Delete { key } => Ok(Reply::Number { number: i64::from(self.keys.delete(&key)) }),
            Ask::Intern { key } => self.keys.intern(&key).map(|number| Reply::Number { number: i64::from(number) }),
            Ask::Get { key, limit } => return self.wait(rank, id, Awaited::Value(key), limit, now),
            Ask::Wait { keys, limit } => return self.wait(rank, id, Awaited::Keys(keys), limit, now),
            Ask::Barrier { name, ranks, limit } => return self.wait(rank, id, Awaited::Barrier { name, ranks }, limit, now),
            Ask::Table {} => return self.table(rank, id, now),
            Ask::Fail { failure } => Ok(Reply::Standing { failure: self.fail(failure) }),
            Ask::Claim {} => Ok(Reply::Number { number: i64::from(!std::mem::replace(&mut self.claimed, true)) }),
            Ask::Leave {} => {
                self.depart(rank, Presence::Left, String::new(), now);
                Ok(Reply::Done {})
            }
        };
        let reply = reply.unwrap_or_else(|sentence| Reply::Refused { sentence: format!("store: {sentence}") });
        self.letters.push((To::Rank(rank), ToRank::Answer { id, reply }));
    }

    fn answer(&mut self, ended: Vec<Ended>) {
        let letter = |(rank, id, reply)| (To::Rank(rank), ToRank::Answer { id, reply });
        self.letters.extend(ended.into_iter().map(letter));
    }

    fn key_set(&mut self, key: &str) {
        let ended = self.waits.key_set(key, &self.keys);
        self.answer(ended);
    }

    fn wait(&mut self, rank: u32, id: u64, awaited: Awaited, limit: u32, now: Instant) {
        let limit = Duration::from_millis(u64::from(limit));
        let until = now + limit;
        let ended = self.waits.add(Wait { rank, id, limit, until, awaited }, &self.keys, &self.places);
        self.due = self.due.min(until);
        self.answer(ended);
        if let Some(failure) = &self.failure {
            let ended = self.waits.end_all(failure);
            self.answer(ended);
        }
    }

    /// Records `failure` unless there is a record; returns the one that stands. Everyone hears of it before the answer.
    fn fail(&mut self, failure: Failure) -> Failure {
        if let Some(standing) = &self.failure {
            return standing.clone();
        }
        self.letters.push((To::All, ToRank::Failed { failure: failure.clone() }));
        let ended = self.waits.end_all(&failure);
        self.answer(ended);
        self.failure.insert(failure).clone()
    }

    /// What all ranks do, once they have had a moment to tell the newest.
    fn table(&mut self, rank: u32, id: u64, now: Instant) {
        let ranks = || (0..self.settings.size).filter(|&rank| self.places[rank as usize].is_alive());
        if self.round.ask(rank, id, ranks(), now) {
            let reports = ranks().map(|rank| (To::Rank(rank), ToRank::Report {}));
            self.letters.extend(reports);
            self.due = self.due.min(self.round.due().unwrap_or(now));
        }
        self.close_round(now);
    }

    fn reported(&mut self, rank: u32, now: Instant) {
        self.round.reported(rank);
        self.close_round(now);
    }

    fn close_round(&mut self, now: Instant) {
        for (rank, id) in self.round.close(now) {
            let ranks = self.places.iter().map(|place| place.doing.clone()).collect();
            self.letters.push((To::Rank(rank), ToRank::Answer { id, reply: Reply::Table { ranks } }));
        }
    }

    /// The connection of `rank` has ended.
    pub fn disconnected(&mut self, rank: u32, reason: &str, now: Instant) {
        self.depart(rank, Presence::Lost, reason.to_owned(), now);
    }

    /// A rank that is gone stays gone.
    fn depart(&mut self, rank: u32, presence: Presence, reason: String, now: Instant) {
        let place = &mut self.places[rank as usize];
        if !place.is_alive() {
            return;
        }
        (place.seat.presence, place.seat.reason) = (presence, reason);
        self.announce(rank);
        let ended = self.waits.rank_gone(rank, &self.places);
        self.answer(ended);
        self.reported(rank, now);
    }

    /// Announces who has come, ends what has waited too long, and gives up ranks that have been silent too long.
    pub fn expire(&mut self, now: Instant) {
        self.announce_arrivals();
        let silence = self.settings.silence();
        let is_silent = |place: &Place| place.is_alive() && now.duration_since(place.heard) >= silence;
        let silent: Vec<usize> = (0..self.places.len()).filter(|&rank| is_silent(&self.places[rank])).collect();
        for rank in silent {
            self.depart(rank as u32, Presence::Lost, self.settings.silence_text(), now);
        }
        let ended = self.waits.expire(now, &self.keys, &self.places);
        self.answer(ended);
        self.close_round(now);
        let silent = self.places.iter().filter(|place| place.is_alive()).map(|place| place.heard + silence).min();
        let due = [silent, self.waits.due(), self.round.due()].into_iter().flatten().min();
        self.due = due.unwrap_or(now + IDLE);
    }
}
