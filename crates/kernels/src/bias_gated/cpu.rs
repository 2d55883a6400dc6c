use crate::simd::multiversion;
use crate::unary::cpu::Unary;

multiversion! {
    pub(super) fn forward<G: Unary>(x: &[f32], bias: &[f32], y: &mut [f32]) {
        let cols = bias.len() / 2;
        let (bias_g, bias_u) = bias.split_at(cols);
        for (x, y) in x.chunks_exact(2 * cols).zip(y.chunks_exact_mut(cols)) {
            let (g, u) = x.split_at(cols);
            for ((y, (g, u)), (bias_g, bias_u)) in y.iter_mut().zip(g.iter().zip(u)).zip(bias_g.iter().zip(bias_u)) {
                *y = G::forward::<f32, FMA>(*g + *bias_g) * (*u + *bias_u);
            }
        }
    }
}

multiversion! {
    /// Adds the rows of dx to `sums`.
    pub(super) fn backward<G: Unary>(x: &[f32], bias: &[f32], grad: &[f32], dx: &mut [f32], sums: &mut [f32]) {
        let cols = bias.len() / 2;
        let (bias_g, bias_u) = bias.split_at(cols);
        for ((x, grad), dx) in x.chunks_exact(2 * cols).zip(grad.chunks_exact(cols)).zip(dx.chunks_exact_mut(2 * cols)) {
            let ((g, u), (dg, du)) = (x.split_at(cols), dx.split_at_mut(cols));
            for ((((dg, du), (g, u)), grad), (bias_g, bias_u)) in
                dg.iter_mut().zip(du).zip(g.iter().zip(u)).zip(grad).zip(bias_g.iter().zip(bias_u))
            {
                let v = *g + *bias_g;
                *du = *grad * G::forward::<f32, FMA>(v);
                *dg = G::backward::<f32, FMA>(v, *grad * (*u + *bias_u));
            }
            for (sum, dx) in sums.iter_mut().zip(dx) {
                *sum += *dx;
            }
        }
    }
}
