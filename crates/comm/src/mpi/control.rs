//! The control plane of an MPI world: that of the store, for which the loss of any rank is the end, because MPI does not go on without it.

use super::bell::MpiBell;
use crate::backend::{Bell, ControlPlane, Presence, Wait};
use crate::descriptor::Descriptor;
use crate::failure::{Code, Failure};
use crate::store::{StoreClient, StoreServer, TcpControl};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// How long an operation that waits for a lost rank may take to tell more about it than that.
const GRACE: Duration = Duration::from_millis(300);

/// The first rank found to be lost.
struct Losses {
    size: u32,
    first: OnceLock<(u32, Instant)>,
    tcp: OnceLock<Weak<TcpControl>>,
}

impl Losses {
    /// Something has changed.
    fn look(&self) {
        let Some(tcp) = self.tcp.get().and_then(Weak::upgrade) else { return };
        if self.first.get().is_none()
            && let Some(rank) = (0..self.size).find(|&rank| tcp.presence(rank) == Presence::Lost)
        {
            let _ = self.first.set((rank, Instant::now()));
        }
    }
}

pub struct MpiControl {
    tcp: Arc<TcpControl>,
    losses: Arc<Losses>,
}

impl MpiControl {
    /// `server`: the store, on rank 0.
    pub fn new(client: StoreClient, server: Option<StoreServer>, size: u32, bell: &Arc<MpiBell>) -> Self {
        let losses = Arc::new(Losses { size, first: OnceLock::new(), tcp: OnceLock::new() });
        let ring = {
            let (losses, bell) = (Arc::clone(&losses), Arc::clone(bell));
            move || {
                losses.look();
                bell.ring();
            }
        };
        let tcp = Arc::new(TcpControl::new(client, server, Arc::new(ring)));
        let _ = losses.tcp.set(Arc::downgrade(&tcp));
        losses.look();
        Self { tcp, losses }
    }

    pub fn tcp(&self) -> &Arc<TcpControl> {
        &self.tcp
    }

    fn bereft(&self, rank: u32) -> Failure {
        let (pid, host) = (self.pid(rank), self.host(rank).unwrap_or_else(|| "an unknown host".into()));
        let how = self.tcp.how_lost(rank).unwrap_or_else(|| "exited".into());
        let message =
            format!("rank {rank} (pid {pid} on {host}) {how}, and MPI does not go on without it. Look at the log of rank {rank}.");
        Failure { code: Code::PeerLost, culprits: vec![rank], message }
    }
}

impl ControlPlane for MpiControl {
    fn presence(&self, rank: u32) -> Presence {
        self.tcp.presence(rank)
    }

    fn pid(&self, rank: u32) -> u32 {
        self.tcp.pid(rank)
    }

    fn host(&self, rank: u32) -> Option<String> {
        self.tcp.host(rank)
    }

    fn enter(&self, descriptor: &Descriptor) {
        self.tcp.enter(descriptor);
    }

    fn entered(&self, rank: u32) -> Option<Descriptor> {
        self.tcp.entered(rank)
    }

    fn note_wait(&self, wait: Option<&Wait>) {
        self.tcp.note_wait(wait);
    }

    fn wait_of(&self, rank: u32) -> Option<Wait> {
        self.tcp.wait_of(rank)
    }

    fn failure(&self) -> Option<Failure> {
        let loss = || self.losses.first.get().filter(|(_, since)| since.elapsed() >= GRACE);
        self.tcp.failure().or_else(|| loss().map(|(rank, _)| self.bereft(*rank)))
    }

    fn fail(&self, failure: Failure) -> Failure {
        self.tcp.fail(failure)
    }

    fn claim_report(&self) -> bool {
        self.tcp.claim_report()
    }

    fn leave(&self) {
        self.tcp.leave();
    }
}
