//! The store's thread: accepts, reads, lets the ledger decide, writes.

use super::connection::{Connection, Ended, Stage};
use super::frame::frame;
use super::ledger::{IDLE, Ledger, To};
use super::message::{ToRank, ToStore, VERSION, decode, hello_version};
use super::place;
use super::settings::StoreSettings;
use polling::{Event, Events, Poller};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a stranger may take for its hello.
const HELLO: Duration = Duration::from_secs(5);
/// How long a refused one may take to read why.
const CLOSING: Duration = Duration::from_secs(1);
/// Connections that are no rank's, beyond one for each rank. When there are more, the oldest goes.
const STRANGERS: usize = 256;
/// Connections accepted before others have their turn.
const ACCEPTS: usize = 64;
/// Letters that are delivered together: what many ranks do at once reaches everyone in few pieces.
const LETTERS: usize = 64;
/// How long no connection is accepted after that has failed, as it does when file descriptors run out.
const REST: Duration = Duration::from_millis(50);
/// How long a store that stops waits until everything was read.
const LINGER: Duration = Duration::from_millis(500);
/// The listener's key; connections count from there.
const LISTENER: usize = 0;

pub struct EventLoop {
    listener: TcpListener,
    poller: Arc<Poller>,
    stop: Arc<AtomicBool>,
    size: usize,
    ledger: Ledger,
    /// By key, hence in the order in which they came.
    connections: BTreeMap<usize, Connection>,
    /// Keys of connections that are no rank's.
    strangers: BTreeSet<usize>,
    /// By rank: its connection, and whether its welcome was sent. What was announced before that is in the welcome.
    seats: Vec<Option<(usize, bool)>>,
    last_key: usize,
    /// Connections with something to send.
    unsent: Vec<usize>,
    /// When connections are accepted again.
    resting: Option<Instant>,
    /// No stranger is late and the listener rests before this.
    due: Instant,
}

impl EventLoop {
    pub fn new(listener: TcpListener, stop: Arc<AtomicBool>, settings: StoreSettings) -> std::io::Result<Self> {
        let poller = Arc::new(Poller::new()?);
        listener.set_nonblocking(true)?;
        // SAFETY: `drop` takes the listener from the poller before it is closed; nothing that fails stands in between.
        unsafe { poller.add(&listener, Event::readable(LISTENER))? };
        let (size, now) = (settings.size as usize, Instant::now());
        Ok(Self {
            listener,
            poller,
            stop,
            size,
            ledger: Ledger::new(settings, now),
            connections: BTreeMap::new(),
            strangers: BTreeSet::new(),
            seats: vec![None; size],
            last_key: LISTENER,
            unsent: Vec::new(),
            resting: None,
            due: now,
        })
    }

    pub fn poller(&self) -> Arc<Poller> {
        Arc::clone(&self.poller)
    }

    /// Serves until the flag is set and the poller notified.
    pub fn run(mut self) {
        let mut events = Events::new();
        while !self.stop.load(Ordering::Acquire) {
            events.clear();
            let timeout = self.due.min(self.ledger.due).saturating_duration_since(Instant::now());
            match self.poller.wait(&mut events, Some(timeout)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    eprintln!("megatron-ts: the store of rank 0 stops: {error}.");
                    break;
                }
                _ => {}
            }
            for event in events.iter() {
                if event.key == LISTENER {
                    self.accept()
                } else {
                    self.serve(event.key)
                }
                if self.ledger.letters.len() >= LETTERS {
                    self.deliver();
                }
            }
            self.deliver();
            // After a pause of this process the sockets tell first who was silent and who was not heard.
            let is_read = events.len() < events.capacity().get();
            if is_read && Instant::now() >= self.due.min(self.ledger.due) {
                self.look_at_clock();
                self.deliver();
            }
        }
        self.linger();
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let until = Instant::now() + HELLO;
                    self.last_key += 1;
                    let key = self.last_key;
                    if let Ok(connection) = Connection::new(stream, &self.poller, key, Stage::Greeting(until)) {
                        self.connections.insert(key, connection);
                        self.strangers.insert(key);
                        self.due = self.due.min(until);
                    }
                    if self.strangers.len() > STRANGERS + self.size {
                        self.drop_oldest_stranger();
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.drop_oldest_stranger();
                    let until = Instant::now() + REST;
                    self.resting = Some(until);
                    self.due = self.due.min(until);
                    return;
                }
            }
        }
        self.watch_listener();
    }

    fn watch_listener(&self) {
        if let Err(error) = self.poller.modify(&self.listener, Event::readable(LISTENER)) {
            eprintln!("megatron-ts: the store of rank 0 accepts no more connections: {error}.");
        }
    }

    fn drop_oldest_stranger(&mut self) {
        if let Some(key) = self.strangers.pop_first() {
            self.connections.remove(&key);
        }
    }

    /// What one connection has to say.
    fn serve(&mut self, key: usize) {
        // Taken out meanwhile: what it says may concern all others.
        let Some(mut connection) = self.connections.remove(&key) else { return };
        let received = connection.receive();
        let outcome = self.read(key, &mut connection).and(received).and_then(|()| connection.flush()).and_then(|()| connection.watch());
        self.connections.insert(key, connection);
        if let Err(reason) = outcome {
            self.close(key, &reason);
        }
    }

    fn read(&mut self, key: usize, connection: &mut Connection) -> Ended {
        while let Some(frame) = connection.next()? {
            let now = Instant::now();
            match connection.stage {
                Stage::Greeting(_) => self.greet(key, connection, &frame, now)?,
                Stage::Seated(rank) => {
                    let message = decode::<ToStore>(&frame).ok_or("sent bytes that are no message")?;
                    if !self.ledger.receive(rank, message, now) {
                        return Err("sent a second hello".into());
                    }
                }
                Stage::Closing(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// The first message of a connection. Who does not know the protocol is closed without a word.
    fn greet(&mut self, key: usize, connection: &mut Connection, bytes: &[u8], now: Instant) -> Ended {
        // Letters to all that were written before go only to those who are there: a rank hears its welcome first.
        self.deliver();
        let admitted = match (hello_version(bytes), decode::<ToStore>(bytes)) {
            (Some(version), _) if version != VERSION => Err(place::other_version(version)),
            (Some(_), Some(ToStore::Hello { hello })) => self.ledger.seat(hello, now),
            _ => return Err("is no rank".into()),
        };
        match admitted {
            Ok(rank) => {
                connection.stage = Stage::Seated(rank);
                self.strangers.remove(&key);
                self.seats[rank as usize] = Some((key, false));
            }
            Err(sentence) => {
                let until = now + CLOSING;
                connection.queue(&frame(&ToRank::Refused { sentence }));
                connection.stage = Stage::Closing(until);
                self.due = self.due.min(until);
            }
        }
        Ok(())
    }

    fn close(&mut self, key: usize, reason: &str) {
        let Some(connection) = self.connections.remove(&key) else { return };
        self.strangers.remove(&key);
        if let Stage::Seated(rank) = connection.stage {
            self.seats[rank as usize] = None;
            self.ledger.disconnected(rank, reason, Instant::now());
        }
    }

    /// Sends the ledger's letters. Closing a connection that takes none makes new ones.
    fn deliver(&mut self) {
        while !self.ledger.letters.is_empty() {
            for (to, message) in std::mem::take(&mut self.ledger.letters) {
                let bytes = frame(&message);
                match to {
                    To::Rank(rank) => self.queue(rank as usize, &bytes, true),
                    To::All => (0..self.size).for_each(|rank| self.queue(rank, &bytes, false)),
                }
                // The rank that has failed may exit as soon as it is answered.
                if matches!(message, ToRank::Failed { .. }) {
                    self.flush();
                }
            }
            self.flush();
        }
    }

    /// `own`: the letter is for this rank, of which the first is its welcome.
    fn queue(&mut self, rank: usize, bytes: &[u8], own: bool) {
        let Some((key, is_welcome)) = &mut self.seats[rank] else { return };
        *is_welcome |= own;
        if *is_welcome && let Some(connection) = self.connections.get_mut(key) {
            connection.queue(bytes);
            self.unsent.push(*key);
        }
    }

    fn flush(&mut self) {
        for key in std::mem::take(&mut self.unsent) {
            let Some(connection) = self.connections.get_mut(&key) else { continue };
            let flushed = connection.flush();
            let outcome = flushed.and_then(|()| if connection.is_flushed() { Ok(()) } else { connection.watch() });
            if let Err(reason) = outcome {
                self.close(key, &reason);
            }
        }
    }

    /// Does what is due, and finds out when something will be.
    fn look_at_clock(&mut self) {
        let now = Instant::now();
        let until = |connection: &Connection| match connection.stage {
            Stage::Greeting(until) | Stage::Closing(until) => until,
            Stage::Seated(_) => now + IDLE,
        };
        let strangers = || self.strangers.iter().filter_map(|key| Some((*key, until(self.connections.get(key)?))));
        let late: Vec<usize> = strangers().filter(|(_, until)| *until <= now).map(|(key, _)| key).collect();
        for key in late {
            self.close(key, "sent no hello");
        }
        if self.resting.is_some_and(|until| until <= now) {
            self.resting = None;
            self.watch_listener();
        }
        self.ledger.expire(now);
        let strangers = self.strangers.iter().filter_map(|key| self.connections.get(key).map(until)).min();
        self.due = [strangers, self.resting].into_iter().flatten().min().unwrap_or(now + IDLE);
    }

    /// Lets the ranks read what was sent last.
    fn linger(&mut self) {
        let until = Instant::now() + LINGER;
        let mut told = BTreeSet::new();
        while !self.connections.is_empty() && Instant::now() < until {
            self.connections.retain(|key, connection| {
                // What still comes is read and dropped: closing with unread bytes would take back what was sent.
                let is_open = connection.flush().is_ok() && connection.receive().is_ok();
                if is_open && connection.is_flushed() && told.insert(*key) {
                    connection.stage = Stage::Closing(until);
                    connection.end_output();
                }
                is_open
            });
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        let _ = self.poller.delete(&self.listener);
    }
}
