//! A graph of the backend's operations: tensors by number, and what is computed of them.

use super::bound::Role;
use super::calls::Calls;
use super::descriptor::{Descriptor, Failure};
use super::shape::{AttentionShape, Form};
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type, cudnnBackendDescriptorType_t as Kind,
    cudnnDataType_t as Data, cudnnHandle_t, cudnnPointwiseMode_t as Mode, cudnnReduceTensorOp_t as Sum,
};
use std::sync::Arc;
use storage::DType;

/// Bytes that every tensor's address is a multiple of.
const ALIGNMENT: i64 = 16;

/// A tensor of a graph, by its place in it; its number for the library is one more.
#[derive(Clone, Copy)]
pub(super) struct Tensor(usize);

/// Operations in the order in which they were added.
pub(super) struct Graph<'a> {
    calls: &'a Arc<Calls>,
    pub shape: &'a AttentionShape,
    tensors: Vec<Descriptor>,
    /// What operations do, which lives as long as they.
    kinds: Vec<Descriptor>,
    operations: Vec<Descriptor>,
    bound: Vec<(Role, i64)>,
}

/// A finished graph.
pub(super) struct Built {
    pub graph: Descriptor,
    /// What has memory or a number, and by which number the library knows it.
    pub bound: Vec<(Role, i64)>,
    _parts: [Vec<Descriptor>; 3],
}

/// What the library calls a type of elements.
pub(super) fn data_of(dtype: DType) -> Data {
    match dtype {
        DType::BF16 => Data::CUDNN_DATA_BFLOAT16,
        DType::F16 => Data::CUDNN_DATA_HALF,
        _ => Data::CUDNN_DATA_FLOAT,
    }
}

/// What a pointwise operation reads beside its first operand.
#[derive(Clone, Copy, Default)]
pub(super) struct Others {
    pub second: Option<Tensor>,
    /// Which of the two is taken, for a selection.
    pub mask: Option<Tensor>,
    pub axis: Option<i64>,
}

impl<'a> Graph<'a> {
    pub fn new(calls: &'a Arc<Calls>, shape: &'a AttentionShape) -> Graph<'a> {
        Graph { calls, shape, tensors: Vec::new(), kinds: Vec::new(), operations: Vec::new(), bound: Vec::new() }
    }

    fn tensor(&mut self, data: Data, form: &Form, flag: Option<Name>) -> Result<Tensor, Failure> {
        let made = Descriptor::new(self.calls, Kind::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?;
        made.set(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[data])?;
        made.set_numbers(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &form.dims)?;
        made.set_numbers(Name::CUDNN_ATTR_TENSOR_STRIDES, &form.strides)?;
        made.set_numbers(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, &[self.tensors.len() as i64 + 1])?;
        made.set_numbers(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[ALIGNMENT])?;
        flag.map_or(Ok(()), |flag| made.set_flag(flag))?;
        self.tensors.push(made.finish()?);
        Ok(Tensor(self.tensors.len() - 1))
    }

    fn bind(&mut self, role: Role, tensor: Tensor) -> Tensor {
        self.bound.push((role, tensor.0 as i64 + 1));
        tensor
    }

    /// A tensor with memory, lying as its role says.
    pub fn memory(&mut self, role: Role) -> Result<Tensor, Failure> {
        let form = role.form(self.shape).unwrap_or_else(|| Form::dense([1; 4]));
        self.memory_as(role, &form)
    }

    /// The same, seen with its last two dims swapped.
    pub fn transposed(&mut self, role: Role) -> Result<Tensor, Failure> {
        let form = role.form(self.shape).unwrap_or_else(|| Form::dense([1; 4]));
        self.memory_as(role, &form.transposed())
    }

    fn memory_as(&mut self, role: Role, form: &Form) -> Result<Tensor, Failure> {
        let made = self.tensor(data_of(role.dtype(self.shape)), form, None)?;
        Ok(self.bind(role, made))
    }

    /// A number that is told with each run.
    pub fn number(&mut self, role: Role) -> Result<Tensor, Failure> {
        let made = self.tensor(Data::CUDNN_DATA_FLOAT, &Form::dense([1; 4]), Some(Name::CUDNN_ATTR_TENSOR_IS_BY_VALUE))?;
        Ok(self.bind(role, made))
    }

    /// A tensor that only the operations see, and which may never lie in memory.
    pub fn passing(&mut self, data: Data, form: &Form) -> Result<Tensor, Failure> {
        self.tensor(data, form, Some(Name::CUDNN_ATTR_TENSOR_IS_VIRTUAL))
    }

    /// The same in f32.
    pub fn sums(&mut self, form: &Form) -> Result<Tensor, Failure> {
        self.passing(Data::CUDNN_DATA_FLOAT, form)
    }

    fn kind(&mut self, made: Descriptor) -> Result<usize, Failure> {
        self.kinds.push(made.finish()?);
        Ok(self.kinds.len() - 1)
    }

    fn operation(&mut self, kind: Kind, operands: &[(Name, Tensor)], of: Option<(Name, usize)>) -> Result<(), Failure> {
        let made = Descriptor::new(self.calls, kind)?;
        of.map_or(Ok(()), |(name, kind)| made.set_descriptor(name, &self.kinds[kind]))?;
        operands.iter().try_for_each(|(name, tensor)| made.set_descriptor(*name, &self.tensors[tensor.0]))?;
        self.operations.push(made.finish()?);
        Ok(())
    }

    /// target = left right, for each batch and head.
    pub fn matmul(&mut self, left: Tensor, right: Tensor, target: Tensor) -> Result<(), Failure> {
        let kind = Descriptor::new(self.calls, Kind::CUDNN_BACKEND_MATMUL_DESCRIPTOR)?;
        kind.set(Name::CUDNN_ATTR_MATMUL_COMP_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[Data::CUDNN_DATA_FLOAT])?;
        let kind = self.kind(kind)?;
        let operands = [
            (Name::CUDNN_ATTR_OPERATION_MATMUL_ADESC, left),
            (Name::CUDNN_ATTR_OPERATION_MATMUL_BDESC, right),
            (Name::CUDNN_ATTR_OPERATION_MATMUL_CDESC, target),
        ];
        self.operation(Kind::CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, &operands, Some((Name::CUDNN_ATTR_OPERATION_MATMUL_DESC, kind)))
    }

    /// target = mode(first, …), element by element.
    pub fn pointwise(&mut self, mode: Mode, first: Tensor, others: Others, target: Tensor) -> Result<(), Failure> {
        let kind = Descriptor::new(self.calls, Kind::CUDNN_BACKEND_POINTWISE_DESCRIPTOR)?;
        let compares = matches!(mode, Mode::CUDNN_POINTWISE_CMP_GE | Mode::CUDNN_POINTWISE_CMP_GT);
        let data = if compares { Data::CUDNN_DATA_BOOLEAN } else { Data::CUDNN_DATA_FLOAT };
        kind.set(Name::CUDNN_ATTR_POINTWISE_MODE, Type::CUDNN_TYPE_POINTWISE_MODE, &[mode])?;
        kind.set(Name::CUDNN_ATTR_POINTWISE_MATH_PREC, Type::CUDNN_TYPE_DATA_TYPE, &[data])?;
        others.axis.map_or(Ok(()), |axis| kind.set_numbers(Name::CUDNN_ATTR_POINTWISE_AXIS, &[axis]))?;
        let kind = self.kind(kind)?;
        let mut operands = vec![(Name::CUDNN_ATTR_OPERATION_POINTWISE_XDESC, first), (Name::CUDNN_ATTR_OPERATION_POINTWISE_YDESC, target)];
        operands.extend(others.second.map(|second| (Name::CUDNN_ATTR_OPERATION_POINTWISE_BDESC, second)));
        operands.extend(others.mask.map(|mask| (Name::CUDNN_ATTR_OPERATION_POINTWISE_TDESC, mask)));
        let of = Some((Name::CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, kind));
        self.operation(Kind::CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, &operands, of)
    }

    /// The same of one operand, into a new f32 tensor.
    pub fn of_one(&mut self, mode: Mode, first: Tensor, form: &Form) -> Result<Tensor, Failure> {
        let target = self.sums(form)?;
        self.pointwise(mode, first, Others::default(), target)?;
        Ok(target)
    }

    /// The same of two operands.
    pub fn of_two(&mut self, mode: Mode, first: Tensor, second: Tensor, form: &Form) -> Result<Tensor, Failure> {
        let target = self.sums(form)?;
        self.pointwise(mode, first, Others { second: Some(second), ..Others::default() }, target)?;
        Ok(target)
    }

    /// Sums or maxima over the dims in which `target` has 1, or in which several of `source` share one of its.
    pub fn reduce(&mut self, how: Sum, source: Tensor, target: Tensor) -> Result<(), Failure> {
        let kind = Descriptor::new(self.calls, Kind::CUDNN_BACKEND_REDUCTION_DESCRIPTOR)?;
        kind.set(Name::CUDNN_ATTR_REDUCTION_COMP_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[Data::CUDNN_DATA_FLOAT])?;
        kind.set(Name::CUDNN_ATTR_REDUCTION_OPERATOR, Type::CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, &[how])?;
        let kind = self.kind(kind)?;
        let operands = [(Name::CUDNN_ATTR_OPERATION_REDUCTION_XDESC, source), (Name::CUDNN_ATTR_OPERATION_REDUCTION_YDESC, target)];
        let of = Some((Name::CUDNN_ATTR_OPERATION_REDUCTION_DESC, kind));
        self.operation(Kind::CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, &operands, of)
    }

    /// The same elements in other dims.
    pub fn reshape(&mut self, source: Tensor, target: Tensor) -> Result<(), Failure> {
        let operands = [(Name::CUDNN_ATTR_OPERATION_RESHAPE_XDESC, source), (Name::CUDNN_ATTR_OPERATION_RESHAPE_YDESC, target)];
        self.operation(Kind::CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, &operands, None)
    }

    /// For a handle, or for a device that is not there.
    pub fn build(self, handle: Option<cudnnHandle_t>) -> Result<Built, Failure> {
        let graph = Descriptor::new(self.calls, Kind::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?;
        if let Some(handle) = handle {
            graph.set(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, Type::CUDNN_TYPE_HANDLE, &[handle])?;
        }
        let operations: Vec<_> = self.operations.iter().map(|operation| operation.raw).collect();
        graph.set(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, &operations)?;
        Ok(Built { graph: graph.finish()?, bound: self.bound, _parts: [self.operations, self.kinds, self.tensors] })
    }
}
