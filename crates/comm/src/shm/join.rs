//! Meeting: rank 0 creates the world's file complete and under its final name, the others open it, and it loses its name
//! once all are in.

use super::platform::{self, DIRECTORY};
use super::segment::{ALIVE, MAGIC, Segment, header_bytes};
use crate::failure::{Code, Error, Failure, ranks_text};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often an absent file is looked for.
const LOOK: Duration = Duration::from_millis(2);
/// The longest sleep while ranks are missing.
const NAP: Duration = Duration::from_millis(20);

/// A file whose name is removed when this is dropped, unless another file has taken the name.
struct Named {
    path: PathBuf,
    identity: u64,
}

impl Drop for Named {
    fn drop(&mut self) {
        if platform::identity_at(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn refused(message: String) -> Error {
    Error::Refused(format!("join: {message}"))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The sentence for memory that could not be reserved.
pub fn no_room(what: &str, bytes: usize, error: &std::io::Error) -> String {
    let (free, total) = platform::room();
    format!(
        "{what} needs {} of {DIRECTORY}, where {} of {} are free ({error}). Enlarge it, in a container with --shm-size.",
        mebibytes(bytes as u64),
        mebibytes(free),
        mebibytes(total)
    )
}

fn segment_path(job: &str) -> Result<PathBuf, Error> {
    let plain = !job.is_empty() && job.len() <= 200 && job.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !plain {
        return Err(refused(format!("job name {job:?} does not fit into a file name. Use up to 200 letters, digits, '.', '_', '-'.")));
    }
    Ok(Path::new(DIRECTORY).join(format!("megatron-{job}-world")))
}

/// Joins the world of `job`; returns once every rank has.
pub fn join(job: &str, rank: u32, size: u32, limit: Duration) -> Result<Segment, Error> {
    platform::supported().map_err(refused)?;
    let path = segment_path(job)?;
    let deadline = Instant::now() + limit;
    let (segment, named) = if rank == 0 { create(&path, size as usize)? } else { find(&path, job, rank, size as usize, deadline, limit)? };
    let cell = segment.rank_cell(rank);
    cell.pid.store(std::process::id(), Ordering::Relaxed);
    cell.namespace.store(platform::process_namespace(), Ordering::Relaxed);
    cell.presence.store(ALIVE, Ordering::Release);
    segment.header().joined.fetch_add(1, Ordering::AcqRel);
    platform::wake(&segment.header().joined);
    meet(&segment, job, deadline, limit)?;
    if rank == 0 {
        drop(named);
        segment.header().nameless.store(1, Ordering::Release);
        platform::wake(&segment.header().nameless);
    } else {
        await_nameless(&segment, deadline);
    }
    Ok(segment)
}

/// Rank 0: a complete file appears under its name in one step.
fn create(path: &Path, size: usize) -> Result<(Segment, Named), Error> {
    let failed = |error: std::io::Error| refused(format!("{} cannot be made: {error}.", path.display()));
    if platform::open(path).is_ok_and(|other| platform::is_held(&other, 0)) {
        return Err(refused(format!("{} belongs to a running job. Give this job another name.", path.display())));
    }
    let draft = path.with_extension(std::process::id().to_string());
    let _ = std::fs::remove_file(&draft);
    let file = platform::create(&draft).map_err(failed)?;
    let mut named = Named { identity: platform::identity(&file).map_err(failed)?, path: draft };
    platform::reserve(&file, 0, header_bytes(size)).map_err(|error| refused(no_room("the world", header_bytes(size), &error)))?;
    platform::hold(&file, 0).map_err(failed)?;
    let segment = Segment::map(file, 0, size).map_err(failed)?;
    let header = segment.header();
    header.size.store(size as u32, Ordering::Relaxed);
    header.end.store(header_bytes(size) as u64, Ordering::Relaxed);
    header.magic.store(MAGIC, Ordering::Release);
    std::fs::rename(&named.path, path).map_err(failed)?;
    named.path = path.to_path_buf();
    Ok((segment, named))
}

/// The other ranks: the file of a rank 0 that is alive; one that a dead job left behind is passed over.
fn find(path: &Path, job: &str, rank: u32, size: usize, deadline: Instant, limit: Duration) -> Result<(Segment, Named), Error> {
    loop {
        match platform::open(path) {
            Ok(file) if platform::is_held(&file, 0) => return enter(file, path, rank, size),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(refused(format!("{} cannot be opened: {error}. Run all ranks as one user.", path.display())));
            }
            _ if Instant::now() >= deadline => {
                let message = format!(
                    "join: rank 0 did not open the world of job {job} within {} ms. Check that it runs on this host, with the same job name.",
                    limit.as_millis()
                );
                return Err(Failure { code: Code::Timeout, culprits: vec![0], message }.into());
            }
            _ => std::thread::sleep(LOOK),
        }
    }
}

fn enter(file: File, path: &Path, rank: u32, size: usize) -> Result<(Segment, Named), Error> {
    let failed = |error: std::io::Error| refused(format!("{} cannot be used: {error}.", path.display()));
    let mut start = [0; 12];
    platform::read_start(&file, &mut start).map_err(failed)?;
    let [magic @ .., a, b, c, d] = start;
    if magic != MAGIC.to_ne_bytes() {
        return Err(refused(format!("{} was made by another version. Use one version on all ranks.", path.display())));
    }
    let theirs = u32::from_ne_bytes([a, b, c, d]);
    if theirs as usize != size {
        let message = format!("rank {rank} expects a world of {size} and rank 0 one of {theirs}. Give all ranks one WORLD_SIZE.");
        return Err(refused(message));
    }
    if !platform::hold(&file, rank).map_err(failed)? {
        return Err(refused(format!("rank {rank} is taken by another process. Start each rank once.")));
    }
    let named = Named { identity: platform::identity(&file).map_err(failed)?, path: path.to_path_buf() };
    Ok((Segment::map(file, rank, size).map_err(failed)?, named))
}

/// Waits until all ranks have joined; names those that did not, or that ended meanwhile.
fn meet(segment: &Segment, job: &str, deadline: Instant, limit: Duration) -> Result<(), Error> {
    let header = segment.header();
    loop {
        let joined = header.joined.load(Ordering::Acquire);
        // What has gone wrong since is for the first operation to tell.
        if joined as usize >= segment.size {
            return Ok(());
        }
        if let Some(failure) = segment.failure() {
            return Err(failure.into());
        }
        let ranks = || 0..segment.size as u32;
        let present = |rank: &u32| segment.rank_cell(*rank).presence.load(Ordering::Acquire) == ALIVE;
        if let Some(rank) = ranks().filter(present).find(|&rank| rank != segment.rank && !platform::is_held(&segment.file, rank)) {
            let pid = segment.rank_cell(rank).pid.load(Ordering::Relaxed);
            let message = format!("join: rank {rank} (pid {pid}) exited while the world of job {job} met. Look at the log of rank {rank}.");
            return Err(segment.fail(Failure { code: Code::PeerLost, culprits: vec![rank], message }).into());
        }
        if Instant::now() >= deadline {
            let missing: Vec<u32> = ranks().filter(|rank| !present(rank)).collect();
            let message = format!(
                "join: {joined} of {} ranks joined job {job} within {} ms; missing: {}. Check that they were started.",
                segment.size,
                limit.as_millis(),
                ranks_text(&missing)
            );
            return Err(segment.fail(Failure { code: Code::Timeout, culprits: missing, message }).into());
        }
        platform::wait(&header.joined, joined, NAP);
    }
}

/// The name is gone when `join` returns, unless rank 0 has just died; then the first operation tells.
fn await_nameless(segment: &Segment, deadline: Instant) {
    let word = &segment.header().nameless;
    while word.load(Ordering::Acquire) == 0 && platform::is_held(&segment.file, 0) && Instant::now() < deadline {
        platform::wait(word, 0, NAP);
    }
}
