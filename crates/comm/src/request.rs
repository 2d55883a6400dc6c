//! What a caller asks of a group, checked before anything is posted.

use crate::blocks::Blocks;
use crate::descriptor::{Kind, ReduceOp, Signature};
use crate::memory::Memory;
use storage::{DType, Span};

/// One operation with the memory it works on, which is held until the operation ends: that of the host, or of a device.
#[derive(Clone)]
pub enum Request<M = Span> {
    AllReduce {
        data: M,
        op: ReduceOp,
    },
    /// The block of each rank is its `source`.
    AllGather {
        source: M,
        target: M,
        blocks: Blocks,
    },
    /// The block of each rank becomes its `target`.
    ReduceScatter {
        source: M,
        target: M,
        op: ReduceOp,
        blocks: Blocks,
    },
    Broadcast {
        data: M,
        root: usize,
    },
    /// The root's `data` becomes the result; the others' stays as it is.
    Reduce {
        data: M,
        op: ReduceOp,
        root: usize,
    },
    /// `target` is the root's alone.
    Gather {
        source: M,
        target: Option<M>,
        root: usize,
        blocks: Blocks,
    },
    /// `source` is the root's alone.
    Scatter {
        source: Option<M>,
        target: M,
        root: usize,
        blocks: Blocks,
    },
    /// The blocks of `source` go to the ranks, those of `target` come from them.
    AllToAll {
        source: M,
        target: M,
        send: Blocks,
        receive: Blocks,
    },
    /// Pairs of group rank and memory. `kind` is what the caller calls it: exchange, send or recv.
    Exchange {
        sends: Vec<(usize, M)>,
        receives: Vec<(usize, M)>,
        kind: Kind,
    },
    Barrier,
}

fn expect_length(what: &str, have: usize, want: usize) -> Result<(), String> {
    if have == want { Ok(()) } else { Err(format!("{what} has {have} elements where {want} are needed. Pass a tensor of that size.")) }
}

fn expect_dtype<M: Memory>(a: &M, b: &M) -> Result<(), String> {
    let (a, b) = (a.dtype(), b.dtype());
    if a == b { Ok(()) } else { Err(format!("the source is {} and the target {}. Cast one of them.", a.name(), b.name())) }
}

fn expect_rank(what: &str, rank: usize, size: usize) -> Result<(), String> {
    if rank < size { Ok(()) } else { Err(format!("{what} {rank} is outside a group of {size}. Pass a group rank from 0 to {}.", size - 1)) }
}

fn expect_blocks(blocks: &Blocks, size: usize) -> Result<(), String> {
    let ranks = blocks.ranks();
    if ranks == size { Ok(()) } else { Err(format!("{ranks} counts for a group of {size}. Pass one count for each rank.")) }
}

/// Refuses memory that is both read and written, unless `part` is exactly block `rank` of `whole`.
fn expect_apart<M: Memory>(part: &M, whole: &M, blocks: &Blocks, rank: usize) -> Result<(), String> {
    let in_place = part.address() == whole.address() + blocks.of(rank).start * part.dtype().size();
    if in_place || !part.overlaps(whole) {
        return Ok(());
    }
    Err("source and target overlap. Use separate memory, or this rank's own block of the larger one.".into())
}

/// Checks the memory that holds one block against the memory that holds all of them.
fn expect_part<M: Memory>(part: (&str, &M), whole: (&str, &M), blocks: &Blocks, rank: usize) -> Result<(), String> {
    expect_dtype(part.1, whole.1)?;
    expect_length(part.0, part.1.len(), blocks.of(rank).len())?;
    expect_length(whole.0, whole.1.len(), blocks.total())?;
    expect_apart(part.1, whole.1, blocks, rank)
}

/// The memory that only the root brings, when this rank is the root.
fn expect_root_memory<'a, M>(what: &str, memory: Option<&'a M>, rank: usize, root: usize) -> Result<Option<&'a M>, String> {
    match memory {
        None if rank == root => Err(format!("the root has no {what}. Pass one on group rank {root}.")),
        Some(_) if rank != root => {
            Err(format!("group rank {rank} passes a {what} and is not the root. Pass it on group rank {root} only."))
        }
        memory => Ok(memory),
    }
}

impl<M: Memory> Request<M> {
    pub fn kind(&self) -> Kind {
        match self {
            Self::AllReduce { .. } => Kind::AllReduce,
            Self::AllGather { .. } => Kind::AllGather,
            Self::ReduceScatter { .. } => Kind::ReduceScatter,
            Self::Broadcast { .. } => Kind::Broadcast,
            Self::Reduce { .. } => Kind::Reduce,
            Self::Gather { .. } => Kind::Gather,
            Self::Scatter { .. } => Kind::Scatter,
            Self::AllToAll { .. } => Kind::AllToAll,
            Self::Exchange { kind, .. } => *kind,
            Self::Barrier => Kind::Barrier,
        }
    }

    /// What must be equal on all ranks of the group. Uneven blocks are compared by `pair_counts` instead.
    pub fn signature(&self) -> Signature {
        let even = |dtype: DType, blocks: &Blocks| (Some(dtype), if let Blocks::Even { each, .. } = blocks { *each } else { 0 });
        let (dtype, count) = match self {
            Self::AllReduce { data, .. } | Self::Broadcast { data, .. } | Self::Reduce { data, .. } => (Some(data.dtype()), data.len()),
            Self::AllGather { source, blocks, .. } | Self::Gather { source, blocks, .. } => even(source.dtype(), blocks),
            Self::ReduceScatter { target, blocks, .. } | Self::Scatter { target, blocks, .. } => even(target.dtype(), blocks),
            Self::AllToAll { source, .. } => (Some(source.dtype()), 0),
            Self::Exchange { sends, receives, .. } => match (sends.as_slice(), receives.as_slice()) {
                ([(_, only)], []) | ([], [(_, only)]) => (Some(only.dtype()), only.len()),
                _ => (sends.iter().chain(receives).map(|pair| pair.1.dtype()).next(), 0),
            },
            Self::Barrier => (None, 0),
        };
        let (mut op, mut root) = (None, None);
        match self {
            Self::AllReduce { op: by, .. } | Self::ReduceScatter { op: by, .. } => op = Some(*by),
            Self::Broadcast { root: at, .. } | Self::Gather { root: at, .. } | Self::Scatter { root: at, .. } => root = Some(*at as u32),
            Self::Reduce { op: by, root: at, .. } => (op, root) = (Some(*by), Some(*at as u32)),
            _ => {}
        }
        Signature { kind: self.kind(), dtype, op, root, count: count as u64, on_device: M::ON_DEVICE }
    }

    /// Elements that rank `rank` sends to each rank and expects from each, where ranks may differ in them; None where they cannot.
    pub fn pair_counts(&self, rank: usize) -> Option<(Vec<usize>, Vec<usize>)> {
        let list = |blocks: &Blocks| blocks.counts().collect::<Vec<_>>();
        let own = |blocks: &Blocks| vec![blocks.of(rank).len(); blocks.ranks()];
        let only = |blocks: &Blocks, root: usize| {
            let mut counts = vec![0; blocks.ranks()];
            counts[root] = blocks.of(rank).len();
            counts
        };
        let at_root = |blocks: &Blocks, root: usize| if rank == root { list(blocks) } else { vec![0; blocks.ranks()] };
        match self {
            Self::AllToAll { send, receive, .. } => Some((list(send), list(receive))),
            Self::AllGather { blocks, .. } if !blocks.is_even() => Some((own(blocks), list(blocks))),
            Self::ReduceScatter { blocks, .. } if !blocks.is_even() => Some((list(blocks), own(blocks))),
            Self::Gather { blocks, root, .. } if !blocks.is_even() => Some((only(blocks, *root), at_root(blocks, *root))),
            Self::Scatter { blocks, root, .. } if !blocks.is_even() => Some((at_root(blocks, *root), only(blocks, *root))),
            _ => None,
        }
    }

    /// All memory that it speaks of on this rank.
    pub fn memories(&self) -> impl Iterator<Item = &M> + Clone {
        let none: [&[(usize, M)]; 2] = [&[], &[]];
        let (first, second, messages) = match self {
            Self::AllReduce { data, .. } | Self::Broadcast { data, .. } | Self::Reduce { data, .. } => (Some(data), None, none),
            Self::AllGather { source, target, .. } | Self::ReduceScatter { source, target, .. } | Self::AllToAll { source, target, .. } => {
                (Some(source), Some(target), none)
            }
            Self::Gather { source, target, .. } => (Some(source), target.as_ref(), none),
            Self::Scatter { source, target, .. } => (source.as_ref(), Some(target), none),
            Self::Exchange { sends, receives, .. } => (None, None, [&**sends, &**receives]),
            Self::Barrier => (None, None, none),
        };
        first.into_iter().chain(second).chain(messages.into_iter().flatten().map(|pair| &pair.1))
    }

    /// Bytes that this rank hands in.
    pub fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::AllReduce { data, .. } | Self::Broadcast { data, .. } | Self::Reduce { data, .. } => data.byte_len(),
            Self::AllGather { source, .. }
            | Self::ReduceScatter { source, .. }
            | Self::Gather { source, .. }
            | Self::AllToAll { source, .. } => source.byte_len(),
            Self::Scatter { source, .. } => source.as_ref().map_or(0, Memory::byte_len),
            Self::Exchange { sends, .. } => sends.iter().map(|pair| pair.1.byte_len()).sum(),
            Self::Barrier => 0,
        };
        bytes as u64
    }

    /// Whether rank `rank` of a group of `size` can do this, or a sentence without the operation's name.
    pub fn check(&self, rank: usize, size: usize) -> Result<(), String> {
        match self {
            Self::AllReduce { .. } | Self::Barrier => Ok(()),
            Self::Broadcast { root, .. } | Self::Reduce { root, .. } => expect_rank("root", *root, size),
            Self::AllGather { source, target, blocks } => {
                expect_blocks(blocks, size)?;
                expect_part(("the source", source), ("the target", target), blocks, rank)
            }
            Self::ReduceScatter { source, target, blocks, .. } => {
                expect_blocks(blocks, size)?;
                expect_part(("the target", target), ("the source", source), blocks, rank)
            }
            Self::Gather { source, target, root, blocks } => {
                expect_rank("root", *root, size)?;
                expect_blocks(blocks, size)?;
                match expect_root_memory("target", target.as_ref(), rank, *root)? {
                    Some(target) => expect_part(("the source", source), ("the target", target), blocks, rank),
                    None => expect_length("the source", source.len(), blocks.of(rank).len()),
                }
            }
            Self::Scatter { source, target, root, blocks } => {
                expect_rank("root", *root, size)?;
                expect_blocks(blocks, size)?;
                match expect_root_memory("source", source.as_ref(), rank, *root)? {
                    Some(source) => expect_part(("the target", target), ("the source", source), blocks, rank),
                    None => expect_length("the target", target.len(), blocks.of(rank).len()),
                }
            }
            Self::AllToAll { source, target, send, receive } => {
                expect_dtype(source, target)?;
                expect_blocks(send, size)?;
                expect_blocks(receive, size)?;
                expect_length("the source", source.len(), send.total())?;
                expect_length("the target", target.len(), receive.total())?;
                let (to, from) = (send.of(rank).len(), receive.of(rank).len());
                if to != from {
                    return Err(format!("{to} elements go to this rank and {from} come from it. Make them equal."));
                }
                if source.overlaps(target) { Err("source and target overlap. Use separate memory.".into()) } else { Ok(()) }
            }
            Self::Exchange { sends, receives, .. } => check_exchange(sends, receives, rank, size),
        }
    }
}

fn check_exchange<M: Memory>(sends: &[(usize, M)], receives: &[(usize, M)], rank: usize, size: usize) -> Result<(), String> {
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
        |list: &[(usize, M)]| list.iter().filter(|pair| pair.0 == rank).map(|pair| (pair.1.dtype(), pair.1.len())).collect::<Vec<_>>();
    if mine(sends) == mine(receives) {
        return Ok(());
    }
    Err("what this rank sends to itself differs from what it receives from itself. Post both in the same order.".into())
}
