//! A request with other memory in place of its own.

use crate::request::Request;

/// What an operation does with memory on this rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Its values count.
    pub is_read: bool,
    /// It holds results afterwards.
    pub is_written: bool,
}

const READ: Use = Use { is_read: true, is_written: false };
const WRITTEN: Use = Use { is_read: false, is_written: true };
const BOTH: Use = Use { is_read: true, is_written: true };

impl<M> Request<M> {
    /// The same request of group rank `rank` on what `replace` makes of each memory, told what is done with it.
    pub fn on<N, E>(&self, rank: usize, mut replace: impl FnMut(&M, Use) -> Result<N, E>) -> Result<Request<N>, E> {
        let at_root = |root: usize, there: Use, elsewhere: Use| if rank == root { there } else { elsewhere };
        Ok(match self {
            Request::AllReduce { data, op } => Request::AllReduce { data: replace(data, BOTH)?, op: *op },
            Request::Broadcast { data, root } => Request::Broadcast { data: replace(data, at_root(*root, READ, WRITTEN))?, root: *root },
            Request::Reduce { data, op, root } => {
                Request::Reduce { data: replace(data, at_root(*root, BOTH, READ))?, op: *op, root: *root }
            }
            Request::AllGather { source, target, blocks } => {
                Request::AllGather { source: replace(source, READ)?, target: replace(target, WRITTEN)?, blocks: blocks.clone() }
            }
            Request::ReduceScatter { source, target, op, blocks } => {
                let (source, target) = (replace(source, READ)?, replace(target, WRITTEN)?);
                Request::ReduceScatter { source, target, op: *op, blocks: blocks.clone() }
            }
            Request::Gather { source, target, root, blocks } => {
                let (source, target) = (replace(source, READ)?, target.as_ref().map(|target| replace(target, WRITTEN)).transpose()?);
                Request::Gather { source, target, root: *root, blocks: blocks.clone() }
            }
            Request::Scatter { source, target, root, blocks } => {
                let (source, target) = (source.as_ref().map(|source| replace(source, READ)).transpose()?, replace(target, WRITTEN)?);
                Request::Scatter { source, target, root: *root, blocks: blocks.clone() }
            }
            Request::AllToAll { source, target, send, receive } => {
                let (source, target) = (replace(source, READ)?, replace(target, WRITTEN)?);
                Request::AllToAll { source, target, send: send.clone(), receive: receive.clone() }
            }
            Request::Exchange { sends, receives, kind } => {
                let mut all = |list: &[(usize, M)], what: Use| -> Result<Vec<(usize, N)>, E> {
                    list.iter().map(|(peer, data)| Ok((*peer, replace(data, what)?))).collect()
                };
                Request::Exchange { sends: all(sends, READ)?, receives: all(receives, WRITTEN)?, kind: *kind }
            }
            Request::Barrier => Request::Barrier,
        })
    }
}
