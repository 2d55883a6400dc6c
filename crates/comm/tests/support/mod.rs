//! Runs the body of a test as several processes: the test's own executable, started once for each rank.
#![allow(dead_code)] // Every test file uses a part of this.

pub mod contract;
pub mod reference;

use megatron_comm::{Failure, Group, Label, Request, Settings, World};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use storage::{DType, Element, Span};

const ROLE: &str = "MEGATRON_TEST_ROLE";
/// What a rank prints when it has come to the end of its body.
const DONE: &str = "DONE";

/// One rank of a test.
pub struct Seat {
    pub job: String,
    pub rank: u32,
    pub size: u32,
}

/// How a rank ended and what it printed on standard error.
pub struct Ended {
    pub status: ExitStatus,
    pub errors: String,
}

impl Seat {
    /// Limits for tests that are to succeed on a busy machine.
    pub fn settings(&self) -> Settings {
        let limit = Duration::from_secs(60);
        Settings { timeout: limit, join_timeout: limit, ..Settings::new(self.size as usize) }
    }

    pub fn join(&self) -> World {
        self.join_with(self.settings())
    }

    pub fn join_with(&self, settings: Settings) -> World {
        World::join(&self.job, self.rank, self.size, settings).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn everyone(&self) -> Vec<u32> {
        (0..self.size).collect()
    }

    /// Prints what the parent shall read.
    pub fn say(&self, text: &str) {
        eprintln!("SAID {text}");
    }
}

impl Ended {
    /// The lines that the rank said.
    pub fn said(&self) -> Vec<&str> {
        self.errors.lines().filter_map(|line| line.strip_prefix("SAID ")).collect()
    }
}

/// Where worlds leave files behind, if anywhere.
fn shared_directory() -> PathBuf {
    if cfg!(target_os = "linux") { "/dev/shm".into() } else { std::env::temp_dir() }
}

fn leftovers(job: &str) -> Vec<String> {
    let names = std::fs::read_dir(shared_directory()).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&format!("megatron-{job}-"))).collect()
}

/// Runs `body` as `size` ranks of the test `test`; returns how they ended, and checks that nothing is left of them.
pub fn play(test: &str, size: u32, body: impl Fn(&Seat)) -> Vec<Ended> {
    play_run(test, size, 0, body)
}

/// As `play`, for a test that plays the same size several times: `run` tells them apart.
pub fn play_run(test: &str, size: u32, run: u32, body: impl Fn(&Seat)) -> Vec<Ended> {
    play_in(&[], test, size, run, body)
}

/// As `play_run`, with additions to the environment of the ranks.
pub fn play_in(environment: &[(&str, &str)], test: &str, size: u32, run: u32, body: impl Fn(&Seat)) -> Vec<Ended> {
    let job = format!("{test}-{size}-{run}");
    if let Ok(role) = std::env::var(ROLE) {
        let [own, prefix, rank] = role.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        if own == job {
            body(&Seat { job: format!("{prefix}-{job}"), rank: rank.parse().unwrap(), size });
            eprintln!("{DONE}");
            std::process::exit(0);
        }
        return Vec::new();
    }
    let prefix = format!("test-{}", std::process::id());
    let start = |rank: u32| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture"]).env(ROLE, format!("{job} {prefix} {rank}"));
        command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..size).map(start).collect();
    let ended = children.into_iter().map(|child| {
        let output = child.wait_with_output().unwrap();
        Ended { status: output.status, errors: String::from_utf8_lossy(&output.stderr).into_owned() }
    });
    let ended = ended.collect();
    assert_eq!(leftovers(&format!("{prefix}-{job}")), Vec::<String>::new(), "files left behind");
    ended
}

/// As `play`, where every rank has to succeed.
pub fn play_all(test: &str, size: u32, body: impl Fn(&Seat)) -> Vec<Ended> {
    check_all(play(test, size, body))
}

/// Every rank has succeeded.
pub fn check_all(ended: Vec<Ended>) -> Vec<Ended> {
    for (rank, end) in ended.iter().enumerate() {
        let done = end.status.success() && end.errors.lines().any(|line| line == DONE);
        assert!(done, "rank {rank}: {}\n{}", end.status, end.errors);
    }
    ended
}

pub fn span<T: Element>(dtype: DType, values: &[T]) -> Span {
    Span::from_slice(dtype, values).unwrap()
}

pub fn floats(values: &[f32]) -> Span {
    span(DType::F32, values)
}

/// Ends this process without any chance to tidy up.
pub fn kill_self() -> ! {
    #[cfg(unix)]
    // SAFETY: a signal to this very process.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL)
    };
    #[cfg(windows)]
    // SAFETY: the call ends this very process.
    unsafe {
        use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};
        TerminateProcess(GetCurrentProcess(), 9)
    };
    loop {
        std::thread::park();
    }
}

/// Submits and waits.
pub fn complete(group: &Group, request: Request) -> Result<(), Failure> {
    complete_labelled(group, request, "")
}

pub fn complete_labelled(group: &Group, request: Request, label: &str) -> Result<(), Failure> {
    match group.submit(request, Label::new(label)) {
        Ok(work) => work.wait(None),
        Err(megatron_comm::Error::Failed(failure)) => Err(failure),
        Err(error) => panic!("{error}"),
    }
}

/// Arbitrary bits that depend on rank and place alone.
pub fn bits(rank: u32, place: usize) -> u64 {
    let mut x = (u64::from(rank) << 40 ^ place as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 31;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ x >> 29
}

/// A number in about -1..1 of any sign, size and precision.
pub fn number(rank: u32, place: usize) -> f64 {
    (bits(rank, place) as f64 / u64::MAX as f64 - 0.5) * 2.0
}
