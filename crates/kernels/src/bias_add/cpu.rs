use crate::simd::multiversion;
use crate::stored::Value;

multiversion! {
    /// One row; an empty bias or residual is not added.
    pub(crate) fn add_row<T: Value>(x: &[T], bias: &[f32], residual: &[T], y: &mut [T]) {
        match (bias.is_empty(), residual.is_empty()) {
            (true, true) => y.copy_from_slice(x),
            (false, true) => add(y, x, bias),
            (true, false) => add(y, residual, x),
            (false, false) => {
                for (((y, x), bias), residual) in y.iter_mut().zip(x).zip(bias).zip(residual) {
                    *y = T::narrow(residual.widen() + (x.widen() + *bias));
                }
            }
        }
    }
}

#[inline(always)]
fn add<T: Value, U: Value>(y: &mut [T], a: &[T], b: &[U]) {
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        *y = T::narrow(a.widen() + b.widen());
    }
}
