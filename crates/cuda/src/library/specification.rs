//! Which libraries there are, and which versions of them will do.

use super::version::{Version, VersionCall};

/// One of the libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Driver,
    Nvrtc,
    NvrtcBuiltins,
    CublasLt,
    Cublas,
    Cudnn,
    Nccl,
}

/// What is asked of a library.
pub(crate) struct Specification {
    pub kind: Kind,
    /// As people call it.
    pub name: &'static str,
    /// Its file name up to the version.
    pub stem: &'static str,
    /// What follows the stem.
    pub suffix: String,
    /// What follows the stem in other major versions, which are looked for only to say so.
    pub others: &'static [&'static str],
    pub version: VersionCall,
    /// The oldest that will do; of another major none will.
    pub least: Version,
    /// Whether nothing runs without it.
    pub is_needed: bool,
    /// Where to get it.
    pub remedy: &'static str,
}

impl Specification {
    pub fn file(&self) -> String {
        format!("{}.{}", self.stem, self.suffix)
    }
}

const DRIVER: &str = "Install NVIDIA's driver 580 or newer";

/// All of them, dependencies first: each is opened with its symbols visible to those after it.
pub(crate) const ORDER: [Kind; 7] = [Kind::Driver, Kind::Nvrtc, Kind::NvrtcBuiltins, Kind::CublasLt, Kind::Cublas, Kind::Cudnn, Kind::Nccl];

/// What is asked of `kind`. The builtins must be those of the NVRTC that was found: it opens them by that name when it compiles.
pub(crate) fn specification(kind: Kind, nvrtc: Option<Version>) -> Specification {
    let builtins = nvrtc.unwrap_or(Version::new(13, 0));
    let (name, stem, suffix, others, version, least, remedy): (_, _, _, &'static [&'static str], _, _, _) = match kind {
        Kind::Driver => ("CUDA driver", "libcuda.so", "1", &[], VersionCall::Driver, Version::new(13, 0), DRIVER),
        Kind::Nvrtc => {
            let remedy = "Install the Python package nvidia-cuda-nvrtc of CUDA 13";
            ("NVRTC", "libnvrtc.so", "13", &["14", "12", "11.2"], VersionCall::Nvrtc, Version::new(13, 0), remedy)
        }
        Kind::NvrtcBuiltins => {
            let remedy = "Install it beside libnvrtc.so.13";
            let version = VersionCall::Named(builtins);
            return Specification {
                kind,
                name: "NVRTC builtins",
                stem: "libnvrtc-builtins.so",
                suffix: builtins.to_string(),
                others: &[],
                version,
                least: builtins,
                is_needed: true,
                remedy,
            };
        }
        Kind::CublasLt => {
            let version = VersionCall::Returned("cublasLtGetVersion");
            let remedy = "Install the Python package nvidia-cublas of CUDA 13";
            ("cuBLASLt", "libcublasLt.so", "13", &["14", "12", "11"], version, Version::new(13, 0), remedy)
        }
        Kind::Cublas => {
            let version = VersionCall::Property("cublasGetProperty");
            let remedy = "Install the Python package nvidia-cublas of CUDA 13";
            ("cuBLAS", "libcublas.so", "13", &["14", "12", "11"], version, Version::new(13, 0), remedy)
        }
        Kind::Cudnn => {
            let version = VersionCall::Returned("cudnnGetVersion");
            // Older ones want the keys of a backward pass padded to multiples of 128.
            ("cuDNN", "libcudnn.so", "9", &["10", "8"], version, Version::new(9, 18), "Install the Python package nvidia-cudnn-cu13")
        }
        Kind::Nccl => {
            let version = VersionCall::Written("ncclGetVersion");
            ("NCCL", "libnccl.so", "2", &["3"], version, Version::new(2, 19), "Install the Python package nvidia-nccl-cu13")
        }
    };
    let is_needed = matches!(kind, Kind::Driver | Kind::Nvrtc | Kind::CublasLt);
    Specification { kind, name, stem, suffix: suffix.into(), others, version, least, is_needed, remedy }
}
