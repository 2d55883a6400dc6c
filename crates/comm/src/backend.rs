//! What a transport must offer. Deadlines, mismatch reports, slow-operation warnings and poisoning live above, once for all.

use crate::descriptor::Descriptor;
use crate::device_request::DeviceRequest;
use crate::failure::Failure;
use crate::operation::{Failed, Fault, Operation};
use crate::request::Request;
use cuda::Part;
use std::sync::Arc;
use std::time::Duration;

/// Whether a rank of the world can still be waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Has not joined yet.
    Absent,
    Alive,
    /// Left the world on purpose.
    Left,
    /// Ended without leaving.
    Lost,
}

/// What keeps a rank from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The operation that does not end.
    pub operation: Descriptor,
    /// The world rank that it waits for.
    pub rank: u32,
}

/// What the ranks of a world know about each other apart from the data. Ranks are world ranks.
pub trait ControlPlane: Send + Sync {
    fn presence(&self, rank: u32) -> Presence;

    /// Process id; 0 when unknown.
    fn pid(&self, rank: u32) -> u32;

    /// Name of the rank's host; None where all are on this one.
    fn host(&self, _rank: u32) -> Option<String> {
        None
    }

    /// Notes that this rank has entered an operation. Called for each operation: must cost nanoseconds.
    fn enter(&self, descriptor: &Descriptor);

    /// The operation that `rank` entered last.
    fn entered(&self, rank: u32) -> Option<Descriptor>;

    /// Tells the others what this rank waits for; None once it goes on. Called only for waits of many milliseconds.
    fn note_wait(&self, _wait: Option<&Wait>) {}

    /// What `rank` said that it waits for; None where it goes on, or where that is unknown.
    fn wait_of(&self, _rank: u32) -> Option<Wait> {
        None
    }

    /// The world's failure, if any. Called on each poll: must cost one load when there is none.
    fn failure(&self) -> Option<Failure>;

    /// Records `failure` unless there is one already; returns the record that stands.
    fn fail(&self, failure: Failure) -> Failure;

    /// Whether it falls to this rank to report the failure: true for the first rank that asks. Where that cannot be told, true for all.
    fn claim_report(&self) -> bool {
        true
    }

    /// Tells the others that this rank leaves on purpose.
    fn leave(&self);
}

/// How a thread sleeps until another rank, or another thread, may have changed something.
pub trait Bell: Send + Sync {
    /// Declares the wish to sleep. Poll once more afterwards: only what happens after `announce` rings.
    fn announce(&self) -> u32;

    /// Sleeps until the bell rings or `limit` has passed; None only withdraws the announcement.
    fn sleep(&self, ticket: u32, limit: Option<Duration>);

    /// Wakes the sleepers of this process.
    fn ring(&self);
}

/// A group of ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    pub name: String,
    /// World ranks; the position is the group rank.
    pub ranks: Vec<u32>,
    /// This process's group rank.
    pub rank: usize,
    /// How many groups of this name and these ranks were opened before.
    pub instance: u32,
}

/// Moves the data of one group.
pub trait Transport: Send {
    /// Makes an operation of `request`. Never blocks and moves nothing: that is what polling is for.
    /// Collectives are started one after the other; messages may overlap with them and with each other.
    fn start(&mut self, descriptor: Descriptor, request: &Arc<Request>) -> Box<dyn Operation>;

    /// The same on memory of a device, for backends whose `check_on_device` lets it come so far.
    fn start_on_device(&mut self, _descriptor: Descriptor, _request: &Arc<DeviceRequest>) -> Box<dyn Operation> {
        Box::new(Failed(Fault::Broken("this backend moves memory of the host. Please report it.".into())))
    }
}

/// The one thread on which a library wants to be called.
pub trait Funnel: Send + Sync {
    /// Runs `body` on that thread, once; returns at once.
    fn run(&self, body: Box<dyn FnOnce() + Send>);

    /// Whether another thread may call the library in its place, one at a time.
    fn lends(&self) -> bool {
        false
    }

    /// Called on that thread now and then while nothing is outstanding: the library may still have to send what it has accepted.
    fn idle(&self) {}
}

/// Moves the data of a world.
pub trait Backend: Send + Sync {
    /// What reports call it.
    fn name(&self) -> &'static str;

    fn control(&self) -> &dyn ControlPlane;

    fn bell(&self) -> &dyn Bell;

    /// Whether another rank was last seen on the core on which the calling thread runs, and may be waiting for it.
    fn shares_core(&self) -> bool {
        false
    }

    /// Whether no other rank exists, so that nothing can be waited for.
    fn is_alone(&self) -> bool {
        false
    }

    /// A transport for a group; it connects when its first operation is polled.
    fn open(&self, spec: &Arc<GroupSpec>) -> Box<dyn Transport>;

    /// Whether it moves these parts of a device for a request that was checked otherwise, or a sentence without the operation's name.
    fn check_on_device(&self, _request: &Request<Part>, _parts: &[Part]) -> Result<(), String> {
        Err(format!("the tensor is on a device, and backend {} moves those of the host. Use backend nccl, or copy it.", self.name()))
    }

    /// The thread that starts and polls operations; None where any thread may, one at a time for each group.
    fn funnel(&self) -> Option<&dyn Funnel> {
        None
    }

    /// Called once, when nothing is started or polled any more. `clean`: this rank has left on purpose, and nothing had failed.
    fn end(&self, _clean: bool) {}
}
