//! out = softmax(scale q k^T) v, and lse = ln sum exp of each row, in the operations by which the library knows an attention.

use super::bound::Role;
use super::descriptor::Failure;
use super::graph::{Graph, Others, data_of};
use super::scores::hide;
use cudarc::cudnn::sys::{cudnnPointwiseMode_t as Mode, cudnnReduceTensorOp_t as Sum};

pub(super) fn forward(graph: &mut Graph) -> Result<(), Failure> {
    let (rows, scores) = (graph.shape.rows_form(), graph.shape.scores());
    let (query, key, value) = (graph.memory(Role::Query)?, graph.transposed(Role::Key)?, graph.memory(Role::Value)?);
    let (out, lse, scale) = (graph.memory(Role::Out)?, graph.memory(Role::Lse)?, graph.number(Role::Scale)?);

    let raw = graph.sums(&scores)?;
    graph.matmul(query, key, raw)?;
    let scaled = graph.of_two(Mode::CUDNN_POINTWISE_MUL, raw, scale, &scores)?;
    let seen = hide(graph, scaled)?;

    let most = graph.sums(&rows)?;
    graph.reduce(Sum::CUDNN_REDUCE_TENSOR_MAX, seen, most)?;
    let shifted = graph.of_two(Mode::CUDNN_POINTWISE_SUB, seen, most, &scores)?;
    let weights = graph.of_one(Mode::CUDNN_POINTWISE_EXP, shifted, &scores)?;
    let total = graph.sums(&rows)?;
    graph.reduce(Sum::CUDNN_REDUCE_TENSOR_ADD, weights, total)?;
    let log = graph.of_one(Mode::CUDNN_POINTWISE_LOG, total, &rows)?;
    graph.pointwise(Mode::CUDNN_POINTWISE_ADD, most, Others { second: Some(log), ..Others::default() }, lse)?;

    let shares = graph.passing(data_of(graph.shape.dtype), &scores)?;
    graph.pointwise(Mode::CUDNN_POINTWISE_DIV, weights, Others { second: Some(total), ..Others::default() }, shares)?;
    graph.matmul(shares, value, out)
}
