//! Matrix products by cuBLASLt.

use super::bias_add::bias_add;
use super::cast::{cast, copy_into};
use super::expect::expect;
use crate::accelerator::{Accelerator, told};
use crate::memory::part;
use cuda::{Epilogue, Factor, Part, Product, Target};
use kernels::gemm::Precision;
use kernels::linear::Sizes;
use kernels::matmul::Layout;
use std::sync::Arc;
use storage::{DType, Span};

/// Both factors in the one type that they are multiplied in: bf16 where that is asked for, else the wider of the two.
fn factors(on: &Arc<Accelerator>, factors: [&Span; 2], precision: Precision) -> Result<[Span; 2], String> {
    let [a, b] = factors;
    let dtype = match precision {
        Precision::Bf16 => DType::BF16,
        Precision::F32 if a.dtype() == b.dtype() => a.dtype(),
        Precision::F32 => DType::F32,
    };
    let of = |span: &Span| if span.dtype() == dtype { Ok(span.clone()) } else { cast(on, span, dtype) };
    Ok([of(a)?, of(b)?])
}

/// What is multiplied, by numbers alone.
struct Task<'a> {
    layout: &'a Layout,
    accumulate: bool,
    /// Added to each row; of the target's type.
    bias: Option<&'a Part>,
}

/// The product of factors of one type into a target that the library takes beside them.
fn multiply(on: &Accelerator, [a, b]: [&Span; 2], target: &Span, task: Task) -> Result<(), String> {
    let Task { layout, accumulate, bias } = task;
    let Layout { batch, m, n, k, a_batch_stride, b_batch_stride, trans_a, trans_b } = *layout;
    if k == 0 {
        return if accumulate { Ok(()) } else { on.clear(target) };
    }
    let (left, right, to) = (part(a)?, part(b)?, part(target)?);
    let left = Factor { part: &left, is_transposed: trans_a, row: None, step: a_batch_stride };
    let right = Factor { part: &right, is_transposed: trans_b, row: None, step: b_batch_stride };
    let product = Product {
        target: Target { part: &to, row: None, step: m * n },
        batches: batch,
        keep: if accumulate { 1.0 } else { 0.0 },
        epilogue: bias.map_or(Epilogue::None, Epilogue::Bias),
        ..Product::of(left, right, &to, (m, n, k))
    };
    on.blas()?.run(&product).map_err(told)
}

/// Whether the library stores products of `factors` as `target`.
fn stores(factors: DType, target: DType) -> bool {
    target == factors || (target == DType::F32 && factors != DType::F64)
}

/// The products of a layout into `dst`, overwritten or added to.
pub fn matmul_into(
    on: &Arc<Accelerator>,
    dst: &Span,
    operands: [&Span; 2],
    layout: &Layout,
    (accumulate, precision): (bool, Precision),
) -> Result<(), String> {
    let Layout { batch, m, n, .. } = *layout;
    expect("matmul", "the result", dst, dst.dtype(), &[batch, m, n])?;
    let [a, b] = factors(on, operands, precision)?;
    let task = Task { layout, accumulate, bias: None };
    if stores(a.dtype(), dst.dtype()) {
        return multiply(on, [&a, &b], dst, task);
    }
    // Products of f32 for a target of 16 bits: rounded once, after what was there was added.
    let wide = if accumulate { cast(on, dst, a.dtype())? } else { on.scratch(a.dtype(), dst.len())? };
    multiply(on, [&a, &b], &wide, task)?;
    copy_into(on, dst, &wide)
}

/// The products of a layout in the type of `a`.
pub fn matmul(on: &Arc<Accelerator>, operands: [&Span; 2], layout: &Layout, precision: Precision) -> Result<Span, String> {
    let elements = [layout.batch, layout.m, layout.n].into_iter().try_fold(1usize, usize::checked_mul);
    let c = on.empty(operands[0].dtype(), elements.ok_or("a product is beyond any memory. Pass smaller tensors.")?)?;
    matmul_into(on, &c, operands, layout, (false, precision))?;
    Ok(c)
}

/// What the library needs of rows and addresses where something follows the product in its kernel.
const FUSED: usize = 16;

/// Whether the library adds this bias in the kernel of the product.
fn fuses(x: &Span, bias: &Span, Sizes { input, output, .. }: Sizes) -> bool {
    let rows = [input * x.dtype().size(), output * bias.dtype().size()];
    rows.into_iter().chain([x, bias].map(|span| span.as_ptr() as usize)).all(|bytes| bytes.is_multiple_of(FUSED))
}

/// x [rows, in] times the transpose of w [out, in], plus bias [out], in the type of x. What the library does not add itself is added in
/// f32, before the result is rounded.
pub fn linear(
    on: &Arc<Accelerator>,
    (x, w, bias): (&Span, &Span, &Option<Span>),
    sizes: Sizes,
    precision: Precision,
) -> Result<Span, String> {
    let Sizes { rows, input, output } = sizes;
    let dtype = x.dtype();
    expect("linear", "x", x, dtype, &[rows, input])?;
    expect("linear", "w", w, w.dtype(), &[output, input])?;
    bias.as_ref().map_or(Ok(()), |bias| expect("linear", "bias", bias, bias.dtype(), &[output]))?;
    let [x, w] = factors(on, [x, w], precision)?;
    let layout = Layout { batch: 1, m: rows, n: output, k: input, a_batch_stride: 0, b_batch_stride: 0, trans_a: false, trans_b: true };
    let fused = bias.as_ref().filter(|bias| bias.dtype() == dtype && stores(x.dtype(), dtype) && input > 0 && fuses(&x, bias, sizes));
    let is_whole = bias.is_none() || fused.is_some();
    let stored = if is_whole && stores(x.dtype(), dtype) { dtype } else { DType::F32 };
    let mut y = on.empty(stored, rows * output)?;
    let vector = fused.map(part).transpose()?;
    multiply(on, [&x, &w], &y, Task { layout: &layout, accumulate: false, bias: vector.as_ref() })?;
    if !is_whole {
        y = bias_add(on, &y, bias.clone(), &None, [rows, output])?;
    }
    if stored == dtype { Ok(y) } else { cast(on, &y, dtype) }
}
