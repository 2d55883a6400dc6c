use crate::simd::multiversion;

multiversion! {
    /// One row; an empty bias or residual is not added.
    pub(crate) fn add_row(x: &[f32], bias: &[f32], residual: &[f32], y: &mut [f32]) {
        match (bias.is_empty(), residual.is_empty()) {
            (true, true) => y.copy_from_slice(x),
            (false, true) => add(y, x, bias),
            (true, false) => add(y, residual, x),
            (false, false) => {
                for (((y, x), bias), residual) in y.iter_mut().zip(x).zip(bias).zip(residual) {
                    *y = *residual + (*x + *bias);
                }
            }
        }
    }
}

#[inline(always)]
fn add(y: &mut [f32], a: &[f32], b: &[f32]) {
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        *y = *a + *b;
    }
}
