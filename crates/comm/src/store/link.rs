//! A rank's connection to the store: made with patience, then served by a thread that sends heartbeats and reads.

use super::frame::{Inbox, frame};
use super::message::{Doing, HELLO, Hello, Reply, Seat, TABLE_BYTES, ToRank, ToStore, VERSION, WELCOME, decode};
use super::settings::StoreSettings;
use crate::backend::Presence;
use crate::failure::{Code, Error, Failure};
use crate::group::lock;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The pauses between two attempts to connect grow from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// How long one attempt to connect may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long the store may take no bytes before it counts as gone.
const WRITE: Duration = Duration::from_secs(10);

/// What the store has told, and what is asked of it.
pub struct State {
    pub seats: Vec<Seat>,
    /// Requests under way, with their answers.
    pub requests: HashMap<u64, Option<Reply>>,
    /// Why the connection is gone.
    pub lost: Option<String>,
    /// This rank has left, or is about to close the connection for another reason.
    pub closing: bool,
}

/// What a rank's threads share about its connection.
pub struct Link {
    pub rank: u32,
    pub settings: StoreSettings,
    pub stream: TcpStream,
    /// Held while a message is written.
    writing: Mutex<()>,
    pub state: Mutex<State>,
    pub changed: Condvar,
    pub failure: OnceLock<Failure>,
    /// What this rank does, and whether that still has to be told.
    doing: Mutex<(Doing, bool)>,
    pub bell: OnceLock<Arc<dyn Fn() + Send + Sync>>,
}

/// A first answer of the store.
enum Greeted {
    Welcome { stream: TcpStream, inbox: Inbox, state: State, heartbeat: u32, failure: Option<Failure> },
    Refused(String),
}

/// Connects and introduces this rank; tries again until `limit` has passed.
pub fn connect(address: &str, rank: u32, settings: &StoreSettings, limit: Duration) -> Result<(Arc<Link>, Inbox), Error> {
    let hello = Hello {
        magic: HELLO,
        version: VERSION,
        secret: settings.secret.clone(),
        job: settings.job.clone(),
        size: settings.size,
        rank,
        pid: std::process::id(),
        host: gethostname::gethostname().to_string_lossy().into_owned(),
    };
    let hello = frame(&ToStore::Hello { hello });
    let deadline = Instant::now() + limit;
    let mut pause = PAUSES.0;
    loop {
        let reason = match greet(address, &hello, settings.size, deadline) {
            Ok(Greeted::Welcome { stream, inbox, state, heartbeat, failure }) => {
                let settings = StoreSettings { heartbeat: Duration::from_millis(heartbeat.into()), ..settings.clone() };
                return Ok((Arc::new(Link::new(rank, settings, stream, state, failure)), inbox));
            }
            Ok(Greeted::Refused(sentence)) => return Err(Error::Refused(sentence)),
            Err(reason) => reason,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let message = format!(
                "join: rank {rank} did not reach the store of rank 0 at {address} within {} ms: {reason}. \
                 Check that rank 0 runs, and the address.",
                limit.as_millis()
            );
            return Err(Failure { code: Code::Timeout, culprits: vec![0], message }.into());
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// One attempt; the error says why it may be worth another one.
fn greet(address: &str, hello: &[u8], size: u32, deadline: Instant) -> Result<Greeted, String> {
    let mut stream = open(address, deadline)?;
    let text = |error: std::io::Error| error.to_string();
    stream.set_nodelay(true).map_err(text)?;
    stream.set_write_timeout(Some(WRITE)).map_err(text)?;
    stream.write_all(hello).map_err(text)?;
    let (mut inbox, mut chunk) = (Inbox::default(), [0; 16 << 10]);
    loop {
        if let Some(bytes) = inbox.next(TABLE_BYTES).map_err(|_| "its answer is not that of a store")? {
            return match decode(&bytes) {
                Some(ToRank::Welcome { magic: WELCOME, heartbeat, seats, failure }) if seats.len() == size as usize => {
                    let state = State { seats, requests: HashMap::new(), lost: None, closing: false };
                    Ok(Greeted::Welcome { stream, inbox, state, heartbeat, failure })
                }
                Some(ToRank::Refused { sentence }) => Ok(Greeted::Refused(sentence)),
                _ => Err("its answer is not that of a store".into()),
            };
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).map_err(text)?;
        match stream.read(&mut chunk) {
            Ok(0) => return Err("it closed the connection without an answer".into()),
            Ok(count) => inbox.push(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) => return Err("it accepted the connection and did not answer".into()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn open(address: &str, deadline: Instant) -> Result<TcpStream, String> {
    let mut reason = "the name has no address".to_owned();
    for address in address.to_socket_addrs().map_err(|error| error.to_string())? {
        let left = deadline.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), ATTEMPT);
        match TcpStream::connect_timeout(&address, left) {
            // A port that nobody listens at may be the one this very socket got, and connect to itself.
            Ok(stream) if stream.local_addr().ok() == stream.peer_addr().ok() => "nobody listens".clone_into(&mut reason),
            Ok(stream) => return Ok(stream),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(reason)
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

impl Link {
    fn new(rank: u32, settings: StoreSettings, stream: TcpStream, state: State, failure: Option<Failure>) -> Self {
        Self {
            rank,
            settings,
            stream,
            writing: Mutex::default(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            failure: failure.map_or_else(OnceLock::new, OnceLock::from),
            doing: Mutex::default(),
            bell: OnceLock::new(),
        }
    }

    /// Sends a whole message. A connection that takes no bytes, or a part of a message, is of no more use.
    pub fn send(&self, frame: &[u8]) {
        let guard = lock(&self.writing);
        if (&self.stream).write_all(frame).is_err() {
            // The thread that reads finds out and tells.
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        drop(guard);
    }

    /// Changes what this rank does. Costs nanoseconds: the next heartbeat tells it.
    pub fn note(&self, change: impl FnOnce(&mut Doing)) {
        let (doing, is_new) = &mut *lock(&self.doing);
        change(doing);
        *is_new = true;
    }

    pub fn doing(&self) -> Doing {
        lock(&self.doing).0.clone()
    }

    fn send_heartbeat(&self) {
        let doing = {
            let (doing, is_new) = &mut *lock(&self.doing);
            std::mem::take(is_new).then(|| doing.clone())
        };
        self.send(&frame(&ToStore::Heartbeat { doing }));
    }

    /// Wakes who waits for a change.
    pub fn ring(&self) {
        self.changed.notify_all();
        if let Some(bell) = self.bell.get() {
            bell();
        }
    }

    /// The body of the link's thread: ends with the connection.
    pub fn run(&self, inbox: Inbox) {
        let reason = self.serve(inbox).err().unwrap_or_default();
        // The store waits for this when it stops.
        let _ = self.stream.shutdown(Shutdown::Both);
        let mut state = lock(&self.state);
        if !state.closing
            && let Some(seat) = state.seats.first_mut()
            && matches!(seat.presence, Presence::Alive | Presence::Absent)
        {
            (seat.presence, seat.reason) = (Presence::Lost, reason.clone());
        }
        state.lost = Some(reason);
        drop(state);
        self.ring();
    }

    /// Reads and sends heartbeats until the connection ends, for the reason returned in words that follow rank 0's name.
    fn serve(&self, mut inbox: Inbox) -> Result<(), String> {
        let mut chunk = vec![0; 16 << 10];
        let mut next_beat = Instant::now();
        // The first heartbeat after the last sign of the store.
        let mut unanswered: Option<Instant> = None;
        loop {
            let mut is_news = false;
            while let Some(bytes) = inbox.next(TABLE_BYTES).map_err(|_| "sent a message that is too long")? {
                is_news |= self.take(decode(&bytes).ok_or("sent bytes that are no message")?);
            }
            if is_news {
                self.ring();
            }
            let now = Instant::now();
            if now >= next_beat {
                self.send_heartbeat();
                unanswered.get_or_insert(now);
                next_beat = now + self.settings.heartbeat;
            }
            let nap = next_beat.saturating_duration_since(now).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(nap)).map_err(|error| format!("lost its connection ({error})"))?;
            match (&self.stream).read(&mut chunk) {
                Ok(0) => return Err("closed its store without leaving".into()),
                Ok(count) => {
                    inbox.push(&chunk[..count]);
                    unanswered = None;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => {
                    if unanswered.is_some_and(|since| since.elapsed() >= self.settings.silence()) {
                        return Err(self.settings.silence_text());
                    }
                }
                Err(error) => return Err(format!("lost its connection ({error})")),
            }
        }
    }

    /// True when someone may wait for what `message` has changed.
    fn take(&self, message: ToRank) -> bool {
        match message {
            ToRank::Report {} => self.send_heartbeat(),
            ToRank::Presence { rank, seat } => {
                if let Some(place) = lock(&self.state).seats.get_mut(rank as usize) {
                    *place = seat;
                }
                return true;
            }
            ToRank::Failed { failure } => {
                let _ = self.failure.set(failure);
                return true;
            }
            ToRank::Answer { id, reply } => {
                if let Some(answer) = lock(&self.state).requests.get_mut(&id) {
                    *answer = Some(reply);
                }
                self.changed.notify_all();
            }
            // A welcome and a refusal come before all this; a pulse has said what it has to say by arriving.
            ToRank::Pulse {} | ToRank::Welcome { .. } | ToRank::Refused { .. } => {}
        }
        false
    }
}
