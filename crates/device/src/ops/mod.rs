//! For each operation how it is asked of a device. Operands lie on the device, and what is written shares no memory with what is read:
//! callers see to both.

pub mod adamw;
pub mod attention;
pub mod axpy;
pub mod bias_add;
pub mod bias_gated;
pub mod bias_gelu;
pub mod binary;
pub mod cast;
pub mod compare;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub(crate) mod expect;
pub mod fill;
pub mod first_outside;
mod fused_attention;
pub mod gather;
mod indices;
pub mod non_finite;
pub mod norm;
pub mod product;
pub mod random;
pub mod reduce;
pub mod rotary;
pub mod select;
pub mod strided;
pub mod sum_rows;
pub mod sum_squares;
pub mod unary;
mod vectors;
