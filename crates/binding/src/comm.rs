//! Worlds, groups and work that this thread's JavaScript holds, and the exports around them.

mod groups;
pub(crate) mod table;
mod worlds;

use crate::hot_op::Failure;
use comm::{Code, Group, Label, Work, World, signals};
use napi_derive::napi;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;
use table::Table;

#[derive(Default)]
struct Registry {
    works: Table<Work>,
    groups: Table<Group>,
    worlds: Table<World>,
    labels: Vec<Label>,
    label_numbers: HashMap<String, u32>,
    last_failure: Option<comm::Failure>,
}

thread_local! {
    static REGISTRY: RefCell<Registry> = RefCell::default();
}

impl From<comm::Error> for Failure {
    fn from(error: comm::Error) -> Failure {
        match error {
            comm::Error::Refused(message) => message.into(),
            comm::Error::Failed(failure) => failure.into(),
        }
    }
}

impl From<comm::Failure> for Failure {
    /// Also remembers the failure for `lastFailure`.
    fn from(failure: comm::Failure) -> Failure {
        let code = match failure.code {
            Code::PeerLost => c"PEER_LOST",
            Code::Mismatch => c"MISMATCH",
            Code::Timeout => c"TIMEOUT",
            Code::Aborted => c"ABORTED",
        };
        let message = failure.message.clone();
        REGISTRY.with_borrow_mut(|registry| registry.last_failure = Some(failure));
        Failure { code, message }
    }
}

impl From<Failure> for napi::Error<String> {
    fn from(failure: Failure) -> Self {
        napi::Error::new(failure.code.to_string_lossy().into_owned(), failure.message)
    }
}

/// The group behind a handle.
pub fn group(op: &str, handle: u32) -> Result<Group, Failure> {
    REGISTRY.with_borrow(|registry| registry.groups.get(op, handle).cloned())
}

/// The label behind a number that `internLabel` gave; 0 is none.
pub fn label(number: u32) -> Label {
    let index = (number as usize).wrapping_sub(1);
    REGISTRY.with_borrow(|registry| registry.labels.get(index).copied()).unwrap_or(Label::EMPTY)
}

/// A handle for work under way.
pub fn keep(op: &str, work: Work) -> Result<u32, Failure> {
    REGISTRY.with_borrow_mut(|registry| registry.works.insert(op, work))
}

/// Ends a handle of work and hands the work over.
pub fn take(op: &str, handle: u32) -> Result<Work, Failure> {
    REGISTRY.with_borrow_mut(|registry| registry.works.remove(op, handle))
}

/// Whether the work behind a handle has ended.
pub fn is_done(op: &str, handle: u32) -> Result<bool, Failure> {
    REGISTRY.with_borrow(|registry| Ok(registry.works.get(op, handle)?.is_done()))
}

/// Milliseconds that JavaScript passed, as a duration; not a number and negative ones are none at all.
pub fn milliseconds(value: f64) -> Duration {
    const LARGEST: f64 = 1e15;
    Duration::from_millis(value.clamp(0.0, LARGEST) as u64)
}

/// A number for a label, to be passed to operations; 0 for an empty one.
#[napi(catch_unwind)]
pub fn intern_label(label: String) -> u32 {
    if label.is_empty() {
        return 0;
    }
    REGISTRY.with_borrow_mut(|registry| {
        let Registry { labels, label_numbers, .. } = registry;
        *label_numbers.entry(label).or_insert_with_key(|text| {
            labels.push(Label::new(text));
            labels.len() as u32
        })
    })
}

/// Why a world failed.
#[napi(object)]
pub struct WorldFailure {
    /// PEER_LOST, MISMATCH, TIMEOUT or ABORTED.
    pub code: String,
    /// World ranks.
    pub culprits: Vec<u32>,
    /// The sentence.
    pub message: String,
}

/// The failure that this thread was told of last.
#[napi(catch_unwind)]
pub fn last_failure() -> Option<WorldFailure> {
    let failure = REGISTRY.with_borrow(|registry| registry.last_failure.clone())?;
    Some(WorldFailure { code: failure.code.name().into(), culprits: failure.culprits, message: failure.message })
}

/// From now on SIGTERM and SIGINT set a flag; a second one ends the process at once.
#[napi(catch_unwind)]
pub fn install_signal_handlers() -> napi::Result<(), String> {
    Ok(signals::install_signal_handlers().map_err(Failure::from)?)
}

/// The signal that asked this process to stop; 0 when none did.
#[napi(catch_unwind)]
pub fn stop_requested() -> u32 {
    signals::stop_requested()
}

/// Forgets the request to stop.
#[napi(catch_unwind)]
pub fn clear_stop() {
    signals::clear_stop();
}

/// From now on this process leads a process group in the session that it is in.
#[napi(catch_unwind)]
pub fn lead_process_group() -> napi::Result<(), String> {
    Ok(signals::lead_process_group().map_err(Failure::from)?)
}

/// From now on this process is killed when its parent ends; an error when the parent, whose process id may be passed, has ended.
#[napi(catch_unwind)]
pub fn die_with_parent(parent: Option<u32>) -> napi::Result<(), String> {
    Ok(comm::die_with_parent(parent).map_err(Failure::from)?)
}
