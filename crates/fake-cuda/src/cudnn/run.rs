//! A plan's run: what it is given is held against its graph, and carried out when the stream comes to it.

use super::check::graph_of_plan;
use super::compute::{Values, compute};
use super::descriptor::{Descriptor, Finished};
use super::graph::Graph;
use super::{BAD_PARAM, NOT_FINALIZED, Refusal, of, refuse};
use std::collections::HashMap;
use std::ptr;

/// Working memory of the library's own, for each pass. All of it is written, so that one that overlaps something shows.
const WORKSPACE: [usize; 2] = [256, 4096];

pub fn workspace_of(graph: &Graph) -> usize {
    WORKSPACE[usize::from(graph.extents().2)]
}

/// What waits for its turn.
pub struct Ticket {
    graph: Graph,
    /// Where tensors with memory lie.
    places: HashMap<u64, usize>,
    numbers: Values,
    workspace: usize,
}

fn finished(descriptor: *const Descriptor) -> Result<std::sync::Arc<Finished>, Refusal> {
    // SAFETY: callers of the library promise that it is one of its descriptors, or none.
    let finished = unsafe { descriptor.as_ref() }.and_then(|descriptor| descriptor.finished.clone());
    finished.map_or_else(|| refuse(NOT_FINALIZED, "a plan or a pack is not finished"), Ok)
}

/// The ticket, and a line for the log.
pub fn prepare(plan: *const Descriptor, pack: *const Descriptor) -> Result<(Ticket, String), Refusal> {
    let (graph, pack) = (graph_of_plan(&*finished(plan)?)?, finished(pack)?);
    let (numbers, places) = (pack.words(1000, of::INT64)?, pack.words(1001, of::POINTER)?);
    let told: HashMap<u64, usize> = numbers.iter().copied().zip(places.iter().map(|&place| place as usize)).collect();
    let workspace = pack.word(1003, of::POINTER)? as usize;
    let mut ticket = Ticket { places: HashMap::new(), numbers: HashMap::new(), workspace, graph };
    for tensor in ticket.graph.tensors.values().filter(|tensor| !tensor.is_passing) {
        let place = told.get(&tensor.number).copied().unwrap_or(0);
        let is_aligned = tensor.is_by_value || place % tensor.alignment == 0;
        if place == 0 || !is_aligned {
            return refuse(BAD_PARAM, format!("tensor {} has no place, or one that is no multiple of its alignment", tensor.number));
        }
        if tensor.is_by_value {
            // Numbers are the host's, and read at once.
            // SAFETY: callers of the library promise that one lies there.
            let value = unsafe { ptr::with_exposed_provenance::<f32>(place).read() };
            ticket.numbers.insert(tensor.number, vec![value]);
        } else {
            ticket.places.insert(tensor.number, place);
        }
    }
    let ([batch, heads, queries, channels], keys, is_backward) = ticket.graph.extents();
    let (count, pass) = (ticket.graph.operations.len(), if is_backward { "backward" } else { "forward" });
    Ok((ticket, format!("{pass} b{batch} h{heads} q{queries} k{keys} d{channels} of {count} operations")))
}

pub extern "C" fn carry_out(ticket: usize) -> bool {
    // SAFETY: the ticket came from `into_raw`, and its turn comes once.
    let ticket = unsafe { Box::from_raw(ptr::with_exposed_provenance_mut::<Ticket>(ticket)) };
    compute_for(&ticket);
    true
}

/// Of a graph of the driver, which may be launched as long as the process lives: so long does the ticket.
pub extern "C" fn carry_out_again(ticket: usize) -> bool {
    // SAFETY: the ticket came from `into_raw`, and nobody ends it.
    compute_for(unsafe { &*ptr::with_exposed_provenance::<Ticket>(ticket) });
    true
}

fn compute_for(ticket: &Ticket) {
    let Ticket { graph, places, numbers, workspace } = ticket;
    let made: Vec<u64> = graph.operations.iter().map(super::graph::Operation::result).collect();
    let mut values = numbers.clone();
    // SAFETY: callers of the library promise that every tensor lies in its memory, and that there is as much workspace as was told.
    unsafe {
        ptr::with_exposed_provenance_mut::<u8>(*workspace).write_bytes(0xff, workspace_of(graph));
        for (number, place) in places.iter().filter(|(number, _)| !made.contains(number)) {
            values.insert(*number, graph.tensors[number].load(*place));
        }
        compute(graph, &mut values);
        for (number, place) in places.iter().filter(|(number, _)| made.contains(number)) {
            graph.tensors[number].store(*place, &values[number]);
        }
    }
}
