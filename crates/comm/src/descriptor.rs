//! What an operation says about itself to the other ranks before any data moves.

use std::fmt;
use storage::DType;

/// The operations of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    AllReduce = 1,
    AllGather,
    ReduceScatter,
    Broadcast,
    AllToAll,
    Exchange,
    Barrier,
    Reduce,
    Gather,
    Scatter,
    Send,
    Receive,
}

/// Every kind with the name users call it by.
pub const KINDS: [(Kind, &str); 12] = [
    (Kind::AllReduce, "allReduce"),
    (Kind::AllGather, "allGather"),
    (Kind::ReduceScatter, "reduceScatter"),
    (Kind::Broadcast, "broadcast"),
    (Kind::AllToAll, "allToAll"),
    (Kind::Exchange, "exchange"),
    (Kind::Barrier, "barrier"),
    (Kind::Reduce, "reduce"),
    (Kind::Gather, "gather"),
    (Kind::Scatter, "scatter"),
    (Kind::Send, "send"),
    (Kind::Receive, "recv"),
];

impl Kind {
    pub fn name(self) -> &'static str {
        KINDS[self.index()].1
    }

    /// Position in `KINDS`.
    pub fn index(self) -> usize {
        self as usize - 1
    }

    /// Whether single ranks exchange messages, instead of all ranks of the group taking part.
    pub fn is_messages(self) -> bool {
        matches!(self, Self::Exchange | Self::Send | Self::Receive)
    }
}

/// How a reduction combines two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReduceOp {
    Sum = 0,
    Avg,
    Max,
    Min,
    Product,
}

const REDUCE_OPS: [(ReduceOp, &str); 5] =
    [(ReduceOp::Sum, "sum"), (ReduceOp::Avg, "avg"), (ReduceOp::Max, "max"), (ReduceOp::Min, "min"), (ReduceOp::Product, "product")];

impl ReduceOp {
    pub fn name(self) -> &'static str {
        REDUCE_OPS[self as usize].1
    }

    pub fn from_code(code: u32) -> Option<Self> {
        REDUCE_OPS.get(code as usize).map(|row| row.0)
    }
}

/// Up to `8 * WORDS` bytes of text that can be copied and published without allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortText<const WORDS: usize>(pub [u64; WORDS]);

impl<const WORDS: usize> ShortText<WORDS> {
    pub const EMPTY: Self = Self([0; WORDS]);

    /// `text`; of a longer one the end is kept, behind an ellipsis.
    pub fn new(text: &str) -> Self {
        const ELLIPSIS: &str = "…";
        let room = 8 * WORDS;
        let mut bytes = Vec::with_capacity(room);
        if text.len() <= room {
            bytes.extend_from_slice(text.as_bytes());
        } else {
            let mut from = text.len() - (room - ELLIPSIS.len());
            while !text.is_char_boundary(from) {
                from += 1;
            }
            bytes.extend_from_slice(ELLIPSIS.as_bytes());
            bytes.extend_from_slice(&text.as_bytes()[from..]);
        }
        bytes.resize(room, 0);
        let mut words = [0; WORDS];
        for (word, eight) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = eight.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        }
        Self(words)
    }

    pub fn is_empty(&self) -> bool {
        self.0[0] == 0
    }
}

impl<const WORDS: usize> fmt::Display for ShortText<WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).take_while(|&byte| byte != 0).collect();
        f.write_str(&String::from_utf8_lossy(&bytes))
    }
}

/// The user's words for an operation, such as a module path.
pub type Label = ShortText<6>;
/// The name of a group.
pub type GroupName = ShortText<4>;

/// What distinguishes one operation from another: two ranks agree when these are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    pub kind: Kind,
    /// None for a barrier.
    pub dtype: Option<DType>,
    pub op: Option<ReduceOp>,
    /// Group rank of the root, for kinds that have one.
    pub root: Option<u32>,
    /// Elements that each rank brings; 0 where ranks may differ.
    pub count: u64,
    /// Whether the memory is that of a device, which takes another way than that of the host.
    pub on_device: bool,
}

/// Of the packed kind's byte.
const ON_DEVICE: u64 = 1 << 7;

impl Signature {
    /// Of a message: two are the same when type and number of elements are, whatever the calls are named.
    pub fn of_message(dtype: DType, count: usize) -> Self {
        Self { kind: Kind::Exchange, dtype: Some(dtype), op: None, root: None, count: count as u64, on_device: false }
    }

    /// As two words: kind, dtype, op and root in the first, the count in the second.
    pub fn pack(&self) -> [u64; 2] {
        let dtype = self.dtype.map_or(0, |dtype| dtype as u64 + 1);
        let op = self.op.map_or(0, |op| op as u64 + 1);
        let root = self.root.map_or(0, |root| u64::from(root) + 1);
        let on_device = if self.on_device { ON_DEVICE } else { 0 };
        [self.kind as u64 | on_device | dtype << 8 | op << 16 | root << 24, self.count]
    }

    /// The inverse of `pack`; None when the words are no signature.
    pub fn unpack(words: [u64; 2]) -> Option<Self> {
        let byte = |shift: u32| (words[0] >> shift & 0xff) as u32;
        let kind = KINDS.get(((u64::from(byte(0)) & !ON_DEVICE) as usize).checked_sub(1)?)?.0;
        let dtype = byte(8).checked_sub(1).and_then(|code| DType::from_code(code).ok());
        let op = byte(16).checked_sub(1).and_then(ReduceOp::from_code);
        let root = ((words[0] >> 24) as u32).checked_sub(1);
        Some(Self { kind, dtype, op, root, count: words[1], on_device: words[0] & ON_DEVICE != 0 })
    }
}

/// One operation as the other ranks and every error see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub group: GroupName,
    /// Number of the operation in its group, from 1; messages count for themselves.
    pub sequence: u64,
    pub signature: Signature,
    pub label: Label,
}

impl fmt::Display for Descriptor {
    /// `allReduce#43 f32[1024] (layers.1.mlp.down)`; the alternate form always names the reduction, and a device.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signature { kind, dtype, op, root, count, on_device } = self.signature;
        write!(f, "{}#{}", kind.name(), self.sequence)?;
        match dtype {
            Some(dtype) if count == 0 && (kind == Kind::AllToAll || kind.is_messages()) => write!(f, " {}", dtype.name())?,
            Some(dtype) => write!(f, " {}[{count}]", dtype.name())?,
            None => {}
        }
        if let Some(op) = op.filter(|&op| op != ReduceOp::Sum || f.alternate()) {
            write!(f, " {}", op.name())?;
        }
        if let Some(root) = root {
            write!(f, " {} group rank {root}", if matches!(kind, Kind::Reduce | Kind::Gather) { "to" } else { "from" })?;
        }
        if on_device && f.alternate() {
            f.write_str(" on a device")?;
        }
        if !self.label.is_empty() {
            write!(f, " ({})", self.label)?;
        }
        Ok(())
    }
}
