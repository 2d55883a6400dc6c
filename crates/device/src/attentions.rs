//! Who computes a device's attentions: cuDNN, opened when it is first asked for one, or our kernels, and why.

use crate::accelerator::{STREAM, held, told};
use cuda::{AttentionSetting, Code, Device, Dnn, Environment};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

/// The most bytes of working memory of a pass, unless cuDNN was asked for by its name: gradients that are summed in one order take memory for
/// all scores.
const LIMIT: usize = 1 << 30;
/// Generations on which cuDNN sums gradients in one order when our graph asks for it.
const FIXED: [u32; 2] = [8, 9];

pub(crate) struct Attentions {
    setting: AttentionSetting,
    dnn: OnceLock<Result<Dnn, String>>,
    asked: AtomicU64,
    /// Why one was left to our kernels last.
    why: Mutex<Option<String>>,
}

impl Attentions {
    /// Refuses a setting that is none, and cuDNN by its name where it is missing.
    pub fn new(environment: &Environment, device: &Device) -> Result<Attentions, String> {
        let setting = AttentionSetting::of(environment).map_err(told)?;
        setting.told(device.has_dnn().map(|()| "cuDNN".into())).map_err(told)?;
        Ok(Attentions { setting, dnn: OnceLock::new(), asked: AtomicU64::new(0), why: Mutex::default() })
    }

    /// cuDNN, or why our kernels are to be used. Refused while a graph is captured, unless it is open.
    pub fn dnn(&self, device: &Device) -> Result<Result<&Dnn, String>, String> {
        if self.setting == AttentionSetting::Kernel {
            return Ok(Err("MEGATRON_ATTENTION is kernel".into()));
        }
        let limit = if self.setting == AttentionSetting::Cudnn { usize::MAX } else { LIMIT };
        if self.dnn.get().is_none() {
            // Two threads may come here together: one of the two is kept.
            match Dnn::open(device, STREAM, limit) {
                Err(error) if error.code == Code::Refused => return Err(told(error)),
                made => _ = self.dnn.set(made.map_err(told)),
            }
        }
        Ok(self.dnn.get().map_or_else(|| Err("cuDNN is not open".into()), |dnn| dnn.as_ref().map_err(Clone::clone)))
    }

    /// Whether gradients are summed in one order, or why cuDNN cannot.
    pub fn is_fixed(&self, device: &Device) -> Result<bool, String> {
        let (major, minor) = device.report().compute_capability;
        match self.setting {
            AttentionSetting::Auto if FIXED.contains(&major) => Ok(true),
            AttentionSetting::Auto => Err(format!("cuDNN is not asked for sums in one order on compute capability {major}.{minor}")),
            AttentionSetting::Cudnn | AttentionSetting::Kernel => Ok(false),
        }
    }

    /// Counts one that cuDNN was asked for, or keeps why it was not.
    pub fn note(&self, why: Option<String>) -> bool {
        match why {
            Some(why) => *held(&self.why) = Some(why),
            None => {
                self.asked.fetch_add(1, Relaxed);
                return true;
            }
        }
        false
    }

    /// Passes that cuDNN was asked for, and why the last of the others was left to our kernels.
    pub fn stats(&self) -> (u64, Option<String>) {
        (self.asked.load(Relaxed), held(&self.why).clone())
    }
}
