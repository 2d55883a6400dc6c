//! One connection of the store: never blocks, never holds more than its limits.

use super::frame::{Inbox, TooLong};
use super::message::{HELLO_BYTES, MESSAGE_BYTES};
use polling::{Event, Poller};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

/// Bytes that may wait for a peer that does not read.
const BACKLOG: usize = 32 << 20;
/// Memory that an idle connection may keep.
const IDLE: usize = 64 << 10;
/// Bytes read before others have their turn.
const TURN: usize = 64 << 10;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Has to send its hello by then.
    Greeting(Instant),
    /// Is the connection of this rank.
    Seated(u32),
    /// Gets what was written for it, and is closed by then at the latest.
    Closing(Instant),
}

/// A socket as long as a poller watches it.
struct Watched {
    stream: TcpStream,
    poller: Arc<Poller>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.poller.delete(&self.stream);
    }
}

pub struct Connection {
    socket: Watched,
    key: usize,
    pub stage: Stage,
    inbox: Inbox,
    out: Vec<u8>,
    /// Bytes of `out` that were sent.
    sent: usize,
}

/// Whether anything more will come from a connection; the text says why not, in words that follow a rank's name.
pub type Ended = Result<(), String>;

fn broken(error: &std::io::Error) -> String {
    format!("lost its connection ({error})")
}

impl Connection {
    pub fn new(stream: TcpStream, poller: &Arc<Poller>, key: usize, stage: Stage) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        // SAFETY: `Watched` takes the socket from the poller before it closes it.
        unsafe { poller.add(&stream, Event::readable(key))? };
        let socket = Watched { stream, poller: Arc::clone(poller) };
        Ok(Self { socket, key, stage, inbox: Inbox::default(), out: Vec::new(), sent: 0 })
    }

    /// Takes in what has arrived. What came before the end is still to be read.
    pub fn receive(&mut self) -> Ended {
        let mut chunk = [0; 16 << 10];
        let mut taken = 0;
        while taken < TURN {
            match (&self.socket.stream).read(&mut chunk) {
                Ok(0) => return Err("closed its connection without leaving".into()),
                // Who is to be closed has nothing more to say.
                Ok(_) if matches!(self.stage, Stage::Closing(_)) => return Ok(()),
                Ok(count) => {
                    self.inbox.push(&chunk[..count]);
                    taken += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
        Ok(())
    }

    /// The next whole message.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        let limit = match self.stage {
            Stage::Greeting(_) => HELLO_BYTES,
            Stage::Seated(_) => MESSAGE_BYTES,
            Stage::Closing(_) => return Ok(None),
        };
        self.inbox.next(limit).map_err(|TooLong(length)| format!("sent a message of {length} bytes where {limit} are allowed"))
    }

    /// Has `frame` sent when there is room.
    pub fn queue(&mut self, frame: &[u8]) {
        self.out.extend_from_slice(frame);
    }

    pub fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Sends what there is room for.
    pub fn flush(&mut self) -> Ended {
        while self.sent < self.out.len() {
            match (&self.socket.stream).write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&error)),
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
            if self.out.capacity() > IDLE {
                self.out = Vec::new();
            }
            if matches!(self.stage, Stage::Closing(_)) {
                self.end_output();
            }
        } else if self.out.len() - self.sent > BACKLOG {
            return Err(format!("does not read what it is sent ({} MiB)", BACKLOG >> 20));
        }
        Ok(())
    }

    /// Tells the peer that nothing more comes. Closing outright could take back what it has not read yet.
    pub fn end_output(&self) {
        let _ = self.socket.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Asks the poller for the next event.
    pub fn watch(&self) -> Ended {
        let interest = Event::new(self.key, true, !self.out.is_empty());
        self.socket.poller.modify(&self.socket.stream, interest).map_err(|error| broken(&error))
    }
}
