//! Runs the body of a test as ranks under the launcher of an MPI: the test's own executable, started once by `mpiexec`.
#![allow(dead_code)] // Every test file uses a part of this.

use megatron_comm::{Backend, Failure, MpiBackend, Settings, World};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const ROLE: &str = "MEGATRON_TEST_ROLE";
/// What a rank writes when it has come to the end of its body.
const DONE: &str = "DONE";
/// Starts a rank and stays when it has ended, so that the launcher neither sees a death nor cleans up after it.
const KEEPER: &str = r#"trap '' USR1; "$@"; until [ -e "$0/over" ]; do sleep 0.02; done"#;
/// How long the launcher may take to go once all ranks are through.
const CLEAN_UP: Duration = Duration::from_secs(5);

/// An MPI library with its launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// MPICH by the standard binary interface.
    Standard,
    /// The same MPICH by its older interface.
    Mpich,
    OpenMpi,
}

pub const FLAVOURS: [Flavour; 3] = [Flavour::Standard, Flavour::Mpich, Flavour::OpenMpi];

fn made(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build/mpi").join(path);
    assert!(path.exists(), "{} is missing: run node tools/mpi.mjs", path.display());
    path
}

impl Flavour {
    fn folder(self) -> &'static str {
        if self == Self::OpenMpi { "openmpi" } else { "mpich" }
    }

    pub fn library(self) -> PathBuf {
        match self {
            Self::Standard => made("mpich/lib/libmpi_abi.so.1"),
            Self::Mpich => made("mpich/lib/libmpi.so.12"),
            Self::OpenMpi => made("openmpi/lib/libmpi.so.40"),
        }
    }

    /// The launcher for `size` ranks.
    pub fn launcher(self, size: u32) -> Command {
        let mut command = Command::new(made(&format!("{}/bin/mpiexec", self.folder())));
        match self {
            Self::OpenMpi => {
                command.args(["--allow-run-as-root", "--bind-to", "none", "--map-by", ":OVERSUBSCRIBE"]);
                command.args(["--runtime-options", "recoverable,continuous"]);
            }
            _ => drop(command.args(["-bind-to", "none"])),
        }
        command.args(["-n", &size.to_string()]);
        command
    }
}

/// One rank of a test.
pub struct Seat {
    pub job: String,
    pub rank: u32,
    pub size: u32,
    folder: PathBuf,
}

impl Seat {
    /// Limits for tests that are to succeed on a busy machine. As in a training, a failed process ends after a time of grace.
    pub fn settings(&self) -> Settings {
        let (limit, grace) = (Duration::from_secs(60), Duration::from_secs(10));
        let settings = Settings::new(self.size as usize);
        Settings { timeout: limit, join_timeout: limit, exit_grace: Some(grace), recorder_dir: None, ..settings }
    }

    pub fn join_with(&self, settings: Settings) -> World {
        let backend: Arc<dyn Backend> = self.backend(&settings);
        World::over(&self.job, backend, self.rank, self.size, settings)
    }

    pub fn backend(&self, settings: &Settings) -> Arc<MpiBackend> {
        MpiBackend::join(&self.job, self.rank, self.size, settings).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn join(&self) -> World {
        self.join_with(self.settings())
    }

    pub fn everyone(&self) -> Vec<u32> {
        (0..self.size).collect()
    }

    fn paper(&self) -> File {
        let path = self.folder.join(self.rank.to_string());
        OpenOptions::new().create(true).append(true).open(path).unwrap()
    }

    /// Writes what the parent shall read.
    pub fn say(&self, text: &str) {
        writeln!(self.paper(), "{text}").unwrap();
    }

    pub fn report(&self, failure: &Failure) {
        self.say(&format!("{} {:?} {}", failure.code.name(), failure.culprits, failure.message));
    }
}

/// What the ranks of a test have said, by rank, and what they and the launcher have printed.
pub struct Ended {
    pub said: Vec<Vec<String>>,
    pub printed: String,
}

impl Ended {
    /// Whether the rank has come to its end.
    pub fn is_done(&self, rank: u32) -> bool {
        self.said[rank as usize].iter().any(|line| line == DONE)
    }

    /// The one line that each rank but those of `without` has said.
    pub fn verdicts(&self, without: &[u32]) -> Vec<&str> {
        let ranks = (0..self.said.len() as u32).filter(|rank| !without.contains(rank));
        let verdict = |rank: u32| match self.said[rank as usize].as_slice() {
            [verdict, done] if done == DONE => verdict.as_str(),
            _ => panic!("rank {rank} of {:#?}\n{}", self.said, self.printed),
        };
        ranks.map(verdict).collect()
    }

    pub fn expect_all_done(self) -> Self {
        for rank in 0..self.said.len() as u32 {
            assert!(self.is_done(rank), "rank {rank} did not end: {:?}\n{}", self.said[rank as usize], self.printed);
        }
        self
    }
}

/// A test whose body runs under a launcher. `name` is the name of the test function.
pub struct Play<'a> {
    pub name: &'a str,
    pub size: u32,
    /// Tells several plays of one test apart.
    pub run: &'a str,
    /// Ranks that are not expected to come to their end.
    pub lost: &'a [u32],
}

impl Play<'_> {
    fn role(&self) -> String {
        format!("{}-{}-{}", self.name, self.size, self.run)
    }

    /// In a rank, runs the body if it is a rank of this play, and never returns then.
    fn act(&self, body: &impl Fn(&Seat)) -> bool {
        let Ok(role) = std::env::var(ROLE) else { return false };
        let (own, folder) = role.split_once(' ').unwrap();
        if own == self.role() {
            let rank = ["OMPI_COMM_WORLD_RANK", "PMI_RANK"].iter().find_map(|name| std::env::var(name).ok());
            let rank = rank.expect("an MPI launcher").parse().unwrap();
            let seat = Seat { job: own.to_owned(), rank, size: self.size, folder: folder.into() };
            seat.say(&std::process::id().to_string());
            let paper = Mutex::new(seat.paper());
            // What a rank of another host prints may get lost with its host.
            std::panic::set_hook(Box::new(move |panic| drop(writeln!(paper.lock().unwrap(), "{panic}"))));
            body(&seat);
            seat.say(DONE);
            std::process::exit(0);
        }
        true
    }

    /// Runs `body` as the ranks of this play under `launcher`; None in a process that is a rank of another play.
    pub fn run(&self, library: &Path, mut launcher: Command, body: impl Fn(&Seat)) -> Option<Ended> {
        if self.act(&body) {
            return None;
        }
        let folder = std::env::temp_dir().join(format!("megatron-{}-{}", std::process::id(), self.role()));
        fs::create_dir_all(&folder).unwrap();
        let printed = File::create(folder.join("printed")).unwrap();
        launcher.args(["sh", "-c", KEEPER]).arg(&folder);
        launcher.arg(std::env::current_exe().unwrap()).args([self.name, "--exact", "--nocapture"]);
        launcher.env(ROLE, format!("{} {}", self.role(), folder.display())).env("MEGATRON_MPI_LIBRARY", library);
        launcher.stdin(Stdio::null()).stdout(printed.try_clone().unwrap()).stderr(printed);
        let mut child = launcher.spawn().unwrap();
        self.await_end(&folder, &mut child);
        let mut said: Vec<Vec<String>> = (0..self.size).map(|rank| lines(&folder.join(rank.to_string()))).collect();
        for pid in said.iter_mut().filter(|lines| !lines.is_empty()).map(|lines| lines.remove(0)) {
            kill(&pid);
        }
        File::create(folder.join("over")).unwrap();
        end(&mut child);
        let printed = fs::read_to_string(folder.join("printed")).unwrap_or_default();
        fs::remove_dir_all(&folder).unwrap();
        Some(Ended { said, printed })
    }

    /// Waits until every rank that is to come to its end has ended, well or not, or the launcher has.
    fn await_end(&self, folder: &Path, child: &mut Child) {
        let is_done = |rank: u32| {
            let lines = lines(&folder.join(rank.to_string()));
            lines.last().is_some_and(|line| line == DONE) || lines.first().is_some_and(|pid| !is_rank(pid))
        };
        let expected = || (0..self.size).filter(|rank| !self.lost.contains(rank));
        while child.try_wait().unwrap().is_none() && !expected().all(is_done) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Whether a process is a rank of this test: its number may belong to another one by now.
fn is_rank(pid: &str) -> bool {
    let own = std::env::current_exe().unwrap();
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == own)
}

/// Ends a rank that may still be there.
fn kill(pid: &str) {
    if is_rank(pid) {
        // SAFETY: ends a process that this test has started.
        unsafe { libc::kill(pid.parse().unwrap(), libc::SIGKILL) };
    }
}

fn end(child: &mut Child) {
    let deadline = Instant::now() + CLEAN_UP;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs `body` as `size` ranks under the launcher of `flavour`.
pub fn play(flavour: Flavour, play: &Play, body: impl Fn(&Seat)) -> Option<Ended> {
    play.run(&flavour.library(), flavour.launcher(play.size), body)
}
