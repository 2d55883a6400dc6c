//! y[i] = f(x[i]) and its derivative; a bf16 is computed in f32 and rounded once.
//!
//! | code | op | f(x) | saved | gradient of x |
//! | --- | --- | --- | --- | --- |
//! | 0 | neg | -x | x | -g |
//! | 1 | exp | e^x | y | g y |
//! | 2 | log | ln x | x | g / x |
//! | 3 | sqrt | x^(1/2) | y | g / (2 y) |
//! | 4 | tanh | tanh x | y | g (1 - y^2) |
//! | 5 | sigmoid | 1 / (1 + e^-x) | y | g y (1 - y) |
//! | 6 | abs | \|x\| | x | g sign x, 0 at 0 and NaN |
//! | 7 | relu | max(x, 0) | y | g where y > 0 |
//! | 8 | gelu | x sigmoid(2 u), u = (2/π)^(1/2) (x + 0.044715 x^3) | x | see `cpu` |
//! | 9 | geluErf | x (1 + erf(x / 2^(1/2))) / 2 | x | see `cpu` |
//! | 10 | square | x^2 | x | 2 g x |
//! | 11 | reciprocal | 1 / x | y | -g y^2 |
//! | 12 | silu | x sigmoid x | x | see `cpu` |

pub(crate) mod cpu;
#[cfg(test)]
mod tests;

use crate::disjoint::{CHUNK, Disjoint, for_chunks};
use crate::extent::expect;
use crate::stored::Float;

macro_rules! table {
    ($code:ident, $function:ident::<$type:ty>($($argument:expr),*)) => {
        match $code {
            0 => $function::<$type, cpu::Neg>($($argument),*),
            1 => $function::<$type, cpu::Exp>($($argument),*),
            2 => $function::<$type, cpu::Log>($($argument),*),
            3 => $function::<$type, cpu::Sqrt>($($argument),*),
            4 => $function::<$type, cpu::Tanh>($($argument),*),
            5 => $function::<$type, cpu::Sigmoid>($($argument),*),
            6 => $function::<$type, cpu::Abs>($($argument),*),
            7 => $function::<$type, cpu::Relu>($($argument),*),
            8 => $function::<$type, cpu::Gelu>($($argument),*),
            9 => $function::<$type, cpu::GeluErf>($($argument),*),
            10 => $function::<$type, cpu::Square>($($argument),*),
            11 => $function::<$type, cpu::Reciprocal>($($argument),*),
            12 => $function::<$type, cpu::Silu>($($argument),*),
            code => return Err(format!("unary: op code {code} is unknown. Use a code from 0 to 12.")),
        }
    };
}

/// y = f(x).
pub fn unary<T: Float>(code: u32, x: &[T], y: &mut [T]) -> Result<(), String> {
    expect("unary", "the result", y.len(), &[x.len()])?;
    table!(code, forward::<T>(x, y));
    Ok(())
}

/// The gradient of x from what the table saves and the gradient of y.
pub fn unary_backward<T: Float>(code: u32, saved: &[T], grad: &[T], out: &mut [T]) -> Result<(), String> {
    expect("unaryBackward", "the gradient", grad.len(), &[saved.len()])?;
    expect("unaryBackward", "the result", out.len(), &[saved.len()])?;
    table!(code, backward::<T>(saved, grad, out));
    Ok(())
}

fn forward<T: Float, O: cpu::Unary>(x: &[T], y: &mut [T]) {
    let y = Disjoint::new(y);
    for_chunks(x.len(), CHUNK, |range| {
        // SAFETY: chunks are disjoint.
        cpu::map::<T, O>(unsafe { y.part(range.clone()) }, &x[range]);
    });
}

fn backward<T: Float, O: cpu::Unary>(saved: &[T], grad: &[T], out: &mut [T]) {
    let out = Disjoint::new(out);
    for_chunks(saved.len(), CHUNK, |range| {
        // SAFETY: chunks are disjoint.
        cpu::map_backward::<T, O>(unsafe { out.part(range.clone()) }, &saved[range.clone()], &grad[range]);
    });
}
