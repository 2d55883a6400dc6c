//! Raw operations that multiply matrices. `compute` says what f32 operands are multiplied as: 0 f32 (the default), 1 bf16.

use super::results::{apart_all, made};
use crate::dispatch::for_values;
use crate::hot_op::hot_ops;
use crate::tensors::{apart, insert, optional, span, values, values_mut};
use device::{common, ops};
use kernels::gemm::Precision;
use kernels::linear::{self, Options, Sizes};
use kernels::matmul::{self, Layout};
use kernels::sum_rows;
use storage::{DType, Span};

/// The layout of a matmul as JavaScript passes it.
fn matmul_layout(layout: &[u32]) -> Result<Layout, String> {
    let [batch, m, n, k, a_batch_stride, b_batch_stride, trans_a, trans_b] = *layout else {
        return Err(format!(
            "layout has {} numbers, not 8. Pass [batch, m, n, k, aBatchStride, bBatchStride, transA, transB].",
            layout.len()
        ));
    };
    Ok(Layout {
        batch: batch as usize,
        m: m as usize,
        n: n as usize,
        k: k as usize,
        a_batch_stride: a_batch_stride as usize,
        b_batch_stride: b_batch_stride as usize,
        trans_a: trans_a != 0,
        trans_b: trans_b != 0,
    })
}

/// What operands are multiplied as. A product of two bf16 is exact in f32, so that two bf16 operands take the instruction for them.
fn precision(a: &Span, b: &Span, compute: Option<u32>) -> Result<Precision, String> {
    match compute.unwrap_or(0) {
        0 if a.dtype() != DType::BF16 || b.dtype() != DType::BF16 => Ok(Precision::F32),
        0 | 1 => Ok(Precision::Bf16),
        code => Err(format!("compute {code} is unknown. Use 0 for f32 or 1 for bf16.")),
    }
}

hot_ops! {
    /// `batch` products: a [m, k] or [k, m] times b [k, n] or [n, k] gives [batch, m, n] of a's type;
    /// layout [batch, m, n, k, aBatchStride, bBatchStride, transA, transB].
    matmul(a: u32, b: u32, layout: &[u32], compute: Option<u32>) -> u32 {
        let (a, b) = (span("matmul", a)?, span("matmul", b)?);
        let (sizes, precision) = (matmul_layout(layout)?, precision(&a, &b, compute)?);
        if let Some(on) = common([&a, &b])? {
            return insert(ops::product::matmul(on, [&a, &b], &sizes, precision)?);
        }
        let operands = [values(&a)?, values(&b)?];
        // SAFETY: the target is new: nobody else reads or writes it.
        made(a.dtype(), &layout[..3], |c| matmul::matmul_with(operands, &sizes, unsafe { values_mut(c)? }, false, precision))
    }

    /// The same into `dst` of f32 or bf16, overwritten or added to.
    matmulInto(dst: u32, a: u32, b: u32, layout: &[u32], accumulate: bool, compute: Option<u32>) -> () {
        let (dst, a, b) = (span("matmulInto", dst)?, span("matmulInto", a)?, span("matmulInto", b)?);
        let on = common([&dst, &a, &b])?.cloned();
        let ([a, b], sizes) = (apart_all(&dst, [a, b])?, matmul_layout(layout)?);
        let precision = precision(&a, &b, compute)?;
        if let Some(on) = on {
            return ops::product::matmul_into(&on, &dst, [&a, &b], &sizes, (accumulate, precision));
        }
        let operands = [values(&a)?, values(&b)?];
        // SAFETY: a and b share no memory with dst.
        matmul::matmul_with(operands, &sizes, unsafe { values_mut(&dst)? }, accumulate, precision)
    }

    /// x [rows, in] times the transpose of w [out, in], plus bias [out] or 0 for none; of x's type.
    linear(x: u32, w: u32, bias: u32, rows: u32, in_size: u32, out_size: u32, compute: Option<u32>) -> u32 {
        let (x, w, bias) = (span("linear", x)?, span("linear", w)?, optional("linear", bias)?);
        let sizes = Sizes { rows: rows as usize, input: in_size as usize, output: out_size as usize };
        let precision = precision(&x, &w, compute)?;
        if let Some(on) = common([&x, &w].into_iter().chain(&bias))? {
            return insert(ops::product::linear(on, (&x, &w, &bias), sizes, precision)?);
        }
        let (operands, bias) = ([values(&x)?, values(&w)?], bias.as_ref().map(values).transpose()?);
        let options = Options { precision, ..Options::default() };
        // SAFETY: the target is new: nobody else reads or writes it.
        made(x.dtype(), &[rows, out_size], |y| linear::linear_with(operands, bias, sizes, unsafe { values_mut(y)? }, options))
    }

    /// The column sums of x [rows, cols] into dst [cols] of f32.
    sumRows(x: u32, rows: u32, cols: u32, dst: u32, accumulate: bool) -> () {
        let (dst, x) = (span("sumRows", dst)?, span("sumRows", x)?);
        let (on, x) = (common([&dst, &x])?.cloned(), apart(&dst, x)?);
        if let Some(on) = on {
            let sums = ops::sum_rows::Sums { target: &dst, accumulate };
            return ops::sum_rows::sum_rows(&on, &x, [rows as usize, cols as usize], sums);
        }
        // SAFETY: x shares no memory with dst.
        let sums = unsafe { dst.f32s_mut()? };
        for_values!(x.dtype(), T => sum_rows::sum_rows::<T>(x.slice()?, rows as usize, cols as usize, sums, accumulate))
    }
}
