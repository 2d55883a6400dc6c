//! The store: lives in the process of rank 0, on a thread of its own.

use super::event_loop::EventLoop;
use super::settings::StoreSettings;
use crate::failure::Error;
use polling::Poller;
use socket2::SockRef;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Where the store listens when all ranks are on one host.
const LOCAL: &str = "127.0.0.1:0";
/// Connections that the system keeps until they are accepted; it may cut this down.
const QUEUE: i32 = 4096;
/// The largest world.
const RANKS: u32 = 1 << 16;

/// A running store. Dropping it ends it; ranks that are still connected then take rank 0 for lost, unless it has left.
pub struct StoreServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    poller: Arc<Poller>,
    thread: Option<JoinHandle<()>>,
}

impl StoreServer {
    /// Starts a store that listens at `address`, such as `10.0.0.1:29500`; None for a world of one host. Port 0 takes a free one.
    pub fn start(address: Option<&str>, settings: &StoreSettings) -> Result<Self, Error> {
        let address = address.unwrap_or(LOCAL);
        let size = settings.size;
        if size == 0 || size > RANKS {
            return Err(Error::Refused(format!("store: a world of {size} ranks is not between 1 and {RANKS}. Check WORLD_SIZE.")));
        }
        let failed = |error: std::io::Error| {
            Error::Refused(format!("store: rank 0 cannot listen at {address}: {error}. Choose an address of this host and a free port."))
        };
        let listener = TcpListener::bind(address).map_err(failed)?;
        // All ranks may connect at once, and a connection that finds the queue full comes again only after a second.
        SockRef::from(&listener).listen(QUEUE).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let event_loop = EventLoop::new(listener, Arc::clone(&stop), settings.clone()).map_err(failed)?;
        let poller = event_loop.poller();
        let thread = std::thread::Builder::new().name("megatron-store".into()).spawn(move || event_loop.run()).map_err(failed)?;
        Ok(Self { address: bound, stop, poller, thread: Some(thread) })
    }

    /// Where the store listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for StoreServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.poller.notify();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
