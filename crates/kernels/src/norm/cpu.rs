use crate::lanes::{sum, sum_pairs};
use crate::simd::{madd, multiversion};

#[inline(always)]
fn normalise<const FMA: bool, const CENTRED: bool>(x: &[f32], w: &[f32], b: &[f32], eps: f32, y: &mut [f32]) -> [f32; 2] {
    let cols = w.len() as f32;
    let mean = if CENTRED { sum(x, |x| x) / cols } else { 0.0 };
    let variance = sum(x, |x| (x - mean) * (x - mean)) / cols;
    let rstd = 1.0 / (variance + eps).sqrt();
    if CENTRED {
        for (((y, x), w), b) in y.iter_mut().zip(x).zip(w).zip(b) {
            *y = madd::<FMA>((*x - mean) * rstd, *w, *b);
        }
    } else {
        for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
            *y = *x * rstd * *w;
        }
    }
    [mean, rstd]
}

multiversion! {
    /// Normalises one row and returns its mean and 1 / deviation.
    pub(super) fn layer_row(x: &[f32], w: &[f32], b: &[f32], eps: f32, y: &mut [f32]) -> [f32; 2] {
        normalise::<FMA, true>(x, w, b, eps, y)
    }
}

multiversion! {
    /// The same about zero and without a shift.
    pub(super) fn rms_row(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) -> [f32; 2] {
        normalise::<FMA, false>(x, w, &[], eps, y)
    }
}

/// What the backward of a chunk of rows reads.
pub(super) struct Rows<'a> {
    pub grad: &'a [f32],
    pub x: &'a [f32],
    pub w: &'a [f32],
    pub stats: &'a [f32],
    /// Empty, or the gradient that reaches x by other ways.
    pub carried: &'a [f32],
}

/// Adds one row to another; nothing to an empty one.
#[inline(always)]
fn add_to(sums: &mut [f32], row: &[f32]) {
    for (sum, x) in sums.iter_mut().zip(row) {
        *sum += *x;
    }
}

#[inline(always)]
fn backward<const FMA: bool, const CENTRED: bool>(rows: &Rows, dx: &mut [f32], d_w: &mut [f32], d_b: &mut [f32], d_bias: &mut [f32]) {
    let cols = rows.w.len();
    for (i, dx) in dx.chunks_exact_mut(cols).enumerate() {
        let range = i * cols..(i + 1) * cols;
        let (grad, x) = (&rows.grad[range.clone()], &rows.x[range.clone()]);
        let (mean, rstd) = (rows.stats[2 * i], rows.stats[2 * i + 1]);
        for (((dx, d_w), grad), (x, w)) in dx.iter_mut().zip(d_w.iter_mut()).zip(grad).zip(x.iter().zip(rows.w)) {
            *d_w = madd::<FMA>(*grad, (*x - mean) * rstd, *d_w);
            *dx = *grad * *w;
        }
        if CENTRED {
            add_to(d_b, grad);
        }
        let along_one = if CENTRED { sum(dx, |d| d) / cols as f32 } else { 0.0 };
        let along_x = sum_pairs(dx, x, |d, x| d * ((x - mean) * rstd)) / cols as f32;
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = rstd * (*dx - madd::<FMA>((*x - mean) * rstd, along_x, along_one));
        }
        if !rows.carried.is_empty() {
            add_to(dx, &rows.carried[range]);
        }
        add_to(d_bias, dx);
    }
}

multiversion! {
    /// dx of some rows; adds to the sums over the rows. An empty `d_bias` is not wanted.
    pub(super) fn layer_backward(rows: &Rows, dx: &mut [f32], d_w: &mut [f32], d_b: &mut [f32], d_bias: &mut [f32]) {
        backward::<FMA, true>(rows, dx, d_w, d_b, d_bias);
    }
}

multiversion! {
    /// The same about zero and without a shift.
    pub(super) fn rms_backward(rows: &Rows, dx: &mut [f32], d_w: &mut [f32], d_b: &mut [f32], d_bias: &mut [f32]) {
        backward::<FMA, false>(rows, dx, d_w, d_b, d_bias);
    }
}
