use crate::lanes::{sum, sum_pairs};
use crate::simd::{madd, multiversion};
use crate::stored::Value;

#[inline(always)]
fn normalise<T: Value, const FMA: bool, const CENTRED: bool>(x: &[T], w: &[f32], b: &[f32], eps: f32, y: &mut [T]) -> [f32; 2] {
    let cols = w.len() as f32;
    let mean = if CENTRED { sum(x, |x| x) / cols } else { 0.0 };
    let variance = sum(x, |x| (x - mean) * (x - mean)) / cols;
    let rstd = 1.0 / (variance + eps).sqrt();
    if CENTRED {
        for (((y, x), w), b) in y.iter_mut().zip(x).zip(w).zip(b) {
            *y = T::narrow(madd::<FMA>((x.widen() - mean) * rstd, *w, *b));
        }
    } else {
        for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
            *y = T::narrow(x.widen() * rstd * *w);
        }
    }
    [mean, rstd]
}

multiversion! {
    /// Normalises one row and returns its mean and 1 / deviation.
    pub(super) fn layer_row<T: Value>(x: &[T], w: &[f32], b: &[f32], eps: f32, y: &mut [T]) -> [f32; 2] {
        normalise::<T, FMA, true>(x, w, b, eps, y)
    }
}

multiversion! {
    /// The same about zero and without a shift.
    pub(super) fn rms_row<T: Value>(x: &[T], w: &[f32], eps: f32, y: &mut [T]) -> [f32; 2] {
        normalise::<T, FMA, false>(x, w, &[], eps, y)
    }
}

/// What the backward of a chunk of rows reads.
pub(super) struct Rows<'a, T> {
    pub grad: &'a [T],
    pub x: &'a [T],
    pub w: &'a [f32],
    pub stats: &'a [f32],
    /// Empty, or the gradient that reaches x by other ways.
    pub carried: &'a [T],
}

/// What the backward of a chunk of rows adds to. An empty `d_bias` is not wanted.
pub(super) struct Sums<'a> {
    pub d_w: &'a mut [f32],
    pub d_b: &'a mut [f32],
    pub d_bias: &'a mut [f32],
    /// That of a row of dx.
    pub spare: &'a mut [f32],
}

/// Adds one row to another; nothing to an empty one.
#[inline(always)]
fn add_to<T: Value>(sums: &mut [f32], row: &[T]) {
    for (sum, x) in sums.iter_mut().zip(row) {
        *sum += x.widen();
    }
}

#[inline(always)]
fn backward<T: Value, const FMA: bool, const CENTRED: bool>(rows: &Rows<T>, dx: &mut [T], sums: Sums) {
    let Sums { d_w, d_b, d_bias, spare } = sums;
    let cols = rows.w.len();
    for (i, row) in dx.chunks_exact_mut(cols).enumerate() {
        let range = i * cols..(i + 1) * cols;
        let (grad, x) = (&rows.grad[range.clone()], &rows.x[range.clone()]);
        let (mean, rstd) = (rows.stats[2 * i], rows.stats[2 * i + 1]);
        let dx = T::work(row, spare);
        for (((dx, d_w), grad), (x, w)) in dx.iter_mut().zip(d_w.iter_mut()).zip(grad).zip(x.iter().zip(rows.w)) {
            let grad = grad.widen();
            *d_w = madd::<FMA>(grad, (x.widen() - mean) * rstd, *d_w);
            *dx = grad * *w;
        }
        if CENTRED {
            add_to(d_b, grad);
        }
        let along_one = if CENTRED { sum::<f32>(dx, |d| d) / cols as f32 } else { 0.0 };
        let along_x = sum_pairs::<f32, T>(dx, x, |d, x| d * ((x - mean) * rstd)) / cols as f32;
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = rstd * (*dx - madd::<FMA>((x.widen() - mean) * rstd, along_x, along_one));
        }
        if !rows.carried.is_empty() {
            add_to(dx, &rows.carried[range]);
        }
        add_to::<f32>(d_bias, dx);
        T::finish(row, spare);
    }
}

multiversion! {
    /// dx of some rows; adds to the sums over the rows.
    pub(super) fn layer_backward<T: Value>(rows: &Rows<T>, dx: &mut [T], sums: Sums) {
        backward::<T, FMA, true>(rows, dx, sums);
    }
}

multiversion! {
    /// The same about zero and without a shift.
    pub(super) fn rms_backward<T: Value>(rows: &Rows<T>, dx: &mut [T], sums: Sums) {
        backward::<T, FMA, false>(rows, dx, sums);
    }
}
