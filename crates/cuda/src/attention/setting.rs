//! Who computes attention on a device.

use crate::error::{Code, Error};
use crate::library::Environment;

/// The variable that says it.
const VARIABLE: &str = "MEGATRON_ATTENTION";

/// Who computes attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttentionSetting {
    /// cuDNN where it is there and its gradients have the same bits in every run; otherwise our kernels.
    #[default]
    Auto,
    /// cuDNN by its fastest algorithm, or nobody where it is missing; our kernels for what it does not do.
    Cudnn,
    /// Our kernels.
    Kernel,
}

impl AttentionSetting {
    /// Who computes attention by it, of a library that is called so, or is missing for this reason.
    pub fn told(self, cudnn: Result<String, Error>) -> Result<String, Error> {
        match (self, cudnn) {
            (AttentionSetting::Kernel, _) => Ok(format!("our kernels: {VARIABLE} is kernel")),
            (AttentionSetting::Auto, Ok(cudnn)) => {
                Ok(format!("{cudnn}, with gradients that are summed in one order; our kernels for the rest"))
            }
            (AttentionSetting::Auto, Err(missing)) => Ok(format!("our kernels: {missing}")),
            (AttentionSetting::Cudnn, Ok(cudnn)) => Ok(format!("{cudnn} by its fastest algorithm; our kernels for the rest")),
            (AttentionSetting::Cudnn, Err(missing)) => Err(Error::new(missing.code, format!("{VARIABLE}=cudnn: {}", missing.message))),
        }
    }

    /// What the environment says; nothing stands for `auto`.
    pub fn of(environment: &Environment) -> Result<AttentionSetting, Error> {
        match environment.get(VARIABLE) {
            None | Some("auto") => Ok(AttentionSetting::Auto),
            Some("cudnn") => Ok(AttentionSetting::Cudnn),
            Some("kernel") => Ok(AttentionSetting::Kernel),
            Some(other) => Err(Error::new(
                Code::Refused,
                format!("{VARIABLE}: {other:?} is nobody who computes attention. Use auto, cudnn or kernel."),
            )),
        }
    }
}
