//! Element-wise reduction over ranks in rank order: ((r0 + r1) + r2) + …, whatever the chunk, the stripe or the order of arrival.

use crate::descriptor::ReduceOp;
use kernels::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
#[cfg(target_arch = "x86_64")]
use kernels::simd;
use storage::DType;

/// Elements that are summed at a time: small enough for the first-level cache.
const BLOCK: usize = 1024;

/// A type in memory with the type its sums are kept in.
trait Number: Copy {
    type Sum: Copy + Default;
    fn widen(self) -> Self::Sum;
    fn narrow(sum: Self::Sum) -> Self;
    fn add(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn product(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn max(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn min(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn over(sum: Self::Sum, ranks: usize) -> Self::Sum;
}

macro_rules! float_sums {
    ($sum:ty) => {
        #[inline(always)]
        fn add(a: $sum, b: $sum) -> $sum {
            a + b
        }
        #[inline(always)]
        fn product(a: $sum, b: $sum) -> $sum {
            a * b
        }
        // NaN wins, as in PyTorch.
        #[inline(always)]
        fn max(a: $sum, b: $sum) -> $sum {
            if a >= b || a.is_nan() { a } else { b }
        }
        #[inline(always)]
        fn min(a: $sum, b: $sum) -> $sum {
            if a <= b || a.is_nan() { a } else { b }
        }
        #[inline(always)]
        fn over(sum: $sum, ranks: usize) -> $sum {
            sum / ranks as $sum
        }
    };
}

macro_rules! number {
    ($type:ty, $sum:ty, $widen:expr, $narrow:expr, { $($ops:tt)* }) => {
        impl Number for $type {
            type Sum = $sum;
            #[inline(always)]
            fn widen(self) -> $sum {
                $widen(self)
            }
            #[inline(always)]
            fn narrow(sum: $sum) -> Self {
                $narrow(sum)
            }
            $($ops)*
        }
    };
}

/// Sums of integers wrap, as in PyTorch; an average is truncated towards zero.
macro_rules! integer_sums {
    ($sum:ty) => {
        #[inline(always)]
        fn add(a: $sum, b: $sum) -> $sum {
            a.wrapping_add(b)
        }
        #[inline(always)]
        fn product(a: $sum, b: $sum) -> $sum {
            a.wrapping_mul(b)
        }
        #[inline(always)]
        fn max(a: $sum, b: $sum) -> $sum {
            a.max(b)
        }
        #[inline(always)]
        fn min(a: $sum, b: $sum) -> $sum {
            a.min(b)
        }
        #[inline(always)]
        fn over(sum: $sum, ranks: usize) -> $sum {
            sum / ranks as $sum
        }
    };
}

/// Half-precision bits, told apart by type.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Bf16(u16);
#[derive(Clone, Copy)]
#[repr(transparent)]
struct F16(u16);

number!(f32, f32, |x| x, |x| x, {
    float_sums!(f32);
});
number!(f64, f64, |x| x, |x| x, {
    float_sums!(f64);
});
number!(i32, i32, |x| x, |x| x, {
    integer_sums!(i32);
});
number!(i64, i64, |x| x, |x| x, {
    integer_sums!(i64);
});
number!(u8, u32, u32::from, |x| x as u8, {
    integer_sums!(u32);
});
number!(Bf16, f32, |x: Bf16| bf16_to_f32(x.0), |x| Bf16(f32_to_bf16(x)), {
    float_sums!(f32);
});
number!(F16, f32, |x: F16| f16_to_f32(x.0), |x| F16(f32_to_f16(x)), {
    float_sums!(f32);
});

/// Reduces `count` elements at the same place of each source into `out`. `out` may be one of the sources.
///
/// # Safety
/// Every pointer is good for `count` elements of `dtype`, aligned for it, and nobody writes them meanwhile;
/// `out` is one of the sources or apart from all of them.
pub unsafe fn reduce(dtype: DType, op: ReduceOp, sources: &[*const u8], out: *mut u8, count: usize) {
    #[cfg(target_arch = "x86_64")]
    if simd::path() >= simd::Path::Avx2 {
        // SAFETY: handed on; the path was detected.
        return unsafe { reduce_avx2(dtype, op, sources, out, count) };
    }
    // SAFETY: handed on.
    unsafe { by_type(dtype, op, sources, out, count) };
}

/// The same loops with wider instructions. No instruction of AVX2 rounds otherwise.
///
/// # Safety
/// As [`reduce`], on a CPU that has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn reduce_avx2(dtype: DType, op: ReduceOp, sources: &[*const u8], out: *mut u8, count: usize) {
    // SAFETY: handed on.
    unsafe { by_type(dtype, op, sources, out, count) };
}

/// # Safety
/// As [`reduce`].
#[inline(always)]
unsafe fn by_type(dtype: DType, op: ReduceOp, sources: &[*const u8], out: *mut u8, count: usize) {
    // SAFETY: handed on.
    unsafe {
        match dtype {
            DType::F32 => by_op::<f32>(op, sources, out, count),
            DType::F64 => by_op::<f64>(op, sources, out, count),
            DType::I32 => by_op::<i32>(op, sources, out, count),
            DType::I64 => by_op::<i64>(op, sources, out, count),
            DType::BF16 => by_op::<Bf16>(op, sources, out, count),
            DType::F16 => by_op::<F16>(op, sources, out, count),
            DType::U8 => by_op::<u8>(op, sources, out, count),
        }
    }
}

/// # Safety
/// As [`reduce`].
#[inline(always)]
unsafe fn by_op<T: Number>(op: ReduceOp, sources: &[*const u8], out: *mut u8, count: usize) {
    let ranks = sources.len();
    // SAFETY: handed on.
    unsafe {
        match op {
            ReduceOp::Sum => fold::<T>(sources, out, count, T::add, |sum| sum),
            ReduceOp::Avg => fold::<T>(sources, out, count, T::add, |sum| T::over(sum, ranks)),
            ReduceOp::Max => fold::<T>(sources, out, count, T::max, |sum| sum),
            ReduceOp::Min => fold::<T>(sources, out, count, T::min, |sum| sum),
            ReduceOp::Product => fold::<T>(sources, out, count, T::product, |sum| sum),
        }
    }
}

/// # Safety
/// As [`reduce`].
#[inline(always)]
unsafe fn fold<T: Number>(
    sources: &[*const u8],
    out: *mut u8,
    count: usize,
    combine: impl Fn(T::Sum, T::Sum) -> T::Sum + Copy,
    finish: impl Fn(T::Sum) -> T::Sum + Copy,
) {
    let Some((&first, others)) = sources.split_first() else { return };
    let mut block = [T::Sum::default(); BLOCK];
    for start in (0..count).step_by(BLOCK) {
        let sums = &mut block[..BLOCK.min(count - start)];
        let length = sums.len();
        // SAFETY: start + length <= count; `out` is written only after the block was read from every source.
        let part = |source: *const u8| unsafe { std::slice::from_raw_parts(source.cast::<T>().add(start), length) };
        for (sum, &x) in sums.iter_mut().zip(part(first)) {
            *sum = x.widen();
        }
        for &other in others {
            for (sum, &x) in sums.iter_mut().zip(part(other)) {
                *sum = combine(*sum, x.widen());
            }
        }
        // SAFETY: as above; no slice of a source is alive.
        let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<T>().add(start), length) };
        for (out, &sum) in out.iter_mut().zip(sums.iter()) {
            *out = T::narrow(finish(sum));
        }
    }
}
