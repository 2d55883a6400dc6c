//! Streams as queues: what is asked of a stream waits there for its turn, and for what the stream was told to wait for.
//!
//! Every call of the driver lets all streams go as far as they can. With `lazy=1` a stream goes on only when somebody asks for what is in
//! it, and with it those that it was told to wait for: an order that nobody has written out then shows as a wrong result. With `busy=1`
//! whoever only asks whether something is done hears that it is not: all who need it have to wait, and are counted.

use crate::graph::{self, Action, perform};
use crate::state::{State, state};
use std::alloc::{Layout, dealloc};
use std::collections::{BTreeMap, VecDeque};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// Between two looks of a thread that waits.
const PAUSE: Duration = Duration::from_micros(100);

/// A point in a stream.
pub struct Point {
    stream: usize,
    is_passed: AtomicBool,
}

impl Point {
    pub fn new(stream: usize, is_passed: bool) -> Arc<Point> {
        Arc::new(Point { stream, is_passed: AtomicBool::new(is_passed) })
    }

    pub fn is_passed(&self) -> bool {
        self.is_passed.load(SeqCst)
    }
}

/// Whether another library has done what the ticket stands for. Called until it has.
pub type Visit = extern "C" fn(usize) -> bool;

/// What stands in a queue.
pub enum Task {
    Act(Action),
    /// Bytes that were taken from memory of the host which is not pinned.
    Bring {
        to: u64,
        bytes: Vec<u8>,
    },
    Free {
        address: u64,
        layout: Layout,
    },
    Pass(Arc<Point>),
    Wait(Arc<Point>),
    Visit(Visit, usize),
}

/// All streams in which something is left.
pub type Queues = BTreeMap<usize, VecDeque<Task>>;

pub fn push(state: &mut State, stream: usize, task: Task) {
    state.queues.entry(stream).or_default().push_back(task);
}

/// A point behind all that was asked of a stream.
pub fn mark(state: &mut State, stream: usize) -> Arc<Point> {
    let point = Point::new(stream, false);
    push(state, stream, Task::Pass(Arc::clone(&point)));
    point
}

/// The point behind what is left in a stream; None where nothing is, or where the stream is captured.
pub fn turn_of(state: &mut State, stream: usize) -> Option<Arc<Point>> {
    let is_empty = state.queues.get(&stream).is_none_or(VecDeque::is_empty);
    (!is_empty && !graph::has(state, stream) && state.sticky.is_none()).then(|| mark(state, stream))
}

/// Whether it was its turn.
fn is_done(task: &Task) -> bool {
    let host = |address: u64| ptr::with_exposed_provenance_mut::<u8>(address as usize);
    match task {
        Task::Act(action) => perform(action),
        // SAFETY: the callers of the driver promise that their memory has as many bytes.
        Task::Bring { to, bytes } => unsafe { host(*to).copy_from(bytes.as_ptr(), bytes.len()) },
        // SAFETY: it came from `alloc` with this layout.
        Task::Free { address, layout } => unsafe { dealloc(host(*address), *layout) },
        Task::Pass(point) => point.is_passed.store(true, SeqCst),
        Task::Wait(point) => return point.is_passed(),
        Task::Visit(visit, ticket) => return visit(*ticket),
    }
    true
}

/// Lets a stream go on until something has to wait, or `until` is passed. Whether anything was done.
fn run(state: &mut State, stream: usize, until: Option<&Point>) -> bool {
    let mut has_moved = false;
    while let Some(queue) = state.queues.get_mut(&stream).filter(|_| !until.is_some_and(Point::is_passed)) {
        if !queue.front().is_none_or(is_done) {
            break;
        }
        if queue.pop_front().is_none() {
            state.queues.remove(&stream);
            break;
        }
        has_moved = true;
    }
    has_moved
}

/// Lets all streams that are not held go as far as they can.
pub fn advance(state: &mut State) {
    let mut has_moved = !state.settings.is_lazy && !state.settings.is_busy;
    while has_moved {
        let streams: Vec<usize> = state.queues.keys().copied().filter(|stream| !state.held.contains(stream)).collect();
        has_moved = streams.into_iter().fold(false, |moved, stream| run(state, stream, None) | moved);
    }
}

/// Lets a stream go on to a point, and before it those that it waits for; those that are held only where somebody waits.
pub fn press(state: &mut State, point: &Point, waits: bool) {
    press_on(state, point, waits, &mut Vec::new());
}

fn press_on(state: &mut State, point: &Point, waits: bool, trail: &mut Vec<usize>) {
    let stream = point.stream;
    if trail.contains(&stream) || (state.held.contains(&stream) && !waits) {
        return;
    }
    trail.push(stream);
    loop {
        run(state, stream, Some(point));
        let Some(Task::Wait(other)) = state.queues.get(&stream).and_then(|queue| queue.front()) else { break };
        let other = Arc::clone(other);
        if point.is_passed() {
            break;
        }
        press_on(state, &other, waits, trail);
        if !other.is_passed() {
            break;
        }
    }
    trail.pop();
}

/// Waits on this thread until a point is passed. The state is free meanwhile.
pub fn wait_for(point: &Point) {
    loop {
        let mut held = state();
        press(&mut held, point, true);
        advance(&mut held);
        drop(held);
        if point.is_passed() {
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// Where another library puts its work into a stream. It must not hold a lock that `visit` takes.
#[unsafe(no_mangle)]
pub extern "C" fn fake_cuda_visit(stream: usize, visit: Visit, ticket: usize) {
    let mut state = state();
    if graph::has(&state, stream) {
        // A graph that is captured asks as often as it is launched: the ticket must stand for work that is done at once, and again.
        let again = Arc::new(move || _ = visit(ticket));
        graph::ask(&mut state, stream, "work of a library".into(), Action::Run(again));
        return;
    }
    push(&mut state, stream, Task::Visit(visit, ticket));
    advance(&mut state);
}
