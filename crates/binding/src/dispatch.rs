//! From a dtype to the Rust type that its elements are read as.

use storage::DType;

/// The sentence for a dtype that an operation does not take.
pub fn refused(dtype: DType, wanted: &str) -> String {
    format!("a tensor of {} is not taken. Cast it to {wanted} first.", dtype.name())
}

/// Evaluates `$body` with `$type` as f32, or as u16 for the bits of bf16.
macro_rules! for_values {
    ($dtype:expr, $type:ident => $body:expr) => {
        match $dtype {
            storage::DType::F32 => {
                type $type = f32;
                $body
            }
            storage::DType::BF16 => {
                type $type = u16;
                $body
            }
            dtype => Err($crate::dispatch::refused(dtype, "f32 or bf16")),
        }
    };
}
pub(crate) use for_values;

/// Evaluates `$body` with `$type` as f32, f64, or u16 for the bits of bf16.
macro_rules! for_floats {
    ($dtype:expr, $type:ident => $body:expr) => {
        match $dtype {
            storage::DType::F32 => {
                type $type = f32;
                $body
            }
            storage::DType::F64 => {
                type $type = f64;
                $body
            }
            storage::DType::BF16 => {
                type $type = u16;
                $body
            }
            dtype => Err($crate::dispatch::refused(dtype, "f32, f64 or bf16")),
        }
    };
}
pub(crate) use for_floats;

/// Evaluates `$body` with `$type` as an integer type.
macro_rules! for_integers {
    ($dtype:expr, $type:ident => $body:expr) => {
        match $dtype {
            storage::DType::I32 => {
                type $type = i32;
                $body
            }
            storage::DType::I64 => {
                type $type = i64;
                $body
            }
            storage::DType::U8 => {
                type $type = u8;
                $body
            }
            dtype => Err($crate::dispatch::refused(dtype, "f32, f64, bf16, i32, i64 or u8")),
        }
    };
}
pub(crate) use for_integers;

/// Evaluates `$body` with `$type` as f32, f64, bf16 or an integer type.
macro_rules! for_numbers {
    ($dtype:expr, $type:ident => $body:expr) => {
        match $dtype {
            storage::DType::F32 | storage::DType::F64 | storage::DType::BF16 => $crate::dispatch::for_floats!($dtype, $type => $body),
            _ => $crate::dispatch::for_integers!($dtype, $type => $body),
        }
    };
}
pub(crate) use for_numbers;

/// Evaluates `$body` with `$type` as the bits of any dtype.
macro_rules! for_all {
    ($dtype:expr, $type:ident => $body:expr) => {
        match $dtype {
            storage::DType::BF16 | storage::DType::F16 => {
                type $type = u16;
                $body
            }
            _ => $crate::dispatch::for_numbers!($dtype, $type => $body),
        }
    };
}
pub(crate) use for_all;
