//! Data that depends on rank and place alone, and what operations make of it: one element at a time, in rank order.

use super::{bits, number};
use kernels::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use megatron_comm::ReduceOp;
use storage::{DType, Span};

/// An element's bytes, in the first of these.
pub type Element = [u8; 8];

fn padded<const N: usize>(bytes: [u8; N]) -> Element {
    let mut element = [0; 8];
    element[..N].copy_from_slice(&bytes);
    element
}

/// Element `place` of what `rank` brings.
pub fn element(dtype: DType, rank: u32, place: usize) -> Element {
    let x = number(rank, place);
    match dtype {
        DType::F32 => padded((x as f32).to_le_bytes()),
        DType::F64 => padded(x.to_le_bytes()),
        DType::BF16 => padded(f32_to_bf16(x as f32).to_le_bytes()),
        DType::F16 => padded(f32_to_f16(x as f32).to_le_bytes()),
        DType::I32 => padded((bits(rank, place) as i32).to_le_bytes()),
        DType::I64 => padded((bits(rank, place) as i64).to_le_bytes()),
        DType::U8 => padded([bits(rank, place) as u8]),
    }
}

fn fold<T: Copy + PartialOrd>(op: ReduceOp, values: impl Iterator<Item = T>, add: fn(T, T) -> T, product: fn(T, T) -> T) -> T {
    let combine = |a, b| match op {
        ReduceOp::Sum | ReduceOp::Avg => add(a, b),
        ReduceOp::Product => product(a, b),
        ReduceOp::Max => {
            if a >= b {
                a
            } else {
                b
            }
        }
        ReduceOp::Min => {
            if a <= b {
                a
            } else {
                b
            }
        }
    };
    values.reduce(combine).unwrap()
}

/// The reduction of element `place` over `ranks`, in their order.
pub fn reduced(dtype: DType, op: ReduceOp, ranks: &[u32], place: usize) -> Element {
    let count = ranks.len();
    let over = if op == ReduceOp::Avg { count } else { 1 };
    let elements = ranks.iter().map(|&rank| element(dtype, rank, place));
    let halves = |widen: fn(u16) -> f32| -> f32 {
        let values = ranks.iter().map(|&rank| element(dtype, rank, place)).map(|e| widen(u16::from_le_bytes([e[0], e[1]])));
        fold(op, values, |a, b| a + b, |a, b| a * b) / over as f32
    };
    match dtype {
        DType::F32 => {
            let values = elements.map(|e| f32::from_le_bytes([e[0], e[1], e[2], e[3]]));
            padded((fold(op, values, |a, b| a + b, |a, b| a * b) / over as f32).to_le_bytes())
        }
        DType::F64 => padded((fold(op, elements.map(f64::from_le_bytes), |a, b| a + b, |a, b| a * b) / over as f64).to_le_bytes()),
        DType::BF16 => padded(f32_to_bf16(halves(bf16_to_f32)).to_le_bytes()),
        DType::F16 => padded(f32_to_f16(halves(f16_to_f32)).to_le_bytes()),
        DType::I32 => {
            let values = elements.map(|e| i32::from_le_bytes([e[0], e[1], e[2], e[3]]));
            padded((fold(op, values, i32::wrapping_add, i32::wrapping_mul) / over as i32).to_le_bytes())
        }
        DType::I64 => {
            let sum = fold(op, elements.map(i64::from_le_bytes), i64::wrapping_add, i64::wrapping_mul);
            padded((sum / over as i64).to_le_bytes())
        }
        // Sums of bytes are kept wider, so that an average does not wrap.
        DType::U8 => padded([(fold(op, elements.map(|e| u32::from(e[0])), u32::wrapping_add, u32::wrapping_mul) / over as u32) as u8]),
    }
}

/// What `rank` brings, from element `from` on.
pub fn filled(dtype: DType, rank: u32, from: usize, count: usize) -> Span {
    let size = dtype.size();
    let span = Span::new(dtype, count).unwrap();
    // SAFETY: the span is new.
    let bytes = unsafe { span.bytes_mut() };
    for (index, place) in bytes.chunks_exact_mut(size).zip(from..) {
        index.copy_from_slice(&element(dtype, rank, place)[..size]);
    }
    span
}

/// Memory that nothing useful is in.
pub fn blank(dtype: DType, count: usize) -> Span {
    let span = Span::new(dtype, count).unwrap();
    // SAFETY: the span is new.
    unsafe { span.bytes_mut() }.fill(0xee);
    span
}

/// FNV-1a over everything shown to it.
#[derive(Clone, Copy)]
pub struct Hash(pub u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    pub fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    }
}
