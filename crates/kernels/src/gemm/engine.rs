//! Which micro-kernel runs a product: by CPU and by what operands are multiplied as.

use super::Precision;
use super::drive;
use super::work::Work;
use crate::simd::{self, Path};

/// A micro-kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    #[cfg(any(test, not(target_arch = "aarch64")))]
    Portable,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Multiplies pairs of bf16, and nothing else.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

impl Engine {
    /// The kernel of this CPU, or of the path that `MEGATRON_CPU` names.
    pub fn of_this_process(precision: Precision) -> Engine {
        Engine::of_path(simd::path(), precision)
    }

    #[cfg(target_arch = "x86_64")]
    fn of_path(path: Path, precision: Precision) -> Engine {
        match path {
            Path::Avx512 if precision == Precision::Bf16 && std::arch::is_x86_feature_detected!("avx512bf16") => Engine::Avx512Bf16,
            Path::Avx512 => Engine::Avx512,
            Path::Avx2 => Engine::Avx2,
            Path::Baseline => Engine::Portable,
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn of_path(_: Path, _: Precision) -> Engine {
        Engine::Neon
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn of_path(_: Path, _: Precision) -> Engine {
        Engine::Portable
    }

    /// The kernels that this CPU can run, the plainest first.
    #[cfg(test)]
    pub fn available(precision: Precision) -> Vec<Engine> {
        let mut engines = vec![Engine::Portable];
        for path in [Path::Baseline, Path::Avx2, Path::Avx512].into_iter().filter(|path| path.available()) {
            engines.push(Engine::of_path(path, Precision::F32));
            engines.push(Engine::of_path(path, precision));
        }
        engines.dedup();
        engines
    }

    /// # Safety
    /// The CPU has this kernel's features; else as [`drive::multiply`].
    pub unsafe fn multiply(self, precision: Precision, work: &Work) {
        // SAFETY: handed on.
        unsafe {
            match precision {
                Precision::F32 => self.multiply_words::<false>(work),
                Precision::Bf16 => self.multiply_words::<true>(work),
            }
        }
    }

    /// # Safety
    /// As [`Engine::multiply`].
    unsafe fn multiply_words<const ROUND: bool>(self, work: &Work) {
        // SAFETY: handed on.
        unsafe {
            match self {
                #[cfg(any(test, not(target_arch = "aarch64")))]
                Engine::Portable => drive::multiply::<super::portable::Portable<ROUND>>(work),
                #[cfg(target_arch = "aarch64")]
                Engine::Neon => drive::multiply::<super::neon::Neon<ROUND>>(work),
                #[cfg(target_arch = "x86_64")]
                Engine::Avx2 => drive::multiply::<super::avx2::Avx2<ROUND>>(work),
                #[cfg(target_arch = "x86_64")]
                Engine::Avx512 => drive::multiply::<super::avx512::Avx512<ROUND>>(work),
                #[cfg(target_arch = "x86_64")]
                Engine::Avx512Bf16 => drive::multiply::<super::avx512_bf16::Avx512Bf16>(work),
            }
        }
    }
}
