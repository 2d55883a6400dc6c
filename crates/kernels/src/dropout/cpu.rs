use crate::half::{bf16_to_f32, f32_to_bf16};
use crate::simd::multiversion;
use storage::Element;

/// What activations are kept as: f32, or u16 that holds bf16.
pub trait Stored: Element {
    fn widen(self) -> f32;
    /// To nearest even.
    fn rounded(value: f32) -> Self;
}

impl Stored for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn rounded(value: f32) -> f32 {
        value
    }
}

impl Stored for u16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        bf16_to_f32(self)
    }

    #[inline(always)]
    fn rounded(value: f32) -> u16 {
        f32_to_bf16(value)
    }
}

multiversion! {
    /// One row: residual + factor (x + bias); an empty bias or residual is not added.
    pub(super) fn drop_row<T: Stored, B: Stored>(x: &[T], bias: &[B], residual: &[T], factors: &[f32], y: &mut [T]) {
        match (bias.is_empty(), residual.is_empty()) {
            (true, true) => put(y, x.iter().zip(factors).map(|(x, factor)| x.widen() * *factor)),
            (false, true) => put(y, biased(x, bias, factors)),
            (true, false) => {
                put(y, x.iter().zip(factors).zip(residual).map(|((x, factor), residual)| residual.widen() + x.widen() * *factor));
            }
            (false, false) => put(y, biased(x, bias, factors).zip(residual).map(|(sum, residual)| residual.widen() + sum)),
        }
    }
}

#[inline(always)]
fn biased<T: Stored, B: Stored>(x: &[T], bias: &[B], factors: &[f32]) -> impl Iterator<Item = f32> {
    x.iter().zip(bias).zip(factors).map(|((x, bias), factor)| (x.widen() + bias.widen()) * *factor)
}

#[inline(always)]
fn put<T: Stored>(y: &mut [T], values: impl Iterator<Item = f32>) {
    for (y, value) in y.iter_mut().zip(values) {
        *y = T::rounded(value);
    }
}
