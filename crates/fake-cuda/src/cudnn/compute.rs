//! The operations, one after the other, on all elements.

use super::graph::{Graph, Mode, Operation};
use super::tensor::Tensor;
use std::collections::HashMap;

/// The elements of each tensor that has any yet, row by row.
pub type Values = HashMap<u64, Vec<f32>>;

/// Computes what the operations make from what is there.
pub fn compute(graph: &Graph, values: &mut Values) {
    for operation in &graph.operations {
        let result = &graph.tensors[&operation.result()];
        let made = (0..result.len()).map(|element| result.rounded(element_of(graph, values, operation, result.index(element)))).collect();
        values.insert(result.number, made);
    }
}

fn element_of(graph: &Graph, values: &Values, operation: &Operation, at: [usize; 4]) -> f32 {
    let read = |number: &u64, at: [usize; 4]| values[number][graph.tensors[number].element(at)];
    match operation {
        Operation::Matmul([left, right, _]) => {
            let ((a, b), [batch, head, row, column]) = ((&graph.tensors[left], &graph.tensors[right]), at);
            let ([.., inner], group) = (a.dims, a.dims[1] / b.dims[1]);
            let (first, second) = (&values[left], &values[right]);
            let term = |k| {
                let (one, other) = (a.element([batch, head, row, k]), b.element([batch, head / group, k, column]));
                f64::from(first[one]) * f64::from(second[other])
            };
            (0..inner).map(term).sum::<f64>() as f32
        }
        Operation::Pointwise(mode, operands, _) => {
            let spread = |number: &u64| {
                let dims = graph.tensors[number].dims;
                read(number, [0, 1, 2, 3].map(|dim| if dims[dim] == 1 { 0 } else { at[dim] }))
            };
            pointwise(*mode, &operands.iter().map(spread).collect::<Vec<_>>(), at)
        }
        Operation::Reduce(is_most, [source, result]) => {
            let (from, to) = (&graph.tensors[source], &graph.tensors[result]);
            let parts = parts(from, to, at).into_iter().map(|at| read(source, at));
            if *is_most { parts.fold(f32::NEG_INFINITY, f32::max) } else { parts.map(f64::from).sum::<f64>() as f32 }
        }
        Operation::Reshape([source, _]) => {
            let [a, b, c, d] = at;
            read(source, [a, b, d, c])
        }
    }
}

fn pointwise(mode: Mode, operands: &[f32], at: [usize; 4]) -> f32 {
    let (first, second) = (operands[0], operands.get(1).copied().unwrap_or(0.0));
    match mode {
        Mode::Add => first + second,
        Mode::Mul => first * second,
        Mode::Div => first / second,
        Mode::Sub => first - second,
        Mode::Exp => first.exp(),
        Mode::Log => first.ln(),
        Mode::Identity => first,
        Mode::Greater => f32::from(first > second),
        Mode::AtLeast => f32::from(first >= second),
        Mode::Index(axis) => at[axis] as f32,
        Mode::Select => {
            if operands[2] != 0.0 {
                first
            } else {
                second
            }
        }
    }
}

/// The elements that one of the result is made of: neighbours, where a dim of the result is a divisor of the source's.
fn parts(from: &Tensor, to: &Tensor, at: [usize; 4]) -> Vec<[usize; 4]> {
    let groups = [0, 1, 2, 3].map(|dim| from.dims[dim] / to.dims[dim]);
    let count: usize = groups.iter().product();
    let inside = |mut part: usize| {
        let mut index = [0; 4];
        for dim in (0..4).rev() {
            index[dim] = at[dim] * groups[dim] + part % groups[dim];
            part /= groups[dim];
        }
        index
    };
    (0..count).map(inside).collect()
}
