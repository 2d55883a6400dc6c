//! With P = exp(scale q k^T - lse) and delta = sum(out grad) of each row: dV = P^T grad, dS = scale P (grad V^T - delta), dK = dS^T Q,
//! dQ = dS K, in the operations by which the library knows the gradients of an attention.

use super::bound::Role;
use super::descriptor::Failure;
use super::graph::{Graph, Others, Tensor, data_of};
use super::scores::hide;
use super::shape::Form;
use cudarc::cudnn::sys::{cudnnPointwiseMode_t as Mode, cudnnReduceTensorOp_t as Sum};

fn beside(second: Tensor) -> Others {
    Others { second: Some(second), ..Others::default() }
}

pub(super) fn backward(graph: &mut Graph, is_fixed: bool) -> Result<(), Failure> {
    let (rows, scores) = (graph.shape.rows_form(), graph.shape.scores());
    let (query, key, value) = (graph.memory(Role::Query)?, graph.transposed(Role::Key)?, graph.transposed(Role::Value)?);
    let (out, lse, grad) = (graph.memory(Role::Out)?, graph.memory(Role::Lse)?, graph.memory(Role::Grad)?);
    let (scale, one) = (graph.number(Role::Scale)?, graph.number(Role::One)?);

    // delta
    let products = graph.of_two(Mode::CUDNN_POINTWISE_MUL, grad, out, &graph.shape.dense_query())?;
    let sums = graph.sums(&rows)?;
    graph.reduce(Sum::CUDNN_REDUCE_TENSOR_ADD, products, sums)?;
    let delta = graph.memory(Role::Delta)?;
    graph.pointwise(Mode::CUDNN_POINTWISE_MUL, sums, beside(one), delta)?;

    // P, and dV
    let raw = graph.sums(&scores)?;
    graph.matmul(query, key, raw)?;
    let scaled = graph.of_two(Mode::CUDNN_POINTWISE_MUL, raw, scale, &scores)?;
    let shifted = graph.of_two(Mode::CUDNN_POINTWISE_SUB, scaled, lse, &scores)?;
    let seen = hide(graph, shifted)?;
    let shares = graph.of_one(Mode::CUDNN_POINTWISE_EXP, seen, &scores)?;
    gradient_of_keys(graph, shares, grad, Role::ValueGrad)?;

    // dS, and dK
    let raw = graph.sums(&scores)?;
    graph.matmul(grad, value, raw)?;
    let centred = graph.of_two(Mode::CUDNN_POINTWISE_SUB, raw, delta, &scores)?;
    let weighed = graph.of_two(Mode::CUDNN_POINTWISE_MUL, centred, shares, &scores)?;
    let slopes = graph.of_two(Mode::CUDNN_POINTWISE_MUL, weighed, scale, &scores)?;
    gradient_of_keys(graph, slopes, query, Role::KeyGrad)?;

    // dQ
    let upright = graph.sums(&graph.shape.key())?;
    graph.reshape(key, upright)?;
    let made = graph.memory(Role::QueryGrad)?;
    if is_fixed {
        return graph.matmul(slopes, upright, made);
    }
    let sum = graph.memory(Role::Sum)?;
    graph.matmul(slopes, upright, sum)?;
    graph.pointwise(Mode::CUDNN_POINTWISE_IDENTITY, sum, Others::default(), made)
}

/// scores^T rows, summed over the query heads of each key head.
fn gradient_of_keys(graph: &mut Graph, scores: Tensor, rows: Tensor, role: Role) -> Result<(), Failure> {
    let (data, dense) = (data_of(graph.shape.dtype), graph.shape.dense_key());
    let turned = graph.passing(data, &turned(&graph.shape.scores()))?;
    graph.reshape(scores, turned)?;
    let made = graph.memory(role)?;
    if graph.shape.heads == graph.shape.key_heads {
        return graph.matmul(turned, rows, made);
    }
    let of_heads = graph.passing(data, &dense)?;
    graph.matmul(turned, rows, of_heads)?;
    graph.reduce(Sum::CUDNN_REDUCE_TENSOR_ADD, of_heads, made)
}

fn turned(scores: &Form) -> Form {
    scores.transposed()
}
