//! cuDNN's backend: descriptors are held against what they need when they are finished, and a graph of operations is carried out one by one
//! on the host's memory, each result rounded to the type of its tensor. The library fuses such graphs only where it knows their pattern: that
//! ours are known to it is for the library itself to show, not for this.

mod calls;
mod check;
mod compute;
mod descriptor;
mod graph;
mod run;
mod tensor;

pub const BAD_PARAM: u32 = 2000;
pub const NOT_FINALIZED: u32 = 2004;
pub const SHAPE_MISMATCH: u32 = 2008;
pub const NOT_SUPPORTED: u32 = 3000;

/// What a call was refused with, and the library's words.
pub type Refusal = (u32, String);

pub fn refuse<T>(status: u32, words: impl Into<String>) -> Result<T, Refusal> {
    Err((status, words.into()))
}

/// Kinds of descriptors.
pub mod kind {
    pub const POINTWISE: u32 = 0;
    pub const ENGINE_CONFIG: u32 = 3;
    pub const HEURISTIC: u32 = 4;
    pub const PLAN: u32 = 5;
    pub const OF_POINTWISE: u32 = 13;
    pub const GRAPH: u32 = 15;
    pub const PACK: u32 = 16;
    pub const TENSOR: u32 = 17;
    pub const MATMUL: u32 = 18;
    pub const OF_MATMUL: u32 = 19;
    pub const REDUCTION: u32 = 21;
    pub const OF_REDUCTION: u32 = 22;
    pub const OF_RESHAPE: u32 = 31;
    pub const PROPERTIES: u32 = 38;
}

/// Types of attributes.
pub mod of {
    pub const HANDLE: u32 = 0;
    pub const DATA_TYPE: u32 = 1;
    pub const BOOLEAN: u32 = 2;
    pub const INT64: u32 = 3;
    pub const POINTER: u32 = 6;
    pub const HEURISTIC: u32 = 8;
    pub const POINTWISE: u32 = 14;
    pub const DESCRIPTOR: u32 = 15;
    pub const REDUCTION: u32 = 18;
    pub const CHAR: u32 = 24;
}
