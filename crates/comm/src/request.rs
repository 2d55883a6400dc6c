//! What a caller asks of a group, checked before anything is posted.

use crate::descriptor::{Kind, ReduceOp, Signature};
use crate::reduce;
use storage::{DType, Span};

/// One operation with the memory it works on. The spans are held until the operation ends.
pub enum Request {
    AllReduce {
        data: Span,
        op: ReduceOp,
    },
    AllGather {
        source: Span,
        target: Span,
    },
    ReduceScatter {
        source: Span,
        target: Span,
        op: ReduceOp,
    },
    Broadcast {
        data: Span,
        root: usize,
    },
    /// `send[i]` elements go to group rank i, `receive[i]` come from it.
    AllToAll {
        source: Span,
        target: Span,
        send: Vec<usize>,
        receive: Vec<usize>,
    },
    /// Pairs of group rank and memory.
    Exchange {
        sends: Vec<(usize, Span)>,
        receives: Vec<(usize, Span)>,
    },
    Barrier,
}

fn expect_length(what: &str, have: usize, want: usize) -> Result<(), String> {
    if have == want { Ok(()) } else { Err(format!("{what} has {have} elements where {want} are needed. Pass a tensor of that size.")) }
}

fn expect_dtype(a: &Span, b: &Span) -> Result<(), String> {
    let (a, b) = (a.dtype(), b.dtype());
    if a == b { Ok(()) } else { Err(format!("the source is {} and the target {}. Cast one of them.", a.name(), b.name())) }
}

fn expect_rank(what: &str, rank: usize, size: usize) -> Result<(), String> {
    if rank < size { Ok(()) } else { Err(format!("{what} {rank} is outside a group of {size}. Pass a group rank from 0 to {}.", size - 1)) }
}

/// Refuses memory that is both read and written, unless `part` is exactly block `rank` of `whole`.
fn expect_apart(part: &Span, whole: &Span, rank: usize) -> Result<(), String> {
    let in_place = part.as_ptr() as usize == whole.as_ptr() as usize + rank * part.byte_len();
    if in_place || !part.overlaps(whole) {
        return Ok(());
    }
    Err("source and target overlap. Use separate memory, or this rank's own block of the larger one.".into())
}

fn expect_reducible(dtype: DType) -> Result<(), String> {
    if reduce::is_reducible(dtype) {
        return Ok(());
    }
    Err(format!("{} cannot be reduced. Cast the tensor to f32 or i32 first.", dtype.name()))
}

impl Request {
    pub fn kind(&self) -> Kind {
        match self {
            Self::AllReduce { .. } => Kind::AllReduce,
            Self::AllGather { .. } => Kind::AllGather,
            Self::ReduceScatter { .. } => Kind::ReduceScatter,
            Self::Broadcast { .. } => Kind::Broadcast,
            Self::AllToAll { .. } => Kind::AllToAll,
            Self::Exchange { .. } => Kind::Exchange,
            Self::Barrier => Kind::Barrier,
        }
    }

    /// What must be equal on all ranks of the group.
    pub fn signature(&self) -> Signature {
        let (dtype, count) = match self {
            Self::AllReduce { data, .. } | Self::Broadcast { data, .. } => (Some(data.dtype()), data.len()),
            Self::AllGather { source, .. } => (Some(source.dtype()), source.len()),
            Self::ReduceScatter { target, .. } => (Some(target.dtype()), target.len()),
            Self::AllToAll { source, .. } => (Some(source.dtype()), 0),
            Self::Exchange { sends, receives } => (sends.iter().chain(receives).map(|pair| pair.1.dtype()).next(), 0),
            Self::Barrier => (None, 0),
        };
        let op = match self {
            Self::AllReduce { op, .. } | Self::ReduceScatter { op, .. } => Some(*op),
            _ => None,
        };
        let root = if let Self::Broadcast { root, .. } = self { Some(*root as u32) } else { None };
        Signature { kind: self.kind(), dtype, op, root, count: count as u64 }
    }

    /// Bytes that this rank hands in.
    pub fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::AllReduce { data, .. } | Self::Broadcast { data, .. } => data.byte_len(),
            Self::AllGather { source, .. } | Self::ReduceScatter { source, .. } | Self::AllToAll { source, .. } => source.byte_len(),
            Self::Exchange { sends, .. } => sends.iter().map(|pair| pair.1.byte_len()).sum(),
            Self::Barrier => 0,
        };
        bytes as u64
    }

    /// Whether rank `rank` of a group of `size` can do this, or a sentence without the operation's name.
    pub fn check(&self, rank: usize, size: usize) -> Result<(), String> {
        match self {
            Self::AllReduce { data, .. } => expect_reducible(data.dtype()),
            Self::AllGather { source, target } => {
                expect_dtype(source, target)?;
                expect_length("the target", target.len(), source.len() * size)?;
                expect_apart(source, target, rank)
            }
            Self::ReduceScatter { source, target, .. } => {
                expect_dtype(source, target)?;
                expect_reducible(source.dtype())?;
                expect_length("the source", source.len(), target.len() * size)?;
                expect_apart(target, source, rank)
            }
            Self::Broadcast { root, .. } => expect_rank("root", *root, size),
            Self::AllToAll { source, target, send, receive } => {
                expect_dtype(source, target)?;
                expect_length("the list of counts to send", send.len(), size)?;
                expect_length("the list of counts to receive", receive.len(), size)?;
                expect_length("the source", source.len(), total(send)?)?;
                expect_length("the target", target.len(), total(receive)?)?;
                if send[rank] != receive[rank] {
                    return Err(format!("{} elements go to this rank and {} come from it. Make them equal.", send[rank], receive[rank]));
                }
                if source.overlaps(target) { Err("source and target overlap. Use separate memory.".into()) } else { Ok(()) }
            }
            Self::Exchange { sends, receives } => check_exchange(sends, receives, rank, size),
            Self::Barrier => Ok(()),
        }
    }
}

fn total(counts: &[usize]) -> Result<usize, String> {
    let sum = counts.iter().try_fold(0usize, |sum, &count| sum.checked_add(count));
    sum.ok_or_else(|| "the counts add up to more than memory can hold. Check them.".into())
}

fn check_exchange(sends: &[(usize, Span)], receives: &[(usize, Span)], rank: usize, size: usize) -> Result<(), String> {
    for (peer, _) in sends.iter().chain(receives) {
        expect_rank("peer", *peer, size)?;
    }
    for (index, (_, target)) in receives.iter().enumerate() {
        let others = sends.iter().chain(&receives[index + 1..]);
        if others.into_iter().any(|(_, other)| target.overlaps(other)) {
            return Err("memory to receive into overlaps other memory of the same exchange. Use separate tensors.".into());
        }
    }
    let mine =
        |list: &[(usize, Span)]| list.iter().filter(|pair| pair.0 == rank).map(|pair| (pair.1.dtype(), pair.1.len())).collect::<Vec<_>>();
    if mine(sends) == mine(receives) {
        return Ok(());
    }
    Err("what this rank sends to itself differs from what it receives from itself. Post both in the same order.".into())
}
