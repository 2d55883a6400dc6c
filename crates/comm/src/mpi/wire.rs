//! Messages over MPI. The calls to MPI are made by `send`, `receive` and `test`, hence only by a thread that polls.

use super::bell::MpiBell;
use super::guard::calling;
use super::session::{Ended, Messages};
use super::tags::Tags;
use crate::group::lock;
use crate::operation::Fault;
use crate::wire::{Piece, Token, Wire};
use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long an error of MPI is kept back: when a rank dies, the control plane knows better what has happened.
const GRACE: Duration = Duration::from_millis(300);

enum State {
    Underway,
    Ended(usize),
    /// Nobody asks for it any more.
    Abandoned,
}

struct Message {
    state: State,
    is_send: bool,
    peer: u32,
    length: usize,
    /// Held as long as MPI may touch the memory.
    keep: Option<Arc<dyn Any + Send + Sync>>,
    /// The round in which it was last asked for.
    round: u64,
}

/// The first error of MPI, after which no message ends any more.
struct Poison {
    since: Instant,
    sentence: String,
}

struct Traffic {
    mpi: Box<dyn Messages>,
    /// By token.
    messages: Vec<Option<Message>>,
    free: Vec<usize>,
    /// Rounds of progress so far.
    round: u64,
    poison: Option<Poison>,
    ended: Vec<Ended>,
}

pub struct MpiWire {
    traffic: Mutex<Traffic>,
    /// Names of messages that nobody asks for any more. Apart, because MPI may keep the thread that holds `traffic`.
    abandoned: Mutex<Vec<usize>>,
    tags: OnceLock<Tags>,
    bell: Arc<MpiBell>,
}

impl MpiWire {
    pub fn new(mpi: Box<dyn Messages>, bell: Arc<MpiBell>) -> Self {
        let traffic = Traffic { mpi, messages: Vec::new(), free: Vec::new(), round: 0, poison: None, ended: Vec::new() };
        Self { traffic: Mutex::new(traffic), abandoned: Mutex::default(), tags: OnceLock::new(), bell }
    }

    /// From now on tags can be had.
    pub fn agree_by(&self, tags: Tags) {
        let _ = self.tags.set(tags);
    }

    pub fn last_tag(&self) -> u32 {
        lock(&self.traffic).mpi.last_tag()
    }

    /// Lets MPI work on what it has accepted. On the polling thread only.
    pub fn nudge(&self) {
        let mut traffic = self.traffic();
        if traffic.poison.is_none() {
            traffic.progress(&self.bell);
        }
    }

    /// Ends MPI. On the polling thread only.
    pub fn finalize(&self) {
        lock(&self.traffic).mpi.finalize();
    }

    /// The traffic, rid of what was abandoned.
    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        let mut traffic = lock(&self.traffic);
        lock(&self.abandoned).drain(..).for_each(|name| traffic.abandon(name));
        traffic
    }

    fn start(&self, is_send: bool, peer: u32, tag: u32, piece: Piece) -> Result<Token, Fault> {
        let mut traffic = self.traffic();
        let Piece { bytes, length, keep } = piece;
        let message = Message { state: State::Underway, is_send, peer, length, keep: Some(keep), round: traffic.round };
        let name = traffic.place(message);
        if traffic.poison.is_some() {
            return Ok(Token(name as u64));
        }
        // SAFETY: the caller leaves the memory alone until the message has ended, and `keep` holds it until then.
        let started = calling(|| unsafe {
            if is_send { traffic.mpi.send(name, peer, tag, bytes, length) } else { traffic.mpi.receive(name, peer, tag, bytes, length) }
        });
        if let Err(words) = started {
            traffic.spoil(name, &words);
        }
        self.bell.note_traffic();
        Ok(Token(name as u64))
    }
}

impl Traffic {
    /// Keeps `message`; returns its name.
    fn place(&mut self, message: Message) -> usize {
        let name = self.free.pop().unwrap_or_else(|| {
            self.messages.push(None);
            self.messages.len() - 1
        });
        self.messages[name] = Some(message);
        name
    }

    fn forget(&mut self, name: usize) {
        self.messages[name] = None;
        self.free.push(name);
    }

    /// Notes MPI's first error.
    fn spoil(&mut self, name: usize, words: &str) {
        let about = self.messages.get(name).and_then(Option::as_ref).map_or_else(String::new, |message| {
            let direction = if message.is_send { "to" } else { "from" };
            format!(" with {} bytes {direction} world rank {}", message.length, message.peer)
        });
        let sentence = format!("MPI gave up{about}: {words}. Look at what MPI has printed.");
        self.poison.get_or_insert(Poison { since: Instant::now(), sentence });
    }

    /// One round of progress.
    fn progress(&mut self, bell: &MpiBell) {
        self.round += 1;
        let mut ended = std::mem::take(&mut self.ended);
        if let Err(words) = calling(|| self.mpi.progress(&mut ended)) {
            self.spoil(usize::MAX, &words);
        }
        if !ended.is_empty() {
            bell.note_traffic();
        }
        for Ended { name, outcome } in ended.drain(..) {
            self.end(name, outcome);
        }
        self.ended = ended;
    }

    fn end(&mut self, name: usize, outcome: Result<usize, String>) {
        if let Err(words) = &outcome {
            return self.spoil(name, words);
        }
        let Some(message) = &mut self.messages[name] else { return };
        message.keep = None;
        match message.state {
            State::Abandoned => self.forget(name),
            _ => message.state = State::Ended(if message.is_send { message.length } else { outcome.unwrap_or(0) }),
        }
    }

    fn abandon(&mut self, name: usize) {
        match &mut self.messages[name] {
            Some(message) if matches!(message.state, State::Underway) => message.state = State::Abandoned,
            Some(_) => self.forget(name),
            None => {}
        }
    }

    /// The length of message `name` if it has ended, and then forgets it.
    fn take(&mut self, name: usize) -> Option<usize> {
        let Some(Message { state: State::Ended(length), .. }) = self.messages[name] else { return None };
        self.forget(name);
        Some(length)
    }

    /// Nothing ends after an error; the error itself comes out a little later.
    fn check(&self) -> Result<bool, Fault> {
        match &self.poison {
            None => Ok(true),
            Some(poison) if poison.since.elapsed() < GRACE => Ok(false),
            Some(poison) => Err(Fault::Broken(poison.sentence.clone())),
        }
    }
}

impl Wire for MpiWire {
    fn tag(&self, purpose: &str) -> Result<Option<u32>, Fault> {
        self.tags.get().map_or(Ok(None), |tags| tags.get(purpose)).map_err(Fault::Broken)
    }

    fn send(&self, peer: u32, tag: u32, piece: Piece) -> Result<Token, Fault> {
        self.start(true, peer, tag, piece)
    }

    fn receive(&self, peer: u32, tag: u32, piece: Piece) -> Result<Token, Fault> {
        self.start(false, peer, tag, piece)
    }

    fn test(&self, token: Token) -> Result<Option<usize>, Fault> {
        let name = token.0 as usize;
        let mut traffic = self.traffic();
        if !traffic.check()? {
            return Ok(None);
        }
        if let Some(length) = traffic.take(name) {
            return Ok(Some(length));
        }
        // One round serves everyone who asks: only who asks again has seen the last one.
        let round = traffic.round;
        let Some(message) = &mut traffic.messages[name] else { return Ok(None) };
        if message.round < round {
            message.round = round;
            return Ok(None);
        }
        message.round = round + 1;
        traffic.progress(&self.bell);
        if traffic.poison.is_some() { Ok(None) } else { Ok(traffic.take(name)) }
    }

    /// Calls nothing of MPI: whoever gives an operation up may be on another thread.
    fn abandon(&self, token: Token) {
        lock(&self.abandoned).push(token.0 as usize);
    }
}

impl Drop for MpiWire {
    /// MPI, or another process by way of it, may still touch the memory of messages under way: it is never given back.
    fn drop(&mut self) {
        let traffic = self.traffic.get_mut().unwrap_or_else(PoisonError::into_inner);
        traffic.messages.iter_mut().flatten().filter_map(|message| message.keep.take()).for_each(std::mem::forget);
    }
}
