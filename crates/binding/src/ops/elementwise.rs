//! Raw operations on elements. Layouts are numbers of elements: `rank`, extents, then strides of each operand; stride 0 repeats.

use super::results::on_host;
use crate::dispatch::{for_all, for_floats, for_integers, for_numbers};
use crate::hot_op::hot_ops;
use crate::tensors::{apart, build, insert, same_dtype, span, values, whole};
use device::{accelerator_of, common, ops};
use kernels::gather::{self, Extents};
use kernels::layout::Layout;
use kernels::reduce::{self, Plan};
use kernels::{axpy, binary, compare, select, strided, sum_squares, unary};
use storage::{DType, Span};

/// A layout as JavaScript passes it; an empty one means operands that are dense and as long as the first.
fn broadcast<const N: usize>(words: &[u32], spans: [&Span; N]) -> Result<Layout<N>, String> {
    if !words.is_empty() {
        return Layout::parse(words);
    }
    let lengths = spans.map(Span::len);
    if lengths.iter().any(|&length| length != lengths[0]) {
        return Err(format!("tensors of {lengths:?} elements differ in length. Pass a layout that says how they are broadcast."));
    }
    Ok(Layout::dense(lengths[0]))
}

/// A tensor of one element that holds `value`, exactly when `dtype` is an integer.
fn scalar(dtype: DType, value: f64) -> Result<Span, String> {
    let one = Span::new(dtype, 1)?;
    kernels::fill::fill(&one, value)?;
    if dtype.is_float() {
        return Ok(one);
    }
    let back = Span::new(DType::F64, 1)?;
    kernels::cast::cast(&back, &one)?;
    if back.slice::<f64>()?[0] != value {
        return Err(format!("{value} is no {}. Pass a whole number of its range, or cast the tensor to f32.", dtype.name()));
    }
    Ok(one)
}

/// A layout with a tensor of `len` elements as one operand and one repeated value as the other.
fn against_scalar(len: usize, reversed: bool) -> Result<Layout<2>, String> {
    if reversed { Layout::new(&[len], [&[0], &[1]], [0, 0]) } else { Layout::new(&[len], [&[1], &[0]], [0, 0]) }
}

/// The type of a number that stands beside elements of `dtype`: it is not rounded to bf16.
fn beside(dtype: DType) -> DType {
    if dtype == DType::BF16 || dtype == DType::F16 { DType::F32 } else { dtype }
}

/// `a op b` into a new tensor, for tensors of one type.
fn binary_op(op: u32, a: &Span, b: &Span, layout: &Layout<2>) -> Result<u32, String> {
    layout.check([a.len(), b.len()])?;
    let dtype = same_dtype(&[a, b])?;
    if let Some(on) = common([a, b])? {
        return insert(ops::binary::binary(on, op, a, b, layout)?);
    }
    build(dtype, layout.numel(), |target| {
        if dtype.is_float() {
            // SAFETY: the target is new: nobody else reads or writes it.
            for_floats!(dtype, T => binary::binary::<T, T, T>(op, a.slice()?, b.slice()?, layout, unsafe { target.slice_mut()? }))
        } else {
            // SAFETY: as above.
            for_integers!(dtype, T => binary::binary_number::<T, T, T>(op, a.slice()?, b.slice()?, layout, unsafe { target.slice_mut()? }))
        }
    })
}

/// `x op value` or `value op x` for x of bf16 and a value of f32.
fn bf16_scalar(op: u32, x: &Span, value: &Span, reversed: bool) -> Result<u32, String> {
    let layout = against_scalar(x.len(), reversed)?;
    let (x, value): (&[u16], _) = (x.slice()?, value.f32s()?);
    build(DType::BF16, x.len(), |target| {
        // SAFETY: the target is new: nobody else reads or writes it.
        let y: &mut [u16] = unsafe { target.slice_mut()? };
        if reversed { binary::binary(op, value, x, &layout, y) } else { binary::binary(op, x, value, &layout, y) }
    })
}

/// `a op b` as 0 or 1 into a new tensor; beside a bf16 b may be f32.
fn compare_op(op: u32, a: &Span, b: &Span, layout: &Layout<2>) -> Result<u32, String> {
    layout.check([a.len(), b.len()])?;
    build(DType::U8, layout.numel(), |target| {
        // SAFETY: the target is new: nobody else reads or writes it.
        let c: &mut [u8] = unsafe { target.slice_mut()? };
        if (a.dtype(), b.dtype()) == (DType::BF16, DType::F32) {
            return compare::compare::<u16, f32>(op, a.slice()?, b.slice()?, layout, c);
        }
        for_numbers!(same_dtype(&[a, b])?, T => compare::compare::<T, T>(op, a.slice()?, b.slice()?, layout, c))
    })
}

/// A view that begins at `offset`.
fn view(layout: &[u32], offset: u32) -> Result<Layout<1>, String> {
    Ok(Layout::parse(layout)?.at([offset as usize]))
}

hot_ops! {
    /// f(x): 0 neg, 1 exp, 2 log, 3 sqrt, 4 tanh, 5 sigmoid, 6 abs, 7 relu, 8 gelu (tanh form), 9 geluErf, 10 square,
    /// 11 reciprocal, 12 silu.
    unary(op: u32, x: u32) -> u32 {
        let x = span("unary", x)?;
        if let Some(on) = accelerator_of(&x) {
            return insert(ops::unary::unary(on, op, &x)?);
        }
        // SAFETY: the target is new: nobody else reads or writes it.
        build(x.dtype(), x.len(), |y| for_floats!(x.dtype(), T => unary::unary::<T>(op, x.slice()?, unsafe { y.slice_mut()? })))
    }

    /// The gradient of x in f(x). `saved` is the result of exp, sqrt, tanh, sigmoid, relu and reciprocal, and x for the others.
    unaryBackward(op: u32, saved: u32, grad: u32) -> u32 {
        let (saved, grad) = (span("unaryBackward", saved)?, span("unaryBackward", grad)?);
        let dtype = same_dtype(&[&saved, &grad])?;
        if let Some(on) = common([&saved, &grad])? {
            return insert(ops::unary::unary_backward(on, op, &saved, &grad)?);
        }
        build(dtype, saved.len(), |out| {
            // SAFETY: the target is new: nobody else reads or writes it.
            for_floats!(dtype, T => unary::unary_backward::<T>(op, saved.slice()?, grad.slice()?, unsafe { out.slice_mut()? }))
        })
    }

    /// a op b: 0 add, 1 sub, 2 mul, 3 div, 4 pow, 5 maximum, 6 minimum. `layout`: empty, or rank, extents, strides of a, strides of b.
    binary(op: u32, a: u32, b: u32, layout: &[u32]) -> u32 {
        let (a, b) = (span("binary", a)?, span("binary", b)?);
        binary_op(op, &a, &b, &broadcast(layout, [&a, &b])?)
    }

    /// x op value with the codes of `binary`; value op x when reversed.
    binaryScalar(op: u32, x: u32, value: f64, reversed: bool) -> u32 {
        let x = span("binaryScalar", x)?;
        if op == 4 && value == 2.0 && !reversed && x.dtype().is_float() {
            return binary_op(2, &x, &x, &Layout::dense(x.len()));
        }
        let one = scalar(beside(x.dtype()), value)?;
        if let Some(on) = accelerator_of(&x) {
            return insert(ops::binary::binary_scalar(on, op, &x, &one, reversed)?);
        }
        if x.dtype() == DType::BF16 {
            return bf16_scalar(op, &x, &one, reversed);
        }
        let layout = against_scalar(x.len(), reversed)?;
        if reversed { binary_op(op, &one, &x, &layout) } else { binary_op(op, &x, &one, &layout) }
    }

    /// 1 where a op b, else 0, as u8: 0 eq, 1 ne, 2 lt, 3 le, 4 gt, 5 ge. `layout` as in `binary`.
    compare(op: u32, a: u32, b: u32, layout: &[u32]) -> u32 {
        let (a, b) = (span("compare", a)?, span("compare", b)?);
        same_dtype(&[&a, &b])?;
        let layout = broadcast(layout, [&a, &b])?;
        match common([&a, &b])? {
            Some(on) => insert(ops::compare::compare(on, op, &a, &b, &layout)?),
            None => compare_op(op, &a, &b, &layout),
        }
    }

    /// 1 where a op value, else 0, as u8, with the codes of `compare`.
    compareScalar(op: u32, a: u32, value: f64) -> u32 {
        let a = span("compareScalar", a)?;
        let one = scalar(beside(a.dtype()), value)?;
        match accelerator_of(&a) {
            Some(on) => insert(ops::compare::compare_scalar(on, op, &a, &one)?),
            None => compare_op(op, &a, &one, &against_scalar(a.len(), false)?),
        }
    }

    /// dst += alpha src, in place; beside a dst of f32, src may be bf16.
    axpy(dst: u32, alpha: f64, src: u32) -> () {
        let (dst, src) = (span("axpy", dst)?, span("axpy", src)?);
        let (on, src) = (common([&dst, &src])?.cloned(), apart(&dst, src)?);
        if let Some(on) = on {
            return ops::axpy::axpy(&on, &dst, alpha, &src);
        }
        if (dst.dtype(), src.dtype()) == (DType::F32, DType::BF16) {
            // SAFETY: the source lies apart, and nothing else runs on this thread.
            return axpy::axpy::<f32, u16>(unsafe { dst.f32s_mut()? }, alpha, src.slice()?);
        }
        // SAFETY: as above.
        for_floats!(same_dtype(&[&dst, &src])?, T => axpy::axpy::<T, T>(unsafe { dst.slice_mut()? }, alpha, src.slice()?))
    }

    /// h *= alpha, in place.
    scaleInPlace(h: u32, alpha: f64) -> () {
        let target = span("scaleInPlace", h)?;
        if let Some(on) = accelerator_of(&target) {
            return ops::axpy::scale(on, &target, alpha);
        }
        // SAFETY: nothing else runs on this thread.
        for_floats!(target.dtype(), T => { axpy::scale::<T>(unsafe { target.slice_mut()? }, alpha); Ok(()) })
    }

    /// a where cond (u8) is not 0, else b. `layout`: empty, or rank, extents, strides of cond, of a, of b.
    select(cond: u32, a: u32, b: u32, layout: &[u32]) -> u32 {
        let (cond, a, b) = (span("select", cond)?, span("select", a)?, span("select", b)?);
        let layout = broadcast(layout, [&cond, &a, &b])?;
        layout.check([cond.len(), a.len(), b.len()])?;
        let dtype = same_dtype(&[&a, &b])?;
        if let Some(on) = common([&cond, &a, &b])? {
            return insert(ops::select::select(on, [&cond, &a, &b], &layout)?);
        }
        build(dtype, layout.numel(), |target| {
            // SAFETY: the target is new: nobody else reads or writes it.
            for_all!(dtype, T => select::select::<T>(cond.slice()?, a.slice()?, b.slice()?, &layout, unsafe { target.slice_mut()? }))
        })
    }

    /// 0 sum, 1 mean, 2 max, 3 min over the dims whose mask is 1. `layout`: rank, extents, masks.
    reduce(op: u32, x: u32, layout: &[u32]) -> u32 {
        let x = span("reduce", x)?;
        let plan = Plan::parse(layout)?;
        plan.check(x.len())?;
        if let Some(on) = accelerator_of(&x) {
            return insert(ops::reduce::reduce(on, op, &x, &plan)?);
        }
        build(x.dtype(), plan.numel(), |y| {
            // SAFETY: the target is new: nobody else reads or writes it.
            for_floats!(x.dtype(), T => reduce::reduce::<T>(op, x.slice()?, &plan, unsafe { y.slice_mut()? }))
        })
    }

    /// The elements of a strided view of x, dense. `layout`: rank, extents, strides.
    strided(x: u32, layout: &[u32], offset: u32) -> u32 {
        let (x, view) = (span("strided", x)?, view(layout, offset)?);
        view.check([x.len()])?;
        if let Some(on) = accelerator_of(&x) {
            return insert(ops::strided::gather_view(on, &x, &view)?);
        }
        build(x.dtype(), view.numel(), |y| {
            // SAFETY: the target is new: nobody else reads or writes it.
            for_all!(x.dtype(), T => strided::gather_view::<T>(x.slice()?, &view, unsafe { y.slice_mut()? }))
        })
    }

    /// Adds the dense src to a strided view of dst; where places coincide, in the order of src.
    stridedAdd(dst: u32, src: u32, layout: &[u32], offset: u32) -> () {
        let (dst, src) = (span("stridedAdd", dst)?, span("stridedAdd", src)?);
        let (on, src, view) = (common([&dst, &src])?.cloned(), apart(&dst, src)?, view(layout, offset)?);
        if let Some(on) = on {
            same_dtype(&[&dst, &src])?;
            return ops::strided::scatter_add(&on, &dst, &src, &view);
        }
        // SAFETY: the source lies apart, and nothing else runs on this thread.
        for_numbers!(same_dtype(&[&dst, &src])?, T => strided::scatter_add::<T>(unsafe { dst.slice_mut()? }, src.slice()?, &view))
    }

    /// Writes the dense src into a strided view of dst.
    stridedSet(dst: u32, src: u32, layout: &[u32], offset: u32) -> () {
        let (dst, src) = (span("stridedSet", dst)?, span("stridedSet", src)?);
        let (on, src, view) = (common([&dst, &src])?.cloned(), apart(&dst, src)?, view(layout, offset)?);
        if let Some(on) = on {
            same_dtype(&[&dst, &src])?;
            return ops::strided::scatter_set(&on, &dst, &src, &view);
        }
        // SAFETY: the source lies apart, and nothing else runs on this thread.
        for_all!(same_dtype(&[&dst, &src])?, T => strided::scatter_set::<T>(unsafe { dst.slice_mut()? }, src.slice()?, &view))
    }

    /// x[o, index[o, j, i], i] for index (i32) [outer, dimIndex, inner]. `layout`: outer, dimX, dimIndex, inner.
    gather(x: u32, index: u32, layout: &[u32]) -> u32 {
        let (x, index, extents) = (span("gather", x)?, span("gather", index)?, Extents::parse(layout)?);
        if let Some(on) = common([&x, &index])? {
            return insert(ops::gather::gather(on, &x, &index, extents)?);
        }
        build(x.dtype(), index.len(), |y| {
            // SAFETY: the target is new: nobody else reads or writes it.
            for_all!(x.dtype(), T => gather::gather::<T>(x.slice()?, index.slice()?, extents, unsafe { y.slice_mut()? }))
        })
    }

    /// dst[o, index[o, j, i], i] += src[o, j, i], in the order of j. `layout` as in `gather`.
    gatherAdd(dst: u32, index: u32, src: u32, layout: &[u32]) -> () {
        let (dst, index, src) = (span("gatherAdd", dst)?, span("gatherAdd", index)?, span("gatherAdd", src)?);
        let on = common([&dst, &index, &src])?.cloned();
        let (index, src, extents) = (apart(&dst, index)?, apart(&dst, src)?, Extents::parse(layout)?);
        if let Some(on) = on {
            same_dtype(&[&dst, &src])?;
            return ops::gather::gather_add(&on, &dst, [&index, &src], extents);
        }
        for_numbers!(same_dtype(&[&dst, &src])?, T => {
            // SAFETY: the sources lie apart, and nothing else runs on this thread.
            gather::gather_add::<T>(unsafe { dst.slice_mut()? }, index.slice()?, src.slice()?, extents)
        })
    }

    /// Where the first index (i32) lies that is not in 0..extent and is not `ignored` (NaN for none); -1 where there is none. On a device
    /// nobody waits: it is -1, and what reads a value next refuses what was found.
    firstOutside(index: u32, extent: f64, ignored: f64) -> f64 {
        let (index, extent) = (span("firstOutside", index)?, whole("extent", extent)?);
        let ignored = (!ignored.is_nan()).then_some(ignored as i32);
        if let Some(on) = accelerator_of(&index) {
            return ops::first_outside::first_outside(on, &index, extent, ignored).map(|()| -1.0);
        }
        let is_outside = |&index: &i32| usize::try_from(index).map_or(true, |index| index >= extent) && Some(index) != ignored;
        Ok(index.slice::<i32>()?.iter().position(is_outside).map_or(-1.0, |position| position as f64))
    }

    /// The exact sum of the squares of f32 and bf16 tensors as limbs (i64) that may be summed over ranks; `resolveSum` makes a
    /// number of them.
    sumSquares(handles: &[u32]) -> u32 {
        let spans: Vec<Span> = handles.iter().map(|&handle| span("sumSquares", handle)).collect::<Result<_, _>>()?;
        if let Some(on) = common(&spans)? {
            return insert(ops::sum_squares::sum_squares(on, &spans)?);
        }
        let tensors: Vec<_> = spans.iter().map(values).collect::<Result<_, _>>()?;
        insert(Span::from_slice(DType::I64, &sum_squares::sum_squares(&tensors))?)
    }

    /// The sum that the limbs of `sumSquares` stand for.
    resolveSum(h: u32) -> f64 {
        sum_squares::resolve_sum(on_host(span("resolveSum", h)?)?.slice()?)
    }
}
