//! Groups: what is asked between start and end goes out at the end, all at once. Each thread has its own.

use super::ask;
use super::world::{Call, post};
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

/// Posts an operation now, or when the group of this thread ends.
pub fn submit(name: &str, comm: usize, call: Call) -> u32 {
    let is_put_off = QUEUED.with_borrow(|queued| queued.depth > 0);
    ask(name, comm, |state| {
        if !is_put_off {
            return post(state, comm, call);
        }
        QUEUED.with_borrow_mut(|queued| queued.calls.push((comm, call)));
        0
    })
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
    ask("ncclGroupEnd", 0, |state| {
        let status = calls.into_iter().map(|(comm, call)| post(state, comm, call)).max().unwrap_or(0);
        state.note("group end".into());
        status
    })
}
