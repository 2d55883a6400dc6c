//! The functions that move data, and what they do on memory, which is the host's.

use super::group::submit;
use super::world::{Call, Kind};
use crate::half;
use std::ffi::{c_int, c_void};
use std::ptr;

/// Bytes of an element of each type, from `ncclInt8` on.
pub const SIZES: [usize; 10] = [1, 1, 4, 4, 8, 8, 2, 4, 8, 2];

fn place(address: usize) -> *mut u8 {
    ptr::with_exposed_provenance_mut(address)
}

fn copy(from: usize, to: usize, bytes: usize) {
    // SAFETY: the callers of these functions promise that their memory has as many bytes.
    unsafe { place(to).copy_from(place(from), bytes) };
}

/// Element `at` of what one rank sends.
fn element<const N: usize>(call: &Call, at: usize) -> [u8; N] {
    // SAFETY: as above.
    unsafe { place(call.send).cast::<[u8; N]>().add(at).read_unaligned() }
}

fn padded<const N: usize>(bytes: [u8; N]) -> [u8; 8] {
    std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0))
}

/// Whose element is combined with whose.
#[derive(Clone, Copy)]
enum Order {
    /// In the order of the ranks, rounded once: what the other backends promise, and the real NCCL does not.
    Ranks,
    /// From this rank on, rounded at each step; averages are of parts that were divided before. So a ring does it.
    From(usize),
}

/// How elements of a type are combined.
struct Numbers<T> {
    add: fn(T, T) -> T,
    multiply: fn(T, T) -> T,
    /// By the number of ranks.
    divide: fn(T, usize) -> T,
    /// To what fits into memory.
    round: fn(T) -> T,
    divides_before: bool,
}

const AVERAGE: u32 = 4;

impl<T: Copy + PartialOrd> Numbers<T> {
    fn combine(&self, op: u32, order: Order, values: &[T]) -> Option<T> {
        let (size, start) = (values.len(), if let Order::From(rank) = order { rank } else { 0 });
        let is_ring = matches!(order, Order::From(_));
        let is_divided_before = op == AVERAGE && is_ring && self.divides_before;
        let own = |at: usize| if is_divided_before { (self.round)((self.divide)(values[at], size)) } else { values[at] };
        let folded = (0..size).map(|step| own((start + step) % size)).reduce(|a, b| {
            let folded = match op {
                1 => (self.multiply)(a, b),
                2 if b > a => b,
                3 if b < a => b,
                2 | 3 => a,
                _ => (self.add)(a, b),
            };
            if is_ring { (self.round)(folded) } else { folded }
        })?;
        Some(if op == AVERAGE && !is_divided_before { (self.divide)(folded, size) } else { folded })
    }
}

const fn singles(round: fn(f32) -> f32) -> Numbers<f32> {
    Numbers { add: |a, b| a + b, multiply: |a, b| a * b, divide: |sum, size| sum / size as f32, round, divides_before: true }
}

const DOUBLES: Numbers<f64> =
    Numbers { add: |a, b| a + b, multiply: |a, b| a * b, divide: |sum, size| sum / size as f64, round: |x| x, divides_before: true };

macro_rules! integers {
    ($type:ty) => {
        Numbers::<$type> {
            add: <$type>::wrapping_add,
            multiply: <$type>::wrapping_mul,
            divide: |sum, size| sum / size as $type,
            round: |x| x,
            divides_before: false,
        }
    };
}

/// Element `at` of all ranks, combined.
fn combined(calls: &[Call], at: usize, order: Order) -> Option<[u8; 8]> {
    let (op, dtype) = (calls[0].op, calls[0].dtype);
    macro_rules! values {
        ($numbers:expr, $from:expr) => {
            $numbers.combine(op, order, &calls.iter().map(|call| $from(element(call, at))).collect::<Vec<_>>())?
        };
    }
    let half = |widen: fn(u16) -> f32| move |bytes| widen(u16::from_le_bytes(bytes));
    Some(match dtype {
        2 => padded(values!(integers!(i32), i32::from_le_bytes).to_le_bytes()),
        4 => padded(values!(integers!(i64), i64::from_le_bytes).to_le_bytes()),
        6 => padded(half::to_f16(values!(singles(|x| half::from_f16(half::to_f16(x))), half(half::from_f16))).to_le_bytes()),
        7 => padded(values!(singles(|x| x), f32::from_le_bytes).to_le_bytes()),
        8 => padded(values!(DOUBLES, f64::from_le_bytes).to_le_bytes()),
        9 => padded(half::to_bf16(values!(singles(|x| half::from_bf16(half::to_bf16(x))), half(half::from_bf16))).to_le_bytes()),
        _ => padded(values!(integers!(u8), u8::from_le_bytes).to_le_bytes()),
    })
}

/// `count` elements from `from` on, combined; `part` tells which part of a ring an element lies in.
fn all_combined(calls: &[Call], places: std::ops::Range<usize>, is_ring: bool, part: impl Fn(usize) -> usize) -> Vec<[u8; 8]> {
    let order = |at: usize| if is_ring { Order::From((part(at) + 1) % calls.len()) } else { Order::Ranks };
    places.filter_map(|at| combined(calls, at, order(at))).collect()
}

fn store(call: &Call, values: &[[u8; 8]]) {
    let size = SIZES[call.dtype as usize % SIZES.len()];
    for (at, value) in values.iter().enumerate() {
        // SAFETY: as above.
        unsafe { place(call.receive).add(at * size).copy_from(value.as_ptr(), size) };
    }
}

/// Does what all ranks have asked for; of a message, what the two have.
pub fn carry_out(calls: &[Call], is_ring: bool) {
    let (count, size) = (calls[0].count, calls.len());
    let bytes = count * SIZES[calls[0].dtype as usize % SIZES.len()];
    let root = usize::try_from(calls[0].root).unwrap_or(0);
    match calls[0].kind {
        Kind::AllReduce => {
            let results = all_combined(calls, 0..count, is_ring, |at| at * size / count);
            calls.iter().for_each(|call| store(call, &results));
        }
        Kind::Reduce => store(&calls[root], &all_combined(calls, 0..count, is_ring, |_| root)),
        Kind::AllGather => {
            calls.iter().for_each(|to| calls.iter().enumerate().for_each(|(rank, from)| copy(from.send, to.receive + rank * bytes, bytes)))
        }
        Kind::ReduceScatter => {
            // All before any: a target may be this rank's own block of its source.
            let results = all_combined(calls, 0..count * size, is_ring, |at| at / count);
            calls.iter().zip(results.chunks(count.max(1))).for_each(|(call, part)| store(call, part));
        }
        Kind::Broadcast => calls.iter().for_each(|call| copy(calls[root].send, call.receive, bytes)),
        Kind::Send | Kind::Receive => copy(calls[0].send, calls[1].receive, bytes),
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
