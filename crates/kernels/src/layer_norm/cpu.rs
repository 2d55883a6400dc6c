use crate::lanes::{sum, sum_pairs};
use crate::simd::{madd, multiversion};

multiversion! {
    pub(super) fn forward(x: &[f32], w: &[f32], b: &[f32], eps: f32, y: &mut [f32], stats: &mut [f32]) {
        let cols = w.len();
        for ((x, y), stats) in x.chunks_exact(cols).zip(y.chunks_exact_mut(cols)).zip(stats.chunks_exact_mut(2)) {
            let mean = sum(x, |x| x) / cols as f32;
            let variance = sum(x, |x| (x - mean) * (x - mean)) / cols as f32;
            let rstd = 1.0 / (variance + eps).sqrt();
            for (((y, x), w), b) in y.iter_mut().zip(x).zip(w).zip(b) {
                *y = madd::<FMA>((*x - mean) * rstd, *w, *b);
            }
            stats.copy_from_slice(&[mean, rstd]);
        }
    }
}

multiversion! {
    pub(super) fn backward(grad: &[f32], x: &[f32], w: &[f32], stats: &[f32], dx: &mut [f32], d_w: &mut [f32], d_b: &mut [f32]) {
        let cols = w.len();
        let rows = grad.chunks_exact(cols).zip(x.chunks_exact(cols)).zip(dx.chunks_exact_mut(cols)).zip(stats.chunks_exact(2));
        for (((grad, x), dx), stats) in rows {
            let (mean, rstd) = (stats[0], stats[1]);
            for ((((dx, d_w), d_b), grad), (x, w)) in dx.iter_mut().zip(d_w.iter_mut()).zip(d_b.iter_mut()).zip(grad).zip(x.iter().zip(w)) {
                *d_w = madd::<FMA>(*grad, (*x - mean) * rstd, *d_w);
                *d_b += *grad;
                *dx = *grad * *w;
            }
            let along_one = sum(dx, |d| d) / cols as f32;
            let along_x = sum_pairs(dx, x, |d, x| d * ((x - mean) * rstd)) / cols as f32;
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = rstd * (*dx - madd::<FMA>((*x - mean) * rstd, along_x, along_one));
            }
        }
    }
}
