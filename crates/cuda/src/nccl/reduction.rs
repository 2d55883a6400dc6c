//! How elements are combined, and what NCCL calls their types.

use cudarc::nccl::sys::{ncclDataType_t, ncclRedOp_t};
use storage::DType;

/// How the elements of the ranks are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    Sum,
    Average,
    Maximum,
    Minimum,
    Product,
}

impl Reduction {
    pub(super) fn raw(self) -> ncclRedOp_t {
        match self {
            Reduction::Sum => ncclRedOp_t::ncclSum,
            Reduction::Average => ncclRedOp_t::ncclAvg,
            Reduction::Maximum => ncclRedOp_t::ncclMax,
            Reduction::Minimum => ncclRedOp_t::ncclMin,
            Reduction::Product => ncclRedOp_t::ncclProd,
        }
    }
}

pub(super) fn raw_type(dtype: DType) -> ncclDataType_t {
    match dtype {
        DType::F32 => ncclDataType_t::ncclFloat32,
        DType::BF16 => ncclDataType_t::ncclBfloat16,
        DType::F16 => ncclDataType_t::ncclFloat16,
        DType::F64 => ncclDataType_t::ncclFloat64,
        DType::I32 => ncclDataType_t::ncclInt32,
        DType::I64 => ncclDataType_t::ncclInt64,
        DType::U8 => ncclDataType_t::ncclUint8,
    }
}
