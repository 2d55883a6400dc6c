//! Meeting: rank 0 publishes the world's memory when it is complete, the others open it, and it loses its name once all are in.

use super::platform::{self, ENLARGE, Memory, Name, name_of};
use super::segment::{ALIVE, MAGIC, Segment, header_bytes};
use crate::failure::{Code, Error, Failure, ranks_text};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often an absent world is looked for.
const LOOK: Duration = Duration::from_millis(2);
/// The longest sleep while ranks are missing.
const NAP: Duration = Duration::from_millis(20);

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
        "{what} needs {} of {}, where {} of {} are free ({error}). {ENLARGE}",
        mebibytes(bytes as u64),
        platform::place(),
        mebibytes(free),
        mebibytes(total)
    )
}

fn check_name(job: &str) -> Result<(), Error> {
    let plain = !job.is_empty() && job.len() <= 200 && job.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !plain {
        return Err(refused(format!("job name {job:?} does not fit into a file name. Use up to 200 letters, digits, '.', '_', '-'.")));
    }
    Ok(())
}

/// Joins the world of `job`; returns once every rank has.
pub fn join(job: &str, rank: u32, size: u32, limit: Duration) -> Result<Segment, Error> {
    platform::supported().map_err(refused)?;
    check_name(job)?;
    let deadline = Instant::now() + limit;
    let (segment, name) = if rank == 0 { create(job, size as usize)? } else { find(job, rank, size as usize, deadline, limit)? };
    let cell = segment.rank_cell(rank);
    cell.pid.store(std::process::id(), Ordering::Relaxed);
    cell.namespace.store(platform::process_namespace(), Ordering::Relaxed);
    cell.presence.store(ALIVE, Ordering::Release);
    segment.header().joined.fetch_add(1, Ordering::AcqRel);
    platform::wake(&segment.header().joined);
    meet(&segment, job, deadline, limit)?;
    if rank == 0 {
        name.withdraw();
        segment.header().nameless.store(1, Ordering::Release);
        platform::wake(&segment.header().nameless);
    } else {
        await_nameless(&segment, deadline);
    }
    Ok(segment)
}

/// Rank 0: the others find nothing, or a complete world.
fn create(job: &str, size: usize) -> Result<(Segment, Name), Error> {
    let failed = |error: std::io::Error| refused(format!("{} cannot be made: {error}.", name_of(job)));
    if Memory::open(job).is_ok_and(|other| other.is_held(0)) {
        return Err(refused(format!("{} belongs to a running job. Give this job another name.", name_of(job))));
    }
    let (memory, mut name) = Memory::create(job).map_err(failed)?;
    memory.reserve(0, header_bytes(size)).map_err(|error| refused(no_room("the world", header_bytes(size), &error)))?;
    memory.hold(0).map_err(failed)?;
    let segment = Segment::map(memory, 0, size).map_err(failed)?;
    let header = segment.header();
    header.size.store(size as u32, Ordering::Relaxed);
    header.end.store(header_bytes(size) as u64, Ordering::Relaxed);
    header.magic.store(MAGIC, Ordering::Release);
    name.publish(job).map_err(failed)?;
    Ok((segment, name))
}

/// The other ranks: the world of a rank 0 that is alive; one that a dead job left behind is passed over.
fn find(job: &str, rank: u32, size: usize, deadline: Instant, limit: Duration) -> Result<(Segment, Name), Error> {
    loop {
        match Memory::open(job) {
            Ok(memory) if memory.is_held(0) => return enter(memory, job, rank, size),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(refused(format!("{} cannot be opened: {error}. Run all ranks as one user.", name_of(job))));
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

fn enter(memory: Memory, job: &str, rank: u32, size: usize) -> Result<(Segment, Name), Error> {
    let failed = |error: std::io::Error| refused(format!("{} cannot be used: {error}.", name_of(job)));
    let mut start = [0; 12];
    memory.read_start(&mut start).map_err(failed)?;
    let [magic @ .., a, b, c, d] = start;
    if magic != MAGIC.to_ne_bytes() {
        return Err(refused(format!("{} was made by another version. Use one version on all ranks.", name_of(job))));
    }
    let theirs = u32::from_ne_bytes([a, b, c, d]);
    if theirs as usize != size {
        let message = format!("rank {rank} expects a world of {size} and rank 0 one of {theirs}. Give all ranks one WORLD_SIZE.");
        return Err(refused(message));
    }
    if !memory.hold(rank).map_err(failed)? {
        return Err(refused(format!("rank {rank} is taken by another process. Start each rank once.")));
    }
    let name = memory.name(job).map_err(failed)?;
    Ok((Segment::map(memory, rank, size).map_err(failed)?, name))
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
        if let Some(rank) = ranks().filter(present).find(|&rank| rank != segment.rank && !segment.memory.is_held(rank)) {
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
    while word.load(Ordering::Acquire) == 0 && segment.memory.is_held(0) && Instant::now() < deadline {
        platform::wait(word, 0, NAP);
    }
}
