//! How the ranks find the store: each tells rank 0 by MPI where it runs, and rank 0 tells each where the store listens.

use super::place::Place;
use super::tags::MEETING;
use super::wire::MpiWire;
use crate::failure::{Code, Error, Failure, ranks_text};
use crate::operation::Fault;
use crate::store::{StoreServer, StoreSettings};
use crate::wire::{Piece, Token, Wire};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::{DType, Span};

/// The longest message of the meeting.
const LONGEST: usize = 16 << 10;
/// How often a message is looked for.
const LOOK: Duration = Duration::from_micros(50);
/// How long one attempt to connect may take.
const ATTEMPT: Duration = Duration::from_secs(1);
const TOKEN_BYTES: usize = 16;

/// One rank at the meeting.
pub struct Seat {
    pub job: String,
    pub rank: u32,
    pub size: u32,
    pub deadline: Instant,
    pub limit: Duration,
}

/// What the meeting results in.
pub struct Met {
    pub settings: StoreSettings,
    /// Where the store may be reached.
    pub addresses: Vec<SocketAddr>,
    /// On rank 0.
    pub server: Option<StoreServer>,
}

fn refused(message: impl std::fmt::Display) -> Error {
    Error::Refused(format!("join: {message}"))
}

/// A message under way, with its memory.
struct Letter {
    span: Span,
    token: Token,
    length: Option<usize>,
}

impl Letter {
    fn send(wire: &MpiWire, peer: u32, text: &str) -> Result<Self, Error> {
        let span = Span::from_slice(DType::U8, text.as_bytes()).map_err(refused)?;
        Self::start(span, |piece| wire.send(peer, MEETING, piece))
    }

    fn receive(wire: &MpiWire, peer: u32) -> Result<Self, Error> {
        let span = Span::new(DType::U8, LONGEST).map_err(refused)?;
        Self::start(span, |piece| wire.receive(peer, MEETING, piece))
    }

    fn start(span: Span, start: impl FnOnce(Piece) -> Result<Token, Fault>) -> Result<Self, Error> {
        let piece = Piece { bytes: span.as_ptr(), length: span.byte_len(), keep: Arc::new(span.clone()) };
        let token = start(piece).map_err(broken)?;
        Ok(Self { span, token, length: None })
    }

    fn text(&self) -> String {
        let bytes = self.span.bytes();
        String::from_utf8_lossy(&bytes[..self.length.unwrap_or(0).min(bytes.len())]).into_owned()
    }
}

fn broken(fault: Fault) -> Error {
    match fault {
        Fault::Broken(sentence) => refused(sentence),
        other => refused(format!("a message of the meeting went astray ({other:?}). Please report it.")),
    }
}

/// Waits for all `letters`; the error names the ranks (as numbered in `peers`) whose letters did not come.
fn await_all(seat: &Seat, wire: &MpiWire, letters: &mut [Letter], peers: &[u32]) -> Result<(), Error> {
    loop {
        for letter in letters.iter_mut().filter(|letter| letter.length.is_none()) {
            letter.length = wire.test(letter.token).map_err(broken)?;
        }
        let open = || letters.iter().zip(peers).filter(|(letter, _)| letter.length.is_none()).map(|(_, &peer)| peer);
        if open().next().is_none() {
            return Ok(());
        }
        if Instant::now() >= seat.deadline {
            let missing: Vec<u32> = open().collect();
            let message = format!(
                "join: rank {} waited {} ms for the other ranks of job {} after MPI had started; missing: {}. Check that they join, too.",
                seat.rank,
                seat.limit.as_millis(),
                seat.job,
                ranks_text(&missing)
            );
            return Err(Failure { code: Code::Timeout, culprits: missing, message }.into());
        }
        std::thread::sleep(LOOK);
    }
}

/// Meets the other ranks. Runs on the thread that polls MPI.
pub fn meet(seat: &Seat, wire: &MpiWire) -> Result<Met, Error> {
    if seat.rank == 0 { host(seat, wire) } else { visit(seat, wire) }
}

/// Rank 0: hears from everyone, opens the store and tells everyone where.
fn host(seat: &Seat, wire: &MpiWire) -> Result<Met, Error> {
    let peers: Vec<u32> = (1..seat.size).collect();
    let mut letters = peers.iter().map(|&peer| Letter::receive(wire, peer)).collect::<Result<Vec<_>, _>>()?;
    await_all(seat, wire, &mut letters, &peers)?;
    let place = |letter: &Letter| Place::from_text(&letter.text()).ok_or_else(|| refused("a rank runs another version. Use one version."));
    let places = letters.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let token = token()?;
    let settings = StoreSettings::new(&seat.job, seat.size, &token);
    let (server, addresses) = open_store(&places, &settings)?;
    let list: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    let text = format!("{token}\n{}", list.join(" "));
    let mut letters = peers.iter().map(|&peer| Letter::send(wire, peer, &text)).collect::<Result<Vec<_>, _>>()?;
    await_all(seat, wire, &mut letters, &peers)?;
    let local = SocketAddr::from(([127, 0, 0, 1], server.address().port()));
    Ok(Met { settings, addresses: vec![local], server: Some(server) })
}

/// On the loopback interface when all ranks are on this machine.
fn open_store(others: &[Place], settings: &StoreSettings) -> Result<(StoreServer, Vec<SocketAddr>), Error> {
    let own = Place::own();
    if others.iter().all(|other| other.machine == own.machine) {
        let server = StoreServer::start(None, settings)?;
        let address = server.address();
        return Ok((server, vec![address]));
    }
    let reachable = own.reachable_from(others);
    let Some(first) = reachable.first() else {
        return Err(refused(format!(
            "rank 0 has no network address for the ranks of other hosts; its own are {:?}. Give its host one.",
            own.addresses
        )));
    };
    let server = StoreServer::start(Some(if first.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }), settings)?;
    let port = server.address().port();
    Ok((server, reachable.into_iter().map(|address| SocketAddr::new(address, port)).collect()))
}

fn visit(seat: &Seat, wire: &MpiWire) -> Result<Met, Error> {
    let mut letters = [Letter::send(wire, 0, &Place::own().to_text())?, Letter::receive(wire, 0)?];
    await_all(seat, wire, &mut letters, &[0, 0])?;
    let text = letters[1].text();
    let parsed = text.split_once('\n').and_then(|(token, list)| {
        let addresses = list.split_whitespace().map(str::parse).collect::<Result<Vec<SocketAddr>, _>>().ok()?;
        Some((token, addresses))
    });
    let (token, addresses) = parsed.ok_or_else(|| refused("rank 0 runs another version. Use one version on all ranks."))?;
    Ok(Met { settings: StoreSettings::new(&seat.job, seat.size, token), addresses, server: None })
}

/// What nobody outside the job can guess.
fn token() -> Result<String, Error> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| refused(format!("the system gives no random numbers: {error}.")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The first of `addresses` that can be connected to.
pub fn reach(seat: &Seat, addresses: &[SocketAddr]) -> Result<SocketAddr, Error> {
    if let [only] = addresses {
        return Ok(*only);
    }
    loop {
        let mut reason = String::from("it told no address");
        for address in addresses {
            match TcpStream::connect_timeout(address, ATTEMPT) {
                Ok(_) => return Ok(*address),
                Err(error) => reason = error.to_string(),
            }
        }
        if Instant::now() >= seat.deadline {
            let list: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            let message = format!(
                "join: rank {} reaches the store of rank 0 at none of {} within {} ms: {reason}. \
                 Let the hosts connect to each other by TCP.",
                seat.rank,
                list.join(", "),
                seat.limit.as_millis()
            );
            return Err(Failure { code: Code::Timeout, culprits: vec![0], message }.into());
        }
        std::thread::sleep(LOOK);
    }
}
