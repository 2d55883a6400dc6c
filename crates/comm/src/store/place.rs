//! What the store knows about each rank, and who is let in.

use super::message::{Doing, Hello, Seat, VERSION};
use super::settings::StoreSettings;
use crate::backend::Presence;
use std::time::Instant;

/// Ranks that a sentence names at most.
const NAMED: usize = 8;

/// The store's notes about one rank.
pub struct Place {
    pub seat: Seat,
    pub doing: Doing,
    /// When its last message came.
    pub heard: Instant,
}

impl Place {
    pub fn empty(now: Instant) -> Self {
        let seat = Seat { presence: Presence::Absent, pid: 0, host: String::new(), reason: String::new() };
        Self { seat, doing: Doing::default(), heard: now }
    }

    pub fn is_alive(&self) -> bool {
        self.seat.presence == Presence::Alive
    }
}

/// `rank 3 (pid 2492 on n1)`
pub fn rank_text(rank: usize, seat: &Seat) -> String {
    match seat.presence {
        Presence::Absent => format!("rank {rank}"),
        _ => format!("rank {rank} (pid {} on {})", seat.pid, seat.host),
    }
}

/// The ranks for which nobody should wait, each with the reason, as a sentence behind another one; empty when there is none.
pub fn absentees_text(places: &[Place]) -> String {
    let state = |seat: &Seat| match seat.presence {
        Presence::Absent => Some("has not joined".to_owned()),
        Presence::Alive => None,
        Presence::Left => Some("has left".to_owned()),
        Presence::Lost => Some(seat.reason.clone()),
    };
    let gone = |(rank, place): (usize, &Place)| state(&place.seat).map(|state| format!("{} {state}", rank_text(rank, &place.seat)));
    let mut list: Vec<String> = places.iter().enumerate().filter_map(gone).collect();
    let more = list.len().saturating_sub(NAMED);
    list.truncate(NAMED);
    if more > 0 {
        list.push(format!("and {more} more"));
    }
    if list.is_empty() { String::new() } else { format!(" Not there: {}.", list.join(", ")) }
}

/// The sentence for a rank of another version of the protocol.
pub fn other_version(theirs: u32) -> String {
    format!("join: this rank speaks version {theirs} of the protocol and rank 0 version {VERSION}. Use one version on all ranks.")
}

/// Whether `hello` is let in; else the sentence it gets. What the store serves is told only to who knows the token.
pub fn admit(hello: &Hello, settings: &StoreSettings, places: &[Place]) -> Result<(), String> {
    let rank = hello.rank;
    if hello.version != VERSION {
        return Err(other_version(hello.version));
    }
    if hello.secret != settings.secret {
        return Err(format!("join: rank {rank} brought another token than rank 0. Give all ranks of a job one token."));
    }
    if hello.job != settings.job {
        let (theirs, ours) = (&hello.job, &settings.job);
        return Err(format!("join: rank {rank} belongs to job {theirs:?} and this store to job {ours:?}. Check the address of the store."));
    }
    if hello.size != settings.size {
        let (theirs, ours) = (hello.size, settings.size);
        return Err(format!("join: rank {rank} expects a world of {theirs} and rank 0 one of {ours}. Give all ranks one WORLD_SIZE."));
    }
    let Some(place) = places.get(rank as usize) else {
        return Err(format!("join: rank {rank} is outside a world of {}. Check RANK and WORLD_SIZE.", settings.size));
    };
    if place.seat.presence != Presence::Absent {
        let Seat { pid, host, .. } = &place.seat;
        return Err(format!("join: rank {rank} is taken by process {pid} on {host}. Start each rank once."));
    }
    Ok(())
}
