//! Groups: what is asked between start and end goes out at the end, all at once. Each thread has its own.

use super::world::{Call, Parcel, hand_over, take};
use super::{NCCL_INVALID_ARGUMENT, ask};
use crate::state::State;
use std::cell::RefCell;

/// What a thread has put off.
#[derive(Default)]
pub struct Queued {
    depth: usize,
    calls: Vec<(usize, Call)>,
}

thread_local! {
    static QUEUED: RefCell<Queued> = RefCell::default();
}

/// Takes operations; those that go to their streams at once are added to `parcels`.
fn accept(state: &mut State, calls: &[(usize, Call)], parcels: &mut Vec<Parcel>) -> u32 {
    let Some(ready) = take(state, calls) else { return NCCL_INVALID_ARGUMENT };
    parcels.extend(ready);
    0
}

/// Posts an operation now, or when the group of this thread ends.
pub fn submit(name: &str, comm: usize, call: Call) -> u32 {
    let is_put_off = QUEUED.with_borrow(|queued| queued.depth > 0);
    let mut parcels = Vec::new();
    let status = ask(name, comm, |state| {
        if !is_put_off {
            return accept(state, &[(comm, call)], &mut parcels);
        }
        QUEUED.with_borrow_mut(|queued| queued.calls.push((comm, call)));
        0
    });
    hand_over(parcels);
    status
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclGroupStart() -> u32 {
    ask("ncclGroupStart", 0, |state| {
        QUEUED.with_borrow_mut(|queued| queued.depth += 1);
        state.note("group start".into());
        0
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclGroupEnd() -> u32 {
    let calls = QUEUED.with_borrow_mut(|queued| {
        queued.depth = queued.depth.saturating_sub(1);
        if queued.depth == 0 { std::mem::take(&mut queued.calls) } else { Vec::new() }
    });
    let mut parcels = Vec::new();
    let status = ask("ncclGroupEnd", 0, |state| {
        let status = accept(state, &calls, &mut parcels);
        state.note("group end".into());
        status
    });
    hand_over(parcels);
    status
}
