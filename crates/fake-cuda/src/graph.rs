//! Capture: what is asked of a stream that is captured is written down instead of done, and done by every launch of the graph.

use crate::queue::{self, Task};
use crate::state::{INVALID_VALUE, SUCCESS, State, call, give};
use std::alloc::{Layout, alloc};
use std::collections::{HashMap, HashSet};
use std::ffi::{c_uint, c_ulonglong, c_void};
use std::ptr;
use std::sync::Arc;

pub const UNSUPPORTED: u32 = 900;
pub const INVALIDATED: u32 = 901;
pub const UNJOINED: u32 = 904;
pub const ISOLATION: u32 = 905;
pub const CAPTURED_EVENT: u32 = 907;

const ALIGN: usize = 256;

/// What a piece of work does to memory.
#[derive(Clone)]
pub enum Action {
    Nothing,
    /// A kernel that really runs, or the work of another library: as often as it is launched.
    Run(Arc<dyn Fn() + Send + Sync>),
    Copy {
        to: u64,
        from: u64,
        bytes: usize,
    },
    Fill {
        to: u64,
        value: u8,
        bytes: usize,
    },
    /// Words of 32 bits.
    FillWords {
        to: u64,
        value: u32,
        words: usize,
    },
    /// Begins, or ends, the life of memory of the graph.
    Live(u64, bool),
}

/// What is being captured.
#[derive(Default)]
pub struct Capture {
    origin: usize,
    /// Each stream, with how much was asked of it, and how much of that the others have waited for.
    streams: HashMap<usize, [usize; 2]>,
    /// Where each event was recorded.
    events: HashMap<usize, (usize, usize)>,
    nodes: Vec<(String, Action)>,
    memory: HashMap<u64, usize>,
    is_invalid: bool,
}

/// A graph, and whether it can be launched.
#[derive(Default)]
pub struct Graph {
    nodes: Vec<(String, Action)>,
    /// Memory of the graph, and its bytes.
    memory: HashMap<u64, usize>,
    /// What was allocated by the last launch and not freed by it.
    live: HashSet<u64>,
    /// The stream of the last launch.
    launched_in: Option<usize>,
}

/// Does what was asked of a stream, or writes it down where the stream is captured.
pub fn ask(state: &mut State, stream: usize, line: String, action: Action) -> u32 {
    if let Some(capture) = state.capture.as_mut()
        && let Some(counts) = capture.streams.get_mut(&stream)
    {
        counts[0] += 1;
        capture.nodes.push((line.clone(), action));
        state.note(format!("capture {line}"));
        return SUCCESS;
    }
    state.note(line);
    queue::push(state, stream, Task::Act(action));
    SUCCESS
}

pub fn perform(action: &Action) {
    let host = |address: u64| ptr::with_exposed_provenance_mut::<u8>(address as usize);
    // SAFETY: the callers of the driver promise that their memory has as many bytes.
    unsafe {
        match *action {
            Action::Run(ref run) => run(),
            Action::Copy { to, from, bytes } => host(to).copy_from(host(from), bytes),
            Action::Fill { to, value, bytes } => host(to).write_bytes(value, bytes),
            Action::FillWords { to, value, words } => (0..words).for_each(|at| host(to).cast::<u32>().add(at).write_unaligned(value)),
            Action::Nothing | Action::Live(..) => {}
        }
    }
}

/// Whether a stream is captured.
pub fn has(state: &State, stream: usize) -> bool {
    state.capture.as_ref().is_some_and(|capture| capture.streams.contains_key(&stream))
}

/// Refuses what waits, and spoils the capture by it, as the driver does.
pub fn spoil(state: &mut State, status: u32) -> u32 {
    state.capture.iter_mut().for_each(|capture| capture.is_invalid = true);
    status
}

/// Notes an event in a stream that is captured; false where it is not.
pub fn recorded(state: &mut State, event: usize, stream: usize) -> bool {
    let Some(capture) = &mut state.capture else { return false };
    let Some(&[asked, _]) = capture.streams.get(&stream) else {
        capture.events.remove(&event);
        return false;
    };
    capture.events.insert(event, (stream, asked));
    true
}

/// Whether an event is one of the capture's.
pub fn is_captured(state: &State, event: usize) -> bool {
    state.capture.as_ref().is_some_and(|capture| capture.events.contains_key(&event))
}

/// Lets a stream wait for an event: it joins the capture by that.
pub fn joined(state: &mut State, stream: usize, event: usize) -> u32 {
    let Some(capture) = &mut state.capture else { return SUCCESS };
    match capture.events.get(&event).copied() {
        Some((from, asked)) => {
            if let Some(counts) = capture.streams.get_mut(&from) {
                counts[1] = counts[1].max(asked);
            }
            capture.streams.entry(stream).or_default()[0] += 1;
            SUCCESS
        }
        None if capture.streams.contains_key(&stream) => spoil(state, ISOLATION),
        None => SUCCESS,
    }
}

/// Memory of the graph that is being captured.
pub fn allocate(state: &mut State, stream: usize, bytes: usize) -> Option<u64> {
    let layout = Layout::from_size_align(bytes, ALIGN).ok().filter(|_| bytes > 0)?;
    // SAFETY: the layout is not empty.
    let address = unsafe { alloc(layout) }.expose_provenance() as u64;
    state.capture.as_mut()?.memory.insert(address, bytes);
    ask(state, stream, format!("allocate {bytes} of the graph in stream {stream}"), Action::Live(address, true));
    Some(address)
}

/// Frees memory within a capture: only what was allocated within it.
pub fn free(state: &mut State, stream: usize, address: u64) -> u32 {
    let Some(&bytes) = state.capture.as_ref().and_then(|capture| capture.memory.get(&address)) else {
        return spoil(state, INVALID_VALUE);
    };
    ask(state, stream, format!("free {bytes} of the graph in stream {stream}"), Action::Live(address, false))
}

/// Frees what a launch has left; false where the address is no graph's.
pub fn free_after(state: &mut State, address: u64) -> bool {
    state.graphs.values_mut().any(|graph| graph.live.remove(&address))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamBeginCapture_v2(stream: *mut c_void, mode: c_uint) -> u32 {
    call("cuStreamBeginCapture_v2", |state| {
        if state.capture.is_some() {
            return UNSUPPORTED;
        }
        let streams = HashMap::from([(stream.addr(), [0, 0])]);
        state.capture = Some(Capture { origin: stream.addr(), streams, ..Capture::default() });
        state.note(format!("begin capture mode {mode} in stream {}", stream.addr()));
        SUCCESS
    })
}

/// # Safety
/// As in CUDA's driver, for all functions below.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamIsCapturing(stream: *mut c_void, answer: *mut c_uint) -> u32 {
    // SAFETY: the caller's promise.
    call("cuStreamIsCapturing", |state| unsafe { give(answer, has(state, stream.addr()).into()) })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamEndCapture(stream: *mut c_void, graph: *mut *mut c_void) -> u32 {
    call("cuStreamEndCapture", |state| {
        let Some(capture) = state.capture.take() else { return INVALID_VALUE };
        state.note(format!("end capture of {} in stream {}", capture.nodes.len(), stream.addr()));
        let is_open = |(&number, counts): (&usize, &[usize; 2])| number != capture.origin && counts[1] < counts[0];
        let status = match (capture.is_invalid, capture.streams.iter().any(is_open)) {
            (true, _) => INVALIDATED,
            (_, true) => UNJOINED,
            _ => SUCCESS,
        };
        if status != SUCCESS {
            // SAFETY: the caller's promise.
            unsafe { give(graph, ptr::null_mut()) };
            return status;
        }
        let handle = 0x9000 + state.next_handle();
        let Capture { nodes, memory, .. } = capture;
        state.graphs.insert(handle, Graph { nodes, memory, ..Graph::default() });
        // SAFETY: the caller's promise.
        unsafe { give(graph, ptr::without_provenance_mut(handle)) }
    })
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphInstantiateWithFlags(program: *mut *mut c_void, graph: *mut c_void, flags: c_ulonglong) -> u32 {
    call("cuGraphInstantiateWithFlags", |state| {
        let Some(found) = state.graphs.get_mut(&graph.addr()) else { return INVALID_VALUE };
        let made = std::mem::take(found);
        let handle = 0xa000 + state.next_handle();
        state.graphs.insert(handle, made);
        state.note(format!("instantiate with flags {flags}"));
        // SAFETY: the caller's promise.
        unsafe { give(program, ptr::without_provenance_mut(handle)) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphLaunch(program: *mut c_void, stream: *mut c_void) -> u32 {
    call("cuGraphLaunch", |state| {
        let Some(graph) = state.graphs.get_mut(&program.addr()) else { return INVALID_VALUE };
        graph.live.clear();
        graph.launched_in = Some(stream.addr());
        let nodes = graph.nodes.clone();
        for (_, action) in &nodes {
            match action {
                Action::Live(address, true) => _ = graph.live.insert(*address),
                Action::Live(address, false) => _ = graph.live.remove(address),
                _ => {}
            }
        }
        let kept = graph.live.len();
        nodes.iter().for_each(|(_, action)| queue::push(state, stream.addr(), Task::Act(action.clone())));
        state.note(format!("launch graph of {} in stream {}, which leaves {kept}", nodes.len(), stream.addr()));
        SUCCESS
    })
}

fn destroy(state: &mut State, handle: usize) -> u32 {
    let Some(graph) = state.graphs.remove(&handle) else { return INVALID_VALUE };
    for (address, bytes) in graph.memory {
        if let Ok(layout) = Layout::from_size_align(bytes, ALIGN) {
            queue::push(state, graph.launched_in.unwrap_or(0), Task::Free { address, layout });
        }
    }
    state.note(format!("destroy graph, {} left", graph.live.len()));
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecDestroy(program: *mut c_void) -> u32 {
    call("cuGraphExecDestroy", |state| destroy(state, program.addr()))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphDestroy(graph: *mut c_void) -> u32 {
    call("cuGraphDestroy", |state| state.graphs.remove(&graph.addr()).map_or(INVALID_VALUE, |_| SUCCESS))
}
