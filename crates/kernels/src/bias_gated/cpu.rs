use crate::simd::multiversion;
use crate::stored::Value;
use crate::unary::cpu::Unary;

multiversion! {
    pub(super) fn forward<T: Value, G: Unary>(x: &[T], bias: &[f32], y: &mut [T]) {
        let cols = bias.len() / 2;
        let (bias_g, bias_u) = bias.split_at(cols);
        for (x, y) in x.chunks_exact(2 * cols).zip(y.chunks_exact_mut(cols)) {
            let (g, u) = x.split_at(cols);
            for ((y, (g, u)), (bias_g, bias_u)) in y.iter_mut().zip(g.iter().zip(u)).zip(bias_g.iter().zip(bias_u)) {
                *y = T::narrow(G::forward::<f32, FMA>(g.widen() + *bias_g) * (u.widen() + *bias_u));
            }
        }
    }
}

multiversion! {
    /// Adds the rows of dx to `sums`; `spare` is that of a row of dx.
    pub(super) fn backward<T: Value, G: Unary>(x: &[T], bias: &[f32], grad: &[T], dx: &mut [T], spare: &mut [f32], sums: &mut [f32]) {
        let cols = bias.len() / 2;
        let (bias_g, bias_u) = bias.split_at(cols);
        for ((x, grad), dx) in x.chunks_exact(2 * cols).zip(grad.chunks_exact(cols)).zip(dx.chunks_exact_mut(2 * cols)) {
            let (g, u) = x.split_at(cols);
            let row = T::work(dx, spare);
            let (dg, du) = row.split_at_mut(cols);
            for ((((dg, du), (g, u)), grad), (bias_g, bias_u)) in
                dg.iter_mut().zip(du).zip(g.iter().zip(u)).zip(grad).zip(bias_g.iter().zip(bias_u))
            {
                let (v, grad) = (g.widen() + *bias_g, grad.widen());
                *du = grad * G::forward::<f32, FMA>(v);
                *dg = G::backward::<f32, FMA>(v, grad * (u.widen() + *bias_u));
            }
            for (sum, d) in sums.iter_mut().zip(row.iter()) {
                *sum += *d;
            }
            T::finish(dx, spare);
        }
    }
}
