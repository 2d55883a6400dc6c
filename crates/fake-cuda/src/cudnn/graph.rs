//! A graph of operations, read from its descriptors and held against itself.

use super::descriptor::Finished;
use super::tensor::{BOOLEAN, FLOAT, Tensor};
use super::{BAD_PARAM, NOT_SUPPORTED, Refusal, SHAPE_MISMATCH, kind, of, refuse};
use std::collections::HashMap;

pub const OPERATIONS: u32 = 801;
const MODE: u32 = 0;
const PRECISION: u32 = 1;
const AXIS: u32 = 9;

/// What a pointwise operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Add,
    Mul,
    Div,
    Sub,
    Exp,
    Log,
    Identity,
    Greater,
    AtLeast,
    Index(usize),
    Select,
}

/// One operation, with its operands and then its result by their numbers.
#[derive(Clone, Debug)]
pub enum Operation {
    Matmul([u64; 3]),
    /// One, two or three operands: first, second, mask.
    Pointwise(Mode, Vec<u64>, u64),
    /// Whether the greatest is taken, and not the sum.
    Reduce(bool, [u64; 2]),
    Reshape([u64; 2]),
}

impl Operation {
    pub fn operands(&self) -> Vec<u64> {
        match self {
            Operation::Matmul([left, right, _]) => vec![*left, *right],
            Operation::Pointwise(_, operands, _) => operands.clone(),
            Operation::Reduce(_, [source, _]) | Operation::Reshape([source, _]) => vec![*source],
        }
    }

    pub fn result(&self) -> u64 {
        match self {
            Operation::Pointwise(_, _, result) => *result,
            Operation::Matmul([.., result]) | Operation::Reduce(_, [_, result]) | Operation::Reshape([_, result]) => *result,
        }
    }
}

/// Operations in their order, and their tensors.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub tensors: HashMap<u64, Tensor>,
    pub operations: Vec<Operation>,
}

/// The attributes of an operation that are its operands, and the one that is its result.
fn mode_of(kind: &Finished) -> Result<(Mode, usize), Refusal> {
    let precision = kind.word(PRECISION, of::DATA_TYPE)?;
    let (mode, operands, wanted) = match kind.word(MODE, of::POINTWISE)? {
        0 => (Mode::Add, 2, FLOAT),
        1 => (Mode::Mul, 2, FLOAT),
        6 => (Mode::Div, 2, FLOAT),
        9 => (Mode::Sub, 2, FLOAT),
        13 => (Mode::Exp, 1, FLOAT),
        15 => (Mode::Log, 1, FLOAT),
        21 => (Mode::Identity, 1, FLOAT),
        302 => (Mode::Greater, 2, BOOLEAN),
        303 => (Mode::AtLeast, 2, BOOLEAN),
        501 => (Mode::Index(kind.word(AXIS, of::INT64)? as usize), 1, FLOAT),
        601 => (Mode::Select, 3, FLOAT),
        other => return refuse(NOT_SUPPORTED, format!("pointwise mode {other}")),
    };
    if precision != wanted { refuse(BAD_PARAM, format!("{mode:?} is computed in type {precision}")) } else { Ok((mode, operands)) }
}

impl Graph {
    /// Reads and checks one.
    pub fn of(finished: &Finished) -> Result<Graph, Refusal> {
        let mut graph = Graph::default();
        let Some((_, super::descriptor::Value::Descriptors(operations))) = finished.attributes.get(&OPERATIONS) else {
            return refuse(BAD_PARAM, "a graph has no operations");
        };
        for operation in operations {
            let made = graph.operation(operation)?;
            graph.fits(&made)?;
            graph.operations.push(made);
        }
        graph.follows()?;
        Ok(graph)
    }

    /// The tensor that an attribute refers to.
    fn tensor(&mut self, operation: &Finished, attribute: u32) -> Result<u64, Refusal> {
        let tensor = Tensor::of(operation.other(attribute, kind::TENSOR)?)?;
        let number = tensor.number;
        match self.tensors.insert(number, tensor) {
            Some(other) if other != self.tensors[&number] => refuse(BAD_PARAM, format!("there are two tensors {number}")),
            _ => Ok(number),
        }
    }

    fn operation(&mut self, operation: &Finished) -> Result<Operation, Refusal> {
        match operation.kind {
            kind::OF_MATMUL => {
                let precision = operation.other(1523, kind::MATMUL)?.word(1500, of::DATA_TYPE)?;
                if precision != FLOAT {
                    return refuse(NOT_SUPPORTED, format!("products in type {precision}"));
                }
                Ok(Operation::Matmul([self.tensor(operation, 1520)?, self.tensor(operation, 1521)?, self.tensor(operation, 1522)?]))
            }
            kind::OF_POINTWISE => {
                let (mode, count) = mode_of(operation.other(750, kind::POINTWISE)?)?;
                let operands: Result<Vec<u64>, Refusal> = [751, 752, 758][..count].iter().map(|&at| self.tensor(operation, at)).collect();
                Ok(Operation::Pointwise(mode, operands?, self.tensor(operation, 753)?))
            }
            kind::OF_REDUCTION => {
                let how = operation.other(1612, kind::REDUCTION)?;
                let is_most = match (how.word(1600, of::REDUCTION)?, how.word(1601, of::DATA_TYPE)?) {
                    (0, FLOAT) => false,
                    (3, FLOAT) => true,
                    (other, _) => return refuse(NOT_SUPPORTED, format!("reduction {other}")),
                };
                Ok(Operation::Reduce(is_most, [self.tensor(operation, 1610)?, self.tensor(operation, 1611)?]))
            }
            kind::OF_RESHAPE => Ok(Operation::Reshape([self.tensor(operation, 2200)?, self.tensor(operation, 2201)?])),
            other => refuse(NOT_SUPPORTED, format!("operations of kind {other}")),
        }
    }

    /// Whether an operation's operands fit its result.
    fn fits(&self, operation: &Operation) -> Result<(), Refusal> {
        let result = &self.tensors[&operation.result()];
        let operands: Vec<&Tensor> = operation.operands().iter().map(|number| &self.tensors[number]).collect();
        let fits = match operation {
            Operation::Matmul(_) => {
                let ([b, h, m, k], [b2, h2, k2, n]) = (operands[0].dims, operands[1].dims);
                (b, k) == (b2, k2) && h % h2 == 0 && result.dims == [b, h, m, n]
            }
            Operation::Pointwise(..) => {
                let spreads = |operand: &&Tensor| operand.dims.iter().zip(&result.dims).all(|(own, dim)| own == dim || *own == 1);
                operands.iter().all(spreads)
            }
            Operation::Reduce(..) => operands[0].dims.iter().zip(&result.dims).all(|(own, dim)| own % dim == 0),
            // The same memory by other strides: here, the last two dims swapped.
            Operation::Reshape(_) => {
                let swap = |[a, b, c, d]: [usize; 4]| [a, b, d, c];
                operands[0].dims == swap(result.dims) && operands[0].strides == swap(result.strides)
            }
        };
        if fits { Ok(()) } else { refuse(SHAPE_MISMATCH, format!("{operation:?} has operands {operands:?} and result {result:?}")) }
    }

    /// Whether every tensor is made once, before it is read, and only memory is left unread.
    fn follows(&self) -> Result<(), Refusal> {
        let (mut made, mut read): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        for operation in &self.operations {
            for number in operation.operands() {
                let is_there = !self.tensors[&number].is_passing || made.contains(&number);
                if !is_there {
                    return refuse(BAD_PARAM, format!("tensor {number} is read before it is made"));
                }
                read.push(number);
            }
            let result = operation.result();
            if made.contains(&result) || self.tensors[&result].is_by_value {
                return refuse(BAD_PARAM, format!("tensor {result} is made twice, or by value"));
            }
            made.push(result);
        }
        match self.tensors.values().find(|tensor| tensor.is_passing && !read.contains(&tensor.number)) {
            Some(tensor) => refuse(BAD_PARAM, format!("nobody reads tensor {}", tensor.number)),
            None => Ok(()),
        }
    }

    /// Queries, keys, channels, and whether it has gradients: what the products are of.
    pub fn extents(&self) -> ([usize; 4], usize, bool) {
        let products: Vec<&[u64; 3]> =
            self.operations.iter().filter_map(|one| if let Operation::Matmul(all) = one { Some(all) } else { None }).collect();
        let first = products.first().map(|product| (self.tensors[&product[0]].dims, self.tensors[&product[1]].dims[3]));
        let (query, keys) = first.unwrap_or(([0; 4], 0));
        (query, keys, products.len() > 2)
    }
}
