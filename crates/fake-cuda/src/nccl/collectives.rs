//! The functions that move data, and what they do on memory, which is the host's.

use super::group::submit;
use super::world::{Call, Kind};
use std::ffi::{c_int, c_void};
use std::ptr;

/// Bytes of an element of each type, from `ncclInt8` on.
const SIZES: [usize; 10] = [1, 1, 4, 4, 8, 8, 2, 4, 8, 2];

fn place(address: usize) -> *mut u8 {
    ptr::with_exposed_provenance_mut(address)
}

fn copy(from: usize, to: usize, bytes: usize) {
    // SAFETY: the callers of these functions promise that their memory has as many bytes.
    unsafe { place(to).copy_from(place(from), bytes) };
}

fn read(dtype: u32, address: usize, at: usize) -> f64 {
    let from = place(address);
    // SAFETY: as above.
    unsafe {
        match dtype {
            2 => f64::from(from.cast::<i32>().add(at).read()),
            4 => from.cast::<i64>().add(at).read() as f64,
            7 => f64::from(from.cast::<f32>().add(at).read()),
            8 => from.cast::<f64>().add(at).read(),
            9 => f64::from(f32::from_bits(u32::from(from.cast::<u16>().add(at).read()) << 16)),
            _ => f64::from(from.add(at).read()),
        }
    }
}

fn write(dtype: u32, address: usize, at: usize, value: f64) {
    let to = place(address);
    // SAFETY: as above.
    unsafe {
        match dtype {
            2 => to.cast::<i32>().add(at).write(value as i32),
            4 => to.cast::<i64>().add(at).write(value as i64),
            7 => to.cast::<f32>().add(at).write(value as f32),
            8 => to.cast::<f64>().add(at).write(value),
            9 => to.cast::<u16>().add(at).write(((value as f32).to_bits() >> 16) as u16),
            _ => to.add(at).write(value as u8),
        }
    }
}

/// Element `at` of all ranks, combined in the order of the ranks.
fn combined(calls: &[Call], at: usize) -> f64 {
    let values = calls.iter().map(|call| read(call.dtype, call.send, at));
    let folded = values.reduce(|a, b| match calls[0].op {
        1 => a * b,
        2 => a.max(b),
        3 => a.min(b),
        _ => a + b,
    });
    let folded = folded.unwrap_or_default();
    if calls[0].op == 4 { folded / calls.len() as f64 } else { folded }
}

/// Does what all ranks have asked for; of a message, what the two have.
pub fn carry_out(calls: &[Call]) {
    let (count, dtype) = (calls[0].count, calls[0].dtype);
    let bytes = count * SIZES[dtype as usize % SIZES.len()];
    let root = usize::try_from(calls[0].root).unwrap_or(0);
    match calls[0].kind {
        Kind::AllReduce | Kind::Reduce => {
            let results: Vec<f64> = (0..count).map(|at| combined(calls, at)).collect();
            let to = if calls[0].kind == Kind::Reduce { &calls[root..=root] } else { calls };
            to.iter().for_each(|call| results.iter().enumerate().for_each(|(at, &value)| write(dtype, call.receive, at, value)));
        }
        Kind::AllGather => {
            calls.iter().for_each(|to| calls.iter().enumerate().for_each(|(rank, from)| copy(from.send, to.receive + rank * bytes, bytes)))
        }
        Kind::ReduceScatter => {
            let results: Vec<f64> = (0..count * calls.len()).map(|at| combined(calls, at)).collect();
            for (call, part) in calls.iter().zip(results.chunks(count.max(1))) {
                part.iter().enumerate().for_each(|(at, &value)| write(dtype, call.receive, at, value));
            }
        }
        Kind::Broadcast => calls.iter().for_each(|call| copy(calls[root].send, call.receive, bytes)),
        Kind::Send | Kind::Receive => {
            copy(calls[0].send, calls[1].receive, bytes.min(calls[1].count * SIZES[dtype as usize % SIZES.len()]))
        }
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclAllReduce(
    send: *const c_void,
    receive: *mut c_void,
    count: usize,
    dtype: u32,
    op: u32,
    comm: *mut c_void,
    stream: *mut c_void,
) -> u32 {
    let (send, receive, stream) = (send.expose_provenance(), receive.expose_provenance(), stream.addr());
    submit("ncclAllReduce", comm.addr(), Call { kind: Kind::AllReduce, send, receive, count, dtype, op, root: 0, stream })
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclAllGather(
    send: *const c_void,
    receive: *mut c_void,
    count: usize,
    dtype: u32,
    comm: *mut c_void,
    stream: *mut c_void,
) -> u32 {
    let (send, receive, stream) = (send.expose_provenance(), receive.expose_provenance(), stream.addr());
    submit("ncclAllGather", comm.addr(), Call { kind: Kind::AllGather, send, receive, count, dtype, op: 0, root: 0, stream })
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclReduceScatter(
    send: *const c_void,
    receive: *mut c_void,
    count: usize,
    dtype: u32,
    op: u32,
    comm: *mut c_void,
    stream: *mut c_void,
) -> u32 {
    let (send, receive, stream) = (send.expose_provenance(), receive.expose_provenance(), stream.addr());
    submit("ncclReduceScatter", comm.addr(), Call { kind: Kind::ReduceScatter, send, receive, count, dtype, op, root: 0, stream })
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclBroadcast(
    send: *const c_void,
    receive: *mut c_void,
    count: usize,
    dtype: u32,
    root: c_int,
    comm: *mut c_void,
    stream: *mut c_void,
) -> u32 {
    let (send, receive, stream) = (send.expose_provenance(), receive.expose_provenance(), stream.addr());
    submit("ncclBroadcast", comm.addr(), Call { kind: Kind::Broadcast, send, receive, count, dtype, op: 0, root, stream })
}

#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub extern "C" fn ncclReduce(
    send: *const c_void,
    receive: *mut c_void,
    count: usize,
    dtype: u32,
    op: u32,
    root: c_int,
    comm: *mut c_void,
    stream: *mut c_void,
) -> u32 {
    let (send, receive, stream) = (send.expose_provenance(), receive.expose_provenance(), stream.addr());
    submit("ncclReduce", comm.addr(), Call { kind: Kind::Reduce, send, receive, count, dtype, op, root, stream })
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclSend(send: *const c_void, count: usize, dtype: u32, peer: c_int, comm: *mut c_void, stream: *mut c_void) -> u32 {
    let (send, stream) = (send.expose_provenance(), stream.addr());
    submit("ncclSend", comm.addr(), Call { kind: Kind::Send, send, receive: 0, count, dtype, op: 0, root: peer, stream })
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclRecv(receive: *mut c_void, count: usize, dtype: u32, peer: c_int, comm: *mut c_void, stream: *mut c_void) -> u32 {
    let (receive, stream) = (receive.expose_provenance(), stream.addr());
    submit("ncclRecv", comm.addr(), Call { kind: Kind::Receive, send: 0, receive, count, dtype, op: 0, root: peer, stream })
}
