//! What one core's multiply-add units can do: a loop on registers alone.

use crate::cases::DType;
use crate::clock::cpu_seconds;
use std::hint::black_box;

/// Steps of one measurement: about a millisecond.
const STEPS: usize = 60_000;

/// Flops a second of the instruction that products of `dtype` use on this CPU.
pub fn rate(dtype: DType) -> f64 {
    let start = cpu_seconds();
    let flops = spin(dtype);
    flops / (cpu_seconds() - start)
}

#[cfg(target_arch = "x86_64")]
fn spin(dtype: DType) -> f64 {
    use megatron_kernels::simd::{Path, path};
    let pairs = dtype != DType::F32 && std::arch::is_x86_feature_detected!("avx512bf16");
    match path() {
        // SAFETY: the path, and beside it the bf16 instructions, were detected.
        Path::Avx512 if pairs => unsafe { x86::avx512_bf16() },
        // SAFETY: as above.
        Path::Avx512 => unsafe { x86::avx512() },
        // SAFETY: as above.
        Path::Avx2 => unsafe { x86::avx2() },
        Path::Baseline => plain(),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn spin(_: DType) -> f64 {
    plain()
}

/// Sums that do not wait for each other, in whatever vectors the compiler makes of them.
fn plain() -> f64 {
    let mut sums = [1f32; 48];
    let (a, b) = (black_box(0.5f32), black_box(0.25f32));
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = if cfg!(target_arch = "aarch64") { a.mul_add(b, *sum) } else { *sum + a * b };
        }
        black_box(&mut sums);
    }
    (STEPS * sums.len() * 2) as f64
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{STEPS, black_box};
    use std::arch::x86_64::*;

    /// `$sums` sums that do not wait for each other.
    macro_rules! spin {
        ($name:ident, $features:literal, $zero:ident, $sums:literal, $step:ident, $flops:literal) => {
            #[target_feature(enable = $features)]
            pub fn $name() -> f64 {
                let mut sums = [$zero(); $sums];
                let (a, b) = (black_box($zero()), black_box($zero()));
                for _ in 0..STEPS {
                    for sum in &mut sums {
                        *sum = $step(*sum, a, b);
                    }
                }
                black_box(sums);
                (STEPS * $sums * $flops) as f64
            }
        };
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add_8(sum: __m256, a: __m256, b: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, sum)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add_16(sum: __m512, a: __m512, b: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, sum)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn add_32(sum: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the same 512 bits.
        let (a, b) = unsafe { (std::mem::transmute::<__m512, __m512bh>(a), std::mem::transmute::<__m512, __m512bh>(b)) };
        _mm512_dpbf16_ps(sum, a, b)
    }

    spin!(avx2, "avx2,fma", _mm256_setzero_ps, 12, add_8, 16);
    spin!(avx512, "avx512f", _mm512_setzero_ps, 24, add_16, 32);
    spin!(avx512_bf16, "avx512f,avx512bf16", _mm512_setzero_ps, 24, add_32, 64);
}
