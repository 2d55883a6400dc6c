use crate::simd::multiversion;
use crate::stored::Value;

multiversion! {
    /// One row: residual + factor (x + bias); an empty bias or residual is not added.
    pub(super) fn drop_row<T: Value, B: Value>(x: &[T], bias: &[B], residual: &[T], factors: &[f32], y: &mut [T]) {
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
fn biased<T: Value, B: Value>(x: &[T], bias: &[B], factors: &[f32]) -> impl Iterator<Item = f32> {
    x.iter().zip(bias).zip(factors).map(|((x, bias), factor)| (x.widen() + bias.widen()) * *factor)
}

#[inline(always)]
fn put<T: Value>(y: &mut [T], values: impl Iterator<Item = f32>) {
    for (y, value) in y.iter_mut().zip(values) {
        *y = T::narrow(value);
    }
}
