//! Process groups: operations as state machines over a backend, and one watchdog above every backend.

mod backend;
mod descriptor;
mod failure;
mod group;
mod lane;
mod operation;
mod progress;
mod reduce;
mod request;
mod shm;
pub mod signals;
mod solo;
mod watchdog;
mod work;
mod world;

pub use backend::{Backend, Bell, ControlPlane, GroupSpec, Presence, Transport};
pub use descriptor::{Descriptor, GroupName, KINDS, Kind, Label, ReduceOp, Signature};
pub use failure::{Code, Error, Failure};
pub use group::{Counts, Group};
pub use operation::{Fault, Operation, Step, Unexpected};
pub use request::Request;
pub use shm::die_with_parent;
pub use work::Work;
pub use world::{Settings, World};
