//! What a descriptor needs before it is finished.

use super::descriptor::Finished;
use super::graph::Graph;
use super::tensor::Tensor;
use super::{BAD_PARAM, NOT_SUPPORTED, Refusal, kind, of, refuse};

pub const OF_GRAPH: u32 = 201;
pub const ENGINE_CONFIG: u32 = 401;
const DEVICE_OF_PLAN: u32 = 407;
/// What stands for the graph in an engine's configuration: the fake's own, since nobody sets it.
pub const CONFIGURED: u32 = 1_000_000;
/// The best heuristic.
const MODE_A: u64 = 3;
/// Channels of a head: a multiple of this, and at most so many in each pass, on Hopper and elsewhere.
const CHANNELS: usize = 8;
const MOST: usize = 256;
const MOST_BACKWARD: usize = 128;
const HOPPER: i32 = 90;

/// Holds it against what its kind needs; `capability` is that of the device.
pub fn check(finished: &Finished, capability: i32) -> Result<(), Refusal> {
    match finished.kind {
        kind::TENSOR => Tensor::of(finished).map(|_| ()),
        kind::POINTWISE => finished.word(0, of::POINTWISE).and(finished.word(1, of::DATA_TYPE)).map(|_| ()),
        kind::MATMUL => finished.word(1500, of::DATA_TYPE).map(|_| ()),
        kind::REDUCTION => finished.word(1600, of::REDUCTION).and(finished.word(1601, of::DATA_TYPE)).map(|_| ()),
        kind::OF_MATMUL | kind::OF_POINTWISE | kind::OF_REDUCTION | kind::OF_RESHAPE => alone(finished),
        kind::GRAPH => Graph::of(finished).map(|_| ()),
        kind::HEURISTIC => match (finished.other(OF_GRAPH, kind::GRAPH), finished.word(200, of::HEURISTIC)?) {
            (Err(refusal), _) => Err(refusal),
            (Ok(_), MODE_A) => Ok(()),
            (Ok(_), other) => refuse(NOT_SUPPORTED, format!("heuristic {other}")),
        },
        kind::PLAN => {
            match finished.has(DEVICE_OF_PLAN) {
                true => _ = finished.other(DEVICE_OF_PLAN, kind::PROPERTIES)?,
                false => _ = finished.word(400, of::HANDLE)?,
            }
            supported(&graph_of_plan(finished)?, capability)
        }
        kind::PROPERTIES => match finished.words(2702, of::CHAR)?.last() {
            Some(0) => Ok(()),
            _ => refuse(BAD_PARAM, "a text does not end with a zero"),
        },
        kind::PACK => {
            let (numbers, places) = (finished.words(1000, of::INT64)?, finished.words(1001, of::POINTER)?);
            finished.word(1003, of::POINTER)?;
            if numbers.len() == places.len() { Ok(()) } else { refuse(BAD_PARAM, "tensors and places are not as many") }
        }
        other => refuse(BAD_PARAM, format!("descriptors of kind {other} are not finished")),
    }
}

/// An operation by itself: a graph of nothing else would be refused for what comes before and after it.
fn alone(finished: &Finished) -> Result<(), Refusal> {
    let others = finished.attributes.values().filter_map(|(_, value)| match value {
        super::descriptor::Value::Descriptors(others) => Some(others),
        super::descriptor::Value::Words(_) => None,
    });
    others.flatten().filter(|other| other.kind == kind::TENSOR).try_for_each(|tensor| Tensor::of(tensor).map(|_| ()))
}

/// The graph that a plan was made for.
pub fn graph_of_plan(plan: &Finished) -> Result<Graph, Refusal> {
    let config = plan.other(ENGINE_CONFIG, kind::ENGINE_CONFIG)?;
    Graph::of(config.other(CONFIGURED, kind::GRAPH)?)
}

/// As devices have it: heads up to some width, and less in backward passes where the generation has less room.
fn supported(graph: &Graph, capability: i32) -> Result<(), Refusal> {
    let ([.., channels], _, is_backward) = graph.extents();
    let most = if is_backward && capability != HOPPER { MOST_BACKWARD } else { MOST };
    if channels % CHANNELS != 0 || channels > most {
        return refuse(NOT_SUPPORTED, format!("Reason: heads of {channels} channels"));
    }
    Ok(())
}
