//! Joining a world by MPI: open the library, start MPI, compare what it says with the launch, meet, connect to the store.

use super::bell::MpiBell;
use super::control::MpiControl;
use super::dispositions::Dispositions;
use super::guard;
use super::library::{self, Launcher, Opened, REMEDY, VARIABLE};
use super::meeting::{self, Met, Seat};
use super::session::{self, Started};
use super::tags::Tags;
use super::thread::MpiThread;
use super::wire::MpiWire;
use super::{FINALIZE, MpiBackend};
use crate::backend::{Bell, Funnel};
use crate::failure::{Code, Error, Failure};
use crate::settings::Settings;
use crate::store::StoreClient;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often MPI gets to work while this rank waits for others outside it.
const NUDGE: Duration = Duration::from_millis(1);

fn refused(message: impl std::fmt::Display) -> Error {
    Error::Refused(format!("join: {message}"))
}

fn launcher() -> Launcher {
    Launcher::detect(|name| std::env::var_os(name).is_some())
}

/// Opens the library that the environment names, or the first that is found.
pub fn open_library() -> Result<Opened, String> {
    library::open(&library::candidates(std::env::var(VARIABLE).ok(), launcher()))
}

/// An MPI that has started.
struct Up {
    started: Started,
    /// Path of the library.
    library: String,
    abi: &'static str,
}

/// Opens the library and starts MPI. Runs on the thread that will poll it.
fn start_mpi(deadline: Instant) -> Result<Up, String> {
    let opened = open_library()?;
    let dispositions = Dispositions::keep();
    let started = session::start(&opened, launcher(), deadline).map_err(|sentence| format!("{}: {sentence}", opened.path))?;
    drop(dispositions);
    guard::install();
    Ok(Up { started, abi: opened.abi.name(), library: opened.path })
}

/// To try its hooks, UCX moves the end of the heap one page up and down again as it starts, and so cuts off the page of whatever another
/// thread has allocated in between (ucm/mmap/install.c, UCX 1.20). Node has threads that allocate.
const HEAP_UNTOUCHED: (&str, &str) = ("UCX_MEM_EVENTS", "n");

/// Tells Open MPI, and UCX beneath any MPI, how to behave, unless the user has.
fn advise(settings: &Settings) {
    let mut advice = vec![guard::NEVER_ABORT, HEAP_UNTOUCHED];
    // Where it shares its cores it is to let others run while it finds nothing to do.
    if settings.spins == 0 {
        advice.push(("OMPI_MCA_mpi_yield_when_idle", "1"));
    }
    for (name, value) in advice.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()) {
        // SAFETY: called before MPI has started any thread; a program that changes its environment at the same time would race.
        unsafe { std::env::set_var(name, value) };
    }
}

pub fn join(job: &str, rank: u32, size: u32, settings: &Settings) -> Result<MpiBackend, Error> {
    let limit = settings.join_timeout;
    let deadline = Instant::now() + limit;
    let seat = Seat { job: job.to_owned(), rank, size, deadline, limit };
    let bell = Arc::new(MpiBell::default());
    advise(settings);
    let thread = MpiThread::start(Arc::clone(&bell)).map_err(|error| refused(format!("no thread can be started: {error}.")))?;
    let up = match thread.ask(limit, move || start_mpi(deadline)) {
        None => return Err(silent(&seat)),
        Some(up) => up.map_err(refused)?,
    };
    let compared = compare(&seat, &up);
    let Up { started, library, .. } = up;
    // A thread may stay in MPI for ever once a rank is lost. That is not to be the program's own, unless the process ends after a while.
    let lends = started.is_serialized && settings.exit_grace.is_some();
    if let Err(error) = compared {
        let mut messages = started.messages;
        let _ = thread.ask(FINALIZE, move || messages.finalize());
        return Err(error);
    }
    let wire = Arc::new(MpiWire::new(started.messages, Arc::clone(&bell)));
    let chunk = settings.chunk;
    let (seat, met) = {
        let wire = Arc::clone(&wire);
        // The meeting keeps the deadline by itself.
        let met = thread.ask(Duration::MAX, move || (meeting::meet(&seat, &wire), seat));
        let (met, seat) = met.ok_or_else(|| refused("the thread of MPI panicked. Please report it."))?;
        (seat, met?)
    };
    // What rank 0 has told the others may not have left yet.
    let nudging = Nudging::start(&thread, &wire);
    let control = connect(&seat, met, &bell)?;
    drop(nudging);
    let ring = Arc::clone(&bell);
    wire.agree_by(Tags::new(Arc::clone(control.tcp()), wire.last_tag(), Arc::new(move || ring.ring())));
    Ok(MpiBackend { thread, wire, bell, control, library, chunk, lends })
}

/// Connects to the store and waits until all ranks have.
fn connect(seat: &Seat, met: Met, bell: &Arc<MpiBell>) -> Result<MpiControl, Error> {
    let address = meeting::reach(seat, &met.addresses)?.to_string();
    let left = || seat.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let client = StoreClient::connect(&address, seat.rank, &met.settings, left())?;
    let control = MpiControl::new(client, met.server, seat.size, bell);
    control.tcp().join(left())?;
    Ok(control)
}

/// Lets MPI work on what it has accepted, as long as this lives.
struct Nudging(Arc<AtomicBool>);

impl Nudging {
    fn start(thread: &MpiThread, wire: &Arc<MpiWire>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (wire, until) = (Arc::clone(wire), Arc::clone(&is_over));
        thread.run(Box::new(move || {
            while !until.load(Ordering::Acquire) {
                wire.nudge();
                std::thread::sleep(NUDGE);
            }
        }));
        Self(is_over)
    }
}

impl Drop for Nudging {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// MPI starts only when all ranks start it.
fn silent(seat: &Seat) -> Error {
    let message = format!(
        "join: MPI did not start on rank {} within {} ms. It waits until all {} ranks of job {} start it: check that each of them runs.",
        seat.rank,
        seat.limit.as_millis(),
        seat.size,
        seat.job
    );
    Failure { code: Code::Timeout, culprits: Vec::new(), message }.into()
}

/// A library that does not belong to the launcher makes every process a world of its own.
fn compare(seat: &Seat, up: &Up) -> Result<(), Error> {
    let Up { started: Started { rank, size, version, .. }, library, abi } = up;
    if (*rank, *size) == (seat.rank, seat.size) {
        return Ok(());
    }
    Err(refused(format!(
        "MPI calls this process rank {rank} of {size} and the launch calls it rank {} of {}. The library is {library} ({version}, {abi}), \
         started by {}. {REMEDY}",
        seat.rank,
        seat.size,
        launcher().name()
    )))
}
