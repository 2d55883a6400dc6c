//! Sends and receives posted together: each goes on whenever its channel allows, in any order, so a ring cannot deadlock.

use super::channel::Channel;
use super::transfer::Transfer;
use crate::descriptor::Descriptor;
use crate::operation::{Fault, Operation, Step};
use crate::request::Request;
use crate::solo::copy_span;
use std::sync::Arc;
use storage::Span;

pub struct Exchange {
    transfers: Vec<Transfer>,
}

impl Exchange {
    /// Takes the messages' turns. `channel` finds the channel to a peer; what a rank sends to itself is copied at once.
    pub fn new(descriptor: Descriptor, request: &Request, rank: usize, channel: impl Fn(usize) -> Arc<Channel>) -> Self {
        let Request::Exchange { sends, receives, .. } = request else { return Self { transfers: Vec::new() } };
        let own = |list: &[(usize, Span)]| list.iter().filter(|pair| pair.0 == rank).map(|pair| pair.1.clone()).collect::<Vec<_>>();
        own(sends).iter().zip(own(receives)).for_each(|(source, target)| copy_span(source, &target));
        let sends = sends.iter().map(|pair| (true, pair));
        let all = sends.chain(receives.iter().map(|pair| (false, pair))).filter(|(_, pair)| pair.0 != rank);
        let transfers = all.map(|(is_send, (peer, data))| Transfer::new(channel(*peer), is_send, data, descriptor));
        Self { transfers: transfers.collect() }
    }
}

impl Operation for Exchange {
    fn poll(&mut self) -> Result<Step, Fault> {
        let mut moved = false;
        for transfer in &mut self.transfers {
            moved |= transfer.advance()?;
        }
        if self.transfers.iter().all(Transfer::is_done) {
            return Ok(Step::Done);
        }
        Ok(if moved { Step::Moved } else { Step::Waiting })
    }

    fn missing(&self) -> Vec<usize> {
        let open = self.transfers.iter().filter(|transfer| !transfer.is_done());
        let mut peers: Vec<usize> = open.map(Transfer::peer).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    fn posted(&self, _member: usize) -> Option<Descriptor> {
        None
    }
}
