//! The libraries that a device needs.

use super::calls::Calls;
use super::devices;
use crate::attention;
use crate::compile::Nvrtc;
use crate::doctor::DeviceReport;
use crate::error::{Code, Error};
use crate::library::{Environment, Kind, Scan, Shared, scan};
use crate::matmul;
use crate::nccl::Nccl;
use std::sync::Arc;

/// The driver, NVRTC, cuBLASLt and, where they are there, cuDNN and NCCL; what they need is open beside them.
pub struct Toolkit {
    pub(crate) calls: Calls,
    pub(crate) nvrtc: Nvrtc,
    pub(crate) blas: Arc<matmul::Calls>,
    dnn: Result<Arc<attention::Calls>, Error>,
    nccl: Result<Nccl, Error>,
}

impl Toolkit {
    /// Finds what is needed, or says of the first that is not there why not.
    pub fn find(environment: &Environment) -> Result<Arc<Toolkit>, Error> {
        let found = scan(environment);
        if let Some(refusal) = found.refusal() {
            return Err(Error::new(Code::Library, refusal));
        }
        let calls = Calls::find(opened(&found, Kind::Driver)?)?;
        let nvrtc = Nvrtc::of(opened(&found, Kind::Nvrtc)?)?;
        let blas = Arc::new(matmul::Calls::find(opened(&found, Kind::CublasLt)?)?);
        let dnn = found.with_version(Kind::Cudnn).map_err(|refusal| Error::new(Code::Library, refusal));
        let dnn = dnn.and_then(|(library, _)| attention::Calls::find(library)).map(Arc::new);
        let nccl = found.with_version(Kind::Nccl).map_err(|refusal| Error::new(Code::Library, refusal));
        let nccl = nccl.and_then(|(library, version)| Nccl::of(library, version));
        Ok(Arc::new(Toolkit { calls, nvrtc, blas, dnn, nccl }))
    }

    /// cuDNN, or why it is not there.
    pub(crate) fn dnn(&self) -> Result<&Arc<attention::Calls>, Error> {
        self.dnn.as_ref().map_err(Clone::clone)
    }

    /// NCCL, or why it is not there.
    pub fn nccl(&self) -> Result<&Nccl, Error> {
        self.nccl.as_ref().map_err(Clone::clone)
    }

    /// All devices.
    pub fn devices(&self) -> Result<Vec<DeviceReport>, Error> {
        devices::list(&self.calls)
    }
}

fn opened(found: &Scan, kind: Kind) -> Result<&Shared, Error> {
    found.get(kind).ok_or_else(|| Error::new(Code::Library, "CUDA: a library that is needed is not open. Run megatron-ts doctor."))
}
