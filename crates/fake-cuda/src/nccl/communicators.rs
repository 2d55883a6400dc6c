//! Ids, communicators, their splits and their end.

use super::world::{Split, end, hand_over, join};
use super::{NCCL_IN_PROGRESS, NCCL_INVALID_ARGUMENT, NCCL_INVALID_USAGE, apart, ask};
use crate::state::{State, give, state};
use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::time::Duration;

/// What names a world.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct UniqueId([u8; 128]);

/// The head of the configuration; what follows is not read.
#[repr(C)]
pub struct Config {
    size: usize,
    magic: u32,
    version: u32,
    blocking: c_int,
    cga_cluster_size: c_int,
    min_ctas: c_int,
    max_ctas: c_int,
    net_name: *const c_char,
    split_share: c_int,
}

/// # Safety
/// As in NCCL, for all functions below.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclGetUniqueId(id: *mut UniqueId) -> u32 {
    ask("ncclGetUniqueId", 0, |state| {
        state.played.ids += 1;
        let mut bytes = [0; 128];
        let number = if state.settings.meet.is_empty() { state.played.ids } else { apart::id_of(state.played.ids) };
        bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
        state.note("unique id".into());
        // SAFETY: the caller's promise.
        unsafe { give(id, UniqueId(bytes)) }
    })
}

/// Waits, for a rank that asked to be kept until all have come.
fn meet(handle: usize, is_blocking: bool) -> u32 {
    loop {
        let mut state = state();
        let meet = state.settings.meet.clone();
        let comm = state.played.comms.get_mut(&handle).map(|comm| {
            comm.waits &= meet.is_empty() || !apart::is_whole(&meet, comm.world, comm.size);
            &*comm
        });
        match comm {
            None => return NCCL_INVALID_ARGUMENT,
            Some(comm) if comm.error != 0 => return comm.error,
            Some(comm) if !comm.waits => return 0,
            Some(_) if !is_blocking => return NCCL_IN_PROGRESS,
            Some(_) => {}
        }
        drop(state);
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclCommInitRankConfig(
    comm: *mut *mut c_void,
    size: c_int,
    id: UniqueId,
    rank: c_int,
    config: *const Config,
) -> u32 {
    // SAFETY: the caller's promise.
    let Config { size: bytes, magic, version, blocking, split_share, max_ctas, .. } = unsafe { config.read() };
    let number = id.0[..8].iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
    let mut handle = 0;
    let status = ask("ncclCommInitRankConfig", 0, |state| {
        if magic != 0xcafe_beef || bytes < size_of::<Config>() || rank >= size {
            return NCCL_INVALID_ARGUMENT;
        }
        state.note(format!(
            "rank {rank} of {size}: init blocking {blocking} split share {split_share} max ctas {max_ctas} version {version}"
        ));
        handle = join(state, number, (rank, size), blocking != 0);
        // SAFETY: the caller's promise.
        unsafe { give(comm, ptr::without_provenance_mut(handle)) }
    });
    if status == 0 { meet(handle, blocking != 0) } else { status }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclCommSplit(comm: *mut c_void, color: c_int, key: c_int, child: *mut *mut c_void, config: *const Config) -> u32 {
    // SAFETY: the caller's promise.
    let config = unsafe { config.as_ref() };
    let is_blocking = config.is_none_or(|config| config.blocking != 0);
    let (handle, place) = (comm.addr(), child.expose_provenance());
    let status = ask("ncclCommSplit", handle, |state| {
        if !state.settings.meet.is_empty() {
            return NCCL_INVALID_USAGE;
        }
        let Some(comm) = state.played.comms.get_mut(&handle) else { return NCCL_INVALID_ARGUMENT };
        let (number, rank, turn) = (comm.world, comm.rank, comm.splits);
        comm.splits += 1;
        comm.waits = true;
        let share = config.map_or(0, |config| config.split_share);
        state.note(format!("rank {rank}: split color {color} key {key} share {share}"));
        let Some(world) = state.played.worlds.get_mut(&number) else { return NCCL_INVALID_ARGUMENT };
        while world.splits.len() <= turn {
            world.splits.push(HashMap::new());
        }
        world.splits[turn].insert(rank, Split { color, key, place, is_blocking });
        if world.splits[turn].len() == usize::try_from(world.size).unwrap_or(0) {
            divide(state, number, turn);
        }
        0
    });
    if status == 0 { meet(handle, is_blocking) } else { status }
}

/// Makes the worlds that all ranks have asked for.
fn divide(state: &mut State, number: usize, turn: usize) {
    let asked = state.played.worlds.get(&number).map(|world| world.splits[turn].clone()).unwrap_or_default();
    let mut ranks: Vec<(i32, i32, i32)> = asked.iter().map(|(&rank, split)| (split.color, split.key, rank)).collect();
    ranks.sort_unstable();
    for (color, _, parent) in &ranks {
        let place = asked[parent].place;
        let members: Vec<i32> = ranks.iter().filter(|other| other.0 == *color).map(|other| other.2).collect();
        let rank = members.iter().position(|member| member == parent).unwrap_or(0);
        let as_int = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
        let child = if *color < 0 {
            0
        } else {
            let world = (number << 16 | turn << 8) + 0x100_0000 + usize::try_from(*color).unwrap_or(0);
            join(state, world, (as_int(rank), as_int(members.len())), asked[parent].is_blocking)
        };
        // SAFETY: the rank keeps the place until its split is done.
        unsafe { ptr::with_exposed_provenance_mut::<*mut c_void>(place).write(ptr::without_provenance_mut(child)) };
    }
    state.played.comms.values_mut().filter(|comm| comm.world == number).for_each(|comm| comm.waits = false);
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclCommGetAsyncError(comm: *mut c_void, status: *mut u32) -> u32 {
    let mut parcels = Vec::new();
    let answer = ask("ncclCommGetAsyncError", comm.addr(), |state| {
        let meet = &state.settings.meet;
        let Some(found) = state.played.comms.get_mut(&comm.addr()) else { return NCCL_INVALID_ARGUMENT };
        found.waits &= meet.is_empty() || !apart::is_whole(meet, found.world, found.size);
        found.deferral = found.deferral.saturating_sub(1);
        if found.deferral == 0 {
            parcels.append(&mut found.put_off);
        }
        let waits = found.waits || !found.put_off.is_empty();
        let waiting = if waits { NCCL_IN_PROGRESS } else { found.error };
        let told = state.settings.async_error.filter(|&(rank, _)| rank == found.rank).map(|(_, status)| status);
        // SAFETY: the caller's promise.
        unsafe { give(status, told.unwrap_or(waiting)) }
    });
    hand_over(parcels);
    answer
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclCommFinalize(comm: *mut c_void) -> u32 {
    ask("ncclCommFinalize", comm.addr(), |state| note_of(state, comm.addr(), "finalize"))
}

fn note_of(state: &mut State, handle: usize, what: &str) -> u32 {
    let Some(comm) = state.played.comms.get(&handle) else { return NCCL_INVALID_ARGUMENT };
    let line = format!("rank {} of {}: {what}", comm.rank, comm.size);
    state.note(line);
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclCommDestroy(comm: *mut c_void) -> u32 {
    ask("ncclCommDestroy", comm.addr(), |state| note_of(state, comm.addr(), "destroy") | end(state, comm.addr()))
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclCommAbort(comm: *mut c_void) -> u32 {
    ask("ncclCommAbort", comm.addr(), |state| note_of(state, comm.addr(), "abort") | end(state, comm.addr()))
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclGetErrorString(status: u32) -> *const c_char {
    let text = match status {
        0 => c"no error",
        1 => c"unhandled cuda error",
        2 => c"unhandled system error",
        4 => c"invalid argument",
        5 => c"invalid usage",
        6 => c"remote process exited or there was a network error",
        7 => c"NCCL operation in progress",
        _ => c"unknown result code",
    };
    text.as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclGetLastError(_comm: *mut c_void) -> *const c_char {
    if state().settings.is_silent { c"".as_ptr() } else { c"the fake was told to fail".as_ptr() }
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclCommCount(comm: *mut c_void, count: *mut c_int) -> u32 {
    ask("ncclCommCount", comm.addr(), |state| match state.played.comms.get(&comm.addr()) {
        // SAFETY: the caller's promise.
        Some(comm) => unsafe { give(count, comm.size) },
        None => NCCL_INVALID_ARGUMENT,
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclCommUserRank(comm: *mut c_void, rank: *mut c_int) -> u32 {
    ask("ncclCommUserRank", comm.addr(), |state| match state.played.comms.get(&comm.addr()) {
        // SAFETY: the caller's promise.
        Some(comm) => unsafe { give(rank, comm.rank) },
        None => NCCL_INVALID_ARGUMENT,
    })
}
