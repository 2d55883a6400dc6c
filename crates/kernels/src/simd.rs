//! Which vector instructions this CPU has, and a macro that compiles a plain loop once for each of them.

use std::sync::OnceLock;

/// A set of instructions that loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// What every CPU of the architecture has: SSE2 on x86-64, NEON on aarch64.
    Baseline,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Path {
    /// The word that `MEGATRON_CPU` uses.
    pub fn name(self) -> &'static str {
        match self {
            Path::Baseline => "baseline",
            Path::Avx2 => "avx2",
            Path::Avx512 => "avx512",
        }
    }

    /// Whether this CPU can run it.
    pub fn available(self) -> bool {
        self <= detected()
    }
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Path {
    use std::arch::is_x86_feature_detected as has;
    let avx2 = has!("avx2") && has!("fma") && has!("f16c") && has!("bmi1") && has!("bmi2");
    let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Path::Avx512,
        (true, false) => Path::Avx2,
        _ => Path::Baseline,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> Path {
    Path::Baseline
}

/// The path of this process: the best that the CPU has, or a lower one that `MEGATRON_CPU` names.
#[inline]
pub fn path() -> Path {
    static PATH: OnceLock<Path> = OnceLock::new();
    *PATH.get_or_init(|| {
        let wanted = std::env::var("MEGATRON_CPU").unwrap_or_default();
        let named = [Path::Baseline, Path::Avx2, Path::Avx512].into_iter().find(|path| path.name() == wanted);
        named.map_or(detected(), |path| path.min(detected()))
    })
}

/// `a * b + c`, rounded once where `FMA` says that this is one instruction.
#[inline(always)]
pub fn madd<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// [`madd`] in f64.
#[inline(always)]
pub fn madd_f64<const FMA: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Compiles a function for every path and calls the one of this CPU. The body sees `FMA: bool`, a constant that says whether
/// the path has fused multiply-add; everything it calls must be `#[inline(always)]`, or it stays at the baseline.
macro_rules! multiversion {
    (
        $(#[$attr:meta])*
        $vis:vis fn $name:ident $(<$($generic:ident: $bound:path),+>)? ($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block
    ) => {
        $(#[$attr])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name$(<$($generic: $bound),+>)?($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, clippy::extra_unused_type_parameters)]
            fn body<$($($generic: $bound,)+)? const FMA: bool>($($arg: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi1,bmi2")]
            #[allow(clippy::too_many_arguments)]
            fn avx512$(<$($generic: $bound),+>)?($($arg: $type),*) $(-> $result)? {
                body::<$($($generic,)+)? true>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2")]
            #[allow(clippy::too_many_arguments)]
            fn avx2$(<$($generic: $bound),+>)?($($arg: $type),*) $(-> $result)? {
                body::<$($($generic,)+)? true>($($arg),*)
            }

            match $crate::simd::path() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the path was detected, so the CPU has these features.
                $crate::simd::Path::Avx512 => unsafe { avx512$(::<$($generic),+>)?($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::simd::Path::Avx2 => unsafe { avx2$(::<$($generic),+>)?($($arg),*) },
                _ => body::<$($($generic,)+)? { cfg!(target_arch = "aarch64") }>($($arg),*),
            }
        }
    };
}
pub(crate) use multiversion;
