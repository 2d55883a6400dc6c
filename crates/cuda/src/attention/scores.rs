//! Which scores count: those of hidden keys become minus infinity.

use super::bound::Role;
use super::descriptor::Failure;
use super::graph::{Graph, Others, Tensor};
use cudarc::cudnn::sys::{cudnnDataType_t as Data, cudnnPointwiseMode_t as Mode};

/// The dims of queries and keys among those of the scores.
const AXES: [i64; 2] = [2, 3];

/// Scores with those hidden that the shape hides. The library knows causal masks and windows by this very order of operations.
pub(super) fn hide(graph: &mut Graph, scores: Tensor) -> Result<Tensor, Failure> {
    let mut seen = scores;
    if graph.shape.causal {
        // Query i sees key j where i >= j.
        let [row, column] = indices(graph, seen)?;
        seen = select(graph, seen, Mode::CUDNN_POINTWISE_CMP_GE, [row, column])?;
    }
    if graph.shape.has_window {
        // And where j + window > i.
        let [row, column] = indices(graph, seen)?;
        let (window, form) = (graph.number(Role::Window)?, graph.shape.scores());
        let end = graph.of_two(Mode::CUDNN_POINTWISE_ADD, column, window, &form)?;
        seen = select(graph, seen, Mode::CUDNN_POINTWISE_CMP_GT, [end, row])?;
    }
    Ok(seen)
}

/// The numbers of each score's query and key.
fn indices(graph: &mut Graph, scores: Tensor) -> Result<[Tensor; 2], Failure> {
    let form = graph.shape.scores();
    let mut index = |axis| {
        let target = graph.passing(Data::CUDNN_DATA_INT32, &form)?;
        graph.pointwise(Mode::CUDNN_POINTWISE_GEN_INDEX, scores, Others { axis: Some(axis), ..Others::default() }, target)?;
        Ok(target)
    };
    Ok([index(AXES[0])?, index(AXES[1])?])
}

/// Scores where the comparison holds, and minus infinity elsewhere.
fn select(graph: &mut Graph, scores: Tensor, how: Mode, [first, second]: [Tensor; 2]) -> Result<Tensor, Failure> {
    let form = graph.shape.scores();
    let mask = graph.passing(Data::CUDNN_DATA_BOOLEAN, &form)?;
    graph.pointwise(how, first, Others { second: Some(second), ..Others::default() }, mask)?;
    let (hidden, target) = (graph.number(Role::Hidden)?, graph.sums(&form)?);
    let others = Others { second: Some(hidden), mask: Some(mask), axis: None };
    graph.pointwise(Mode::CUDNN_POINTWISE_BINARY_SELECT, scores, others, target)?;
    Ok(target)
}
