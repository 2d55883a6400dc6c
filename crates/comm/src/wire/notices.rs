//! What ranks tell each other when nothing has moved for a while: what they are in and whom they wait for.
//!
//! Data goes only where it is needed, so two ranks may wait for each other, or for a third that waits for a fourth, without ever meeting
//! the one that is in another operation or has not come at all. A rank that has waited for long says so to all others.

use super::header::Header;
use super::ledger::Ledger;
use super::link::Link;
use super::{Piece, Token};
use crate::descriptor::Descriptor;
use crate::operation::Fault;
use std::time::{Duration, Instant};

/// How long a rank waits before it says so, in a group of two.
const PATIENCE: Duration = Duration::from_millis(20);
/// How much longer for each further rank: so many more messages are at stake.
const PATIENCE_PER_RANK: Duration = Duration::from_micros(250);

struct Notice {
    descriptor: Descriptor,
    waits_for: Option<usize>,
}

pub struct Notices {
    link: Link,
    heard: Vec<Option<Notice>>,
    sends: Vec<Token>,
    /// Since when nothing has moved.
    since: Option<Instant>,
    /// What this rank told last, and when it may tell again.
    told: Option<(u64, Option<usize>)>,
    next: Option<Instant>,
    pause: Duration,
}

impl Notices {
    pub fn new(link: Link) -> Self {
        let heard = link.spec.ranks.iter().map(|_| None).collect();
        Self { link, heard, sends: Vec::new(), since: None, told: None, next: None, pause: Duration::ZERO }
    }

    fn patience(&self) -> Duration {
        PATIENCE + PATIENCE_PER_RANK * self.link.size() as u32
    }

    /// Something has moved.
    pub fn rest(&mut self) {
        self.since = None;
    }

    /// Whether this rank has waited for long.
    pub fn is_impatient(&mut self) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        since.elapsed() >= self.patience()
    }

    /// Reads what the others have told, and tells them that this rank waits for `waits_for` in `own`.
    pub fn exchange(&mut self, own: &Descriptor, waits_for: Option<usize>, ledger: &mut Ledger) -> Result<(), Fault> {
        if !self.link.connect()? {
            return Ok(());
        }
        self.tell(own, waits_for)?;
        for member in self.link.others() {
            self.read(member)?;
            if let Some(notice) = &self.heard[member] {
                ledger.hear(member, notice.descriptor, own, false)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, member: usize) -> Result<(), Fault> {
        while let Some(Header { descriptor, counts, .. }) = self.link.look(member)? {
            self.link.take(member);
            let waits_for = (counts[0] as usize).checked_sub(1).filter(|&other| other < self.link.size());
            self.heard[member] = Some(Notice { descriptor, waits_for });
        }
        Ok(())
    }

    fn tell(&mut self, own: &Descriptor, waits_for: Option<usize>) -> Result<(), Fault> {
        let mut index = 0;
        while index < self.sends.len() {
            if self.link.wire().test(self.sends[index])?.is_some() {
                self.sends.swap_remove(index);
            } else {
                index += 1;
            }
        }
        let now = Instant::now();
        let is_new = self.told.is_none_or(|(sequence, _)| sequence != own.sequence);
        if is_new {
            self.pause = self.patience();
        } else if self.told == Some((own.sequence, waits_for)) || self.next.is_some_and(|next| now < next) {
            return Ok(());
        }
        self.told = Some((own.sequence, waits_for));
        self.next = Some(now + self.pause);
        self.pause *= 2;
        let header = Header { descriptor: *own, counts: [waits_for.map_or(0, |member| member as u64 + 1), 0], length: 0 };
        let empty = Piece::empty();
        for member in self.link.others() {
            let token = self.link.send_header(member, &header, &empty)?;
            self.sends.push(token);
        }
        Ok(())
    }

    /// Whom a wait for `member` comes down to: the one it waits for in the same operation, and so on.
    pub fn resolve(&self, member: usize, own: &Descriptor) -> usize {
        let mut at = member;
        for _ in 0..self.link.size() {
            let next = self.heard[at].as_ref().filter(|notice| notice.descriptor.sequence == own.sequence);
            match next.and_then(|notice| notice.waits_for) {
                Some(next) if next != self.link.spec.rank => at = next,
                _ => break,
            }
        }
        at
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.sends.iter().for_each(|token| self.link.wire().abandon(*token));
    }
}
