//! Ranks in processes of their own, which meet in a folder: each operation of a rank is a file there. Splits are not played between processes.

use super::collectives::{SIZES, carry_out};
use super::world::{Call, Kind, Open};
use crate::state::State;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::ptr;

/// Numbers before the data: kind, count, type, reduction and root.
const HEAD: usize = 5 * 8;
/// Bits of a world's number that count the ids of one process.
const IDS: u32 = 20;

/// What a rank has put into the folder.
#[derive(Default)]
pub struct Left {
    /// Files of collectives, each with the parcel that it belongs to: all ranks are done with them once they have come to a later one.
    files: Vec<(usize, PathBuf)>,
    /// Messages so far, to and from each rank.
    messages: std::collections::HashMap<(bool, i32), usize>,
}

/// The number of a world that no other process gives.
pub fn id_of(count: usize) -> usize {
    (process::id() as usize) << IDS | count
}

fn folder(meet: &str, number: usize) -> PathBuf {
    Path::new(meet).join(format!("world-{number}"))
}

/// Puts a whole file there at once.
fn publish(path: &Path, bytes: &[u8]) -> bool {
    let draft = path.with_extension("draft");
    fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, path)).is_ok()
}

/// Tells the others that this rank has come.
pub fn join(meet: &str, number: usize, rank: i32) -> bool {
    let folder = folder(meet, number);
    fs::create_dir_all(&folder).is_ok() && publish(&folder.join(format!("rank-{rank}")), &[])
}

/// Whether all ranks have come.
pub fn is_whole(meet: &str, number: usize, size: i32) -> bool {
    let folder = folder(meet, number);
    (0..size).all(|rank| folder.join(format!("rank-{rank}")).exists())
}

fn head(call: &Call) -> [u8; HEAD] {
    let numbers = [call.kind as u64, call.count as u64, call.dtype.into(), call.op.into(), call.root as u64];
    let mut bytes = [0; HEAD];
    bytes.chunks_exact_mut(8).zip(numbers).for_each(|(place, number)| place.copy_from_slice(&number.to_le_bytes()));
    bytes
}

/// What a rank brings, behind its head.
fn packed(call: &Call, size: usize) -> Vec<u8> {
    let blocks = if call.kind == Kind::ReduceScatter { size } else { 1 };
    let bytes = call.count * blocks * SIZES[call.dtype as usize % SIZES.len()];
    let mut file = head(call).to_vec();
    file.resize(HEAD + bytes, 0);
    // SAFETY: the callers of these functions promise that their memory has as many bytes.
    unsafe { file.as_mut_ptr().add(HEAD).copy_from(ptr::with_exposed_provenance(call.send), bytes) };
    file
}

/// Goes on with an operation to which its stream has come; whether it has ended.
pub fn advance(state: &mut State, ticket: usize, parcel: usize) -> bool {
    let (meet, is_ring) = (state.settings.meet.clone(), state.settings.is_ring);
    let Some(open) = state.played.open.get_mut(&ticket) else { return true };
    let is_new = !std::mem::replace(&mut open.is_here, true);
    let Open { comm, call, turn, .. } = *open;
    let Some(comm) = state.played.comms.get_mut(&comm) else { return true };
    let (folder, rank, size) = (folder(&meet, comm.world), comm.rank, comm.size);
    let has_ended = match call.kind {
        Kind::Send | Kind::Receive => {
            let is_send = call.kind == Kind::Send;
            if is_new {
                let count = comm.left.messages.entry((is_send, call.root)).or_default();
                open.message = *count;
                *count += 1;
            }
            let (from, to) = if is_send { (rank, call.root) } else { (call.root, rank) };
            let path = folder.join(format!("message-{from}-{to}-{}", open.message));
            if is_send {
                // It is over when its receiver has taken it away.
                if is_new { !publish(&path, &packed(&call, 1)) } else { !path.exists() }
            } else {
                receive(&path, &call)
            }
        }
        _ => {
            let path = |rank: i32| folder.join(format!("turn-{turn}-{rank}"));
            if is_new && publish(&path(rank), &packed(&call, size as usize)) {
                comm.left.files.push((parcel, path(rank)));
            }
            let files: Vec<Vec<u8>> = (0..size).map_while(|rank| fs::read(path(rank)).ok()).collect();
            let is_here = files.len() == size as usize && combine(&files, &call, (rank as usize, is_ring));
            if is_here {
                let passed = comm.left.files.extract_if(.., |(other, _)| *other < parcel);
                passed.for_each(|(_, path)| _ = fs::remove_file(path));
            }
            is_here
        }
    };
    if has_ended {
        state.played.open.remove(&ticket);
    }
    has_ended
}

fn receive(path: &Path, call: &Call) -> bool {
    let Ok(mut file) = fs::read(path) else { return false };
    let sent = head(&Call { kind: Kind::Send, root: 0, ..*call });
    // All but the root. As with the real one: what does not fit never ends.
    if file[..HEAD - 8] != sent[..HEAD - 8] {
        return false;
    }
    let source = Call { kind: Kind::Send, send: file[HEAD..].as_mut_ptr().expose_provenance(), ..*call };
    carry_out(&[source, *call], false);
    fs::remove_file(path).is_ok()
}

/// Does what all ranks have asked for, as far as it is this rank's; whether they agree.
fn combine(files: &[Vec<u8>], call: &Call, (rank, is_ring): (usize, bool)) -> bool {
    if files.iter().any(|file| file[..HEAD] != head(call)) {
        return false;
    }
    let mut sources: Vec<Vec<u8>> = files.iter().map(|file| file[HEAD..].to_vec()).collect();
    let bytes = call.count * SIZES[call.dtype as usize % SIZES.len()];
    // Results of the others go nowhere.
    let mut nowhere = vec![0u8; bytes * if call.kind == Kind::AllGather { files.len() } else { 1 }];
    let receive = nowhere.as_mut_ptr().expose_provenance();
    let calls: Vec<Call> =
        sources.iter_mut().map(|source| Call { send: source.as_mut_ptr().expose_provenance(), receive, ..*call }).collect();
    let own = |(at, other): (usize, Call)| if at == rank { Call { receive: call.receive, ..other } } else { other };
    carry_out(&calls.into_iter().enumerate().map(own).collect::<Vec<_>>(), is_ring);
    true
}
