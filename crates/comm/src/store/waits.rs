//! Requests that wait for a key or for other ranks.

use super::keys::Keys;
use super::message::{Reply, keys_text};
use super::place::{Place, absentees_text, rank_text};
use crate::backend::Presence;
use crate::failure::{Code, Failure, ranks_text};
use std::time::{Duration, Instant};

/// Requests that one rank may have waiting.
const PER_RANK: usize = 1024;

pub enum Awaited {
    /// The value of a key.
    Value(String),
    /// That all of these keys are set.
    Keys(Vec<String>),
    /// That all of these ranks wait at the barrier of this name.
    Barrier { name: String, ranks: Vec<u32> },
}

/// A request that waits.
pub struct Wait {
    pub rank: u32,
    pub id: u64,
    pub limit: Duration,
    pub until: Instant,
    pub awaited: Awaited,
}

/// A request, by rank and number, and what has become of it.
pub type Ended = (u32, u64, Reply);

#[derive(Default)]
pub struct Waits {
    pending: Vec<Wait>,
}

fn failed(code: Code, culprits: Vec<u32>, message: String) -> Reply {
    Reply::Failed { failure: Failure { code, culprits, message } }
}

fn refused(sentence: String) -> Reply {
    Reply::Refused { sentence }
}

impl Wait {
    fn at_barrier(&self, barrier: &str) -> Option<&[u32]> {
        match &self.awaited {
            Awaited::Barrier { name, ranks } if name == barrier => Some(ranks),
            _ => None,
        }
    }

    /// The answer when the keys it waits for are set.
    fn met(&self, keys: &Keys) -> Option<Reply> {
        match &self.awaited {
            Awaited::Value(key) => keys.get(key).map(|value| Reply::Value { value: value.clone() }),
            Awaited::Keys(list) => list.iter().all(|key| keys.get(key).is_some()).then_some(Reply::Done {}),
            Awaited::Barrier { .. } => None,
        }
    }

    fn concerns(&self, changed: &str) -> bool {
        match &self.awaited {
            Awaited::Value(key) => key == changed,
            Awaited::Keys(list) => list.iter().any(|key| key == changed),
            Awaited::Barrier { .. } => false,
        }
    }
}

impl Waits {
    /// When the first of them has waited too long.
    pub fn due(&self) -> Option<Instant> {
        self.pending.iter().map(|wait| wait.until).min()
    }

    /// Takes a request; returns those that have ended by it.
    pub fn add(&mut self, wait: Wait, keys: &Keys, places: &[Place]) -> Vec<Ended> {
        if self.pending.iter().filter(|other| other.rank == wait.rank).count() >= PER_RANK {
            let sentence = format!("store: rank {} has {PER_RANK} requests waiting already. Wait in fewer threads.", wait.rank);
            return vec![(wait.rank, wait.id, refused(sentence))];
        }
        match &wait.awaited {
            Awaited::Barrier { name, ranks } => match self.refusal(name, ranks, wait.rank, places) {
                Some(reply) => vec![(wait.rank, wait.id, reply)],
                None => self.arrive(wait),
            },
            _ => match wait.met(keys) {
                Some(reply) => vec![(wait.rank, wait.id, reply)],
                None => {
                    self.pending.push(wait);
                    Vec::new()
                }
            },
        }
    }

    /// Why `rank` cannot wait at this barrier.
    fn refusal(&self, name: &str, ranks: &[u32], rank: u32, places: &[Place]) -> Option<Reply> {
        if let Some(stranger) = ranks.iter().find(|&&rank| rank as usize >= places.len()) {
            let size = places.len();
            return Some(refused(format!("barrier {name:?}: rank {stranger} is outside a world of {size}. Pass world ranks.")));
        }
        let mut sorted = ranks.to_vec();
        sorted.sort_unstable();
        if !sorted.is_sorted_by(|a, b| a < b) || !ranks.contains(&rank) {
            let sentence = format!("barrier {name:?}: rank {rank} passed ranks {ranks:?}. Name this rank and the others, each once.");
            return Some(refused(sentence));
        }
        let mut others = self.pending.iter().filter_map(|wait| Some((wait.rank, wait.at_barrier(name)?)));
        if let Some((other, theirs)) = others.find(|(other, theirs)| *theirs != ranks || *other == rank) {
            return Some(refused(format!(
                "barrier {name:?}: rank {rank} arrived for ranks {ranks:?} while rank {other} waits for ranks {theirs:?}. \
                 Use one name for one barrier at a time."
            )));
        }
        let gone = |rank: &&u32| matches!(places[**rank as usize].seat.presence, Presence::Left | Presence::Lost);
        ranks.iter().find(gone).map(|&rank| lost_at(name, rank, places))
    }

    fn arrive(&mut self, wait: Wait) -> Vec<Ended> {
        let Awaited::Barrier { name, ranks } = &wait.awaited else { return Vec::new() };
        let arrived = 1 + self.pending.iter().filter(|other| other.at_barrier(name).is_some()).count();
        if arrived < ranks.len() {
            self.pending.push(wait);
            return Vec::new();
        }
        let others = self.pending.extract_if(.., |other| other.at_barrier(name).is_some());
        let mut ended: Vec<Ended> = others.map(|other| (other.rank, other.id, Reply::Done {})).collect();
        ended.push((wait.rank, wait.id, Reply::Done {}));
        ended
    }

    /// After `key` was set.
    pub fn key_set(&mut self, key: &str, keys: &Keys) -> Vec<Ended> {
        let mut ended = Vec::new();
        self.pending.retain(|wait| {
            let reply = if wait.concerns(key) { wait.met(keys) } else { None };
            let waits_on = reply.is_none();
            ended.extend(reply.map(|reply| (wait.rank, wait.id, reply)));
            waits_on
        });
        ended
    }

    /// After `rank` has left or was lost: what it waited for is forgotten, and nobody waits for it at a barrier any more.
    pub fn rank_gone(&mut self, rank: u32, places: &[Place]) -> Vec<Ended> {
        self.pending.retain(|wait| wait.rank != rank);
        let mut ended = Vec::new();
        self.pending.retain(|wait| match &wait.awaited {
            Awaited::Barrier { name, ranks } if ranks.contains(&rank) => {
                ended.push((wait.rank, wait.id, lost_at(name, rank, places)));
                false
            }
            _ => true,
        });
        ended
    }

    /// Ends those that have waited too long. A barrier that one rank gives up ends alike for all: it can no longer be complete.
    pub fn expire(&mut self, now: Instant, keys: &Keys, places: &[Place]) -> Vec<Ended> {
        let mut ended = Vec::new();
        while let Some(late) = self.pending.iter().filter(|wait| wait.until <= now).min_by_key(|wait| wait.until) {
            let reply = self.in_vain(late, keys, places);
            let own = (late.rank, late.id);
            let barrier = if let Awaited::Barrier { name, .. } = &late.awaited { Some(name.clone()) } else { None };
            let is_over = |wait: &mut Wait| match &barrier {
                Some(name) => wait.at_barrier(name).is_some(),
                None => (wait.rank, wait.id) == own,
            };
            ended.extend(self.pending.extract_if(.., is_over).map(|wait| (wait.rank, wait.id, reply.clone())));
        }
        ended
    }

    /// Ends all of them: the world has failed.
    pub fn end_all(&mut self, failure: &Failure) -> Vec<Ended> {
        self.pending.drain(..).map(|wait| (wait.rank, wait.id, Reply::Failed { failure: failure.clone() })).collect()
    }

    /// What a request that has waited too long gets to hear.
    fn in_vain(&self, wait: &Wait, keys: &Keys, places: &[Place]) -> Reply {
        let limit = wait.limit.as_millis();
        let absent = || (0..places.len() as u32).filter(|&rank| !places[rank as usize].is_alive()).collect();
        match &wait.awaited {
            Awaited::Value(key) => {
                let absentees = absentees_text(places);
                let message = format!("get: nobody set key {key:?} within {limit} ms. Check who is to set it.{absentees}");
                failed(Code::Timeout, absent(), message)
            }
            Awaited::Keys(list) => {
                let missing: Vec<&String> = list.iter().filter(|key| keys.get(key).is_none()).collect();
                let message = format!(
                    "wait: {} of {} keys were set within {limit} ms; missing: {}. Check who is to set them.{}",
                    list.len() - missing.len(),
                    list.len(),
                    keys_text(&missing),
                    absentees_text(places)
                );
                failed(Code::Timeout, absent(), message)
            }
            Awaited::Barrier { name, ranks } => {
                let arrived = |rank: &u32| self.pending.iter().any(|wait| wait.rank == *rank && wait.at_barrier(name).is_some());
                let missing: Vec<u32> = ranks.iter().copied().filter(|rank| !arrived(rank)).collect();
                let message = format!(
                    "store: {} of {} ranks arrived at barrier {name:?} within {limit} ms; missing: {}. \
                     Find what keeps them away, or raise the limit.{}",
                    ranks.len() - missing.len(),
                    ranks.len(),
                    ranks_text(&missing),
                    absentees_text(places)
                );
                failed(Code::Timeout, missing, message)
            }
        }
    }
}

/// The answer to who waits at a barrier for a rank that is gone.
fn lost_at(name: &str, rank: u32, places: &[Place]) -> Reply {
    let seat = &places[rank as usize].seat;
    let who = rank_text(rank as usize, seat);
    let message = match seat.presence {
        Presence::Left => format!("store: {who} left the world without arriving at barrier {name:?}. Leave after the last barrier."),
        _ => format!("store: {who} {} and will not arrive at barrier {name:?}. Look at the log of rank {rank}.", seat.reason),
    };
    failed(Code::PeerLost, vec![rank], message)
}
