//! From a kernel's text to what runs on a device.

use super::cache::Cache;
use super::nvrtc::Nvrtc;
use crate::driver::{Device, Toolkit};
use crate::error::Error;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Counts the ways in which what is kept was made: another one makes all older files useless.
const FORMAT: &str = "1";

/// Text of kernels that are compiled together.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Names it in errors.
    pub name: &'a str,
    /// All of it: nothing is included.
    pub text: &'a str,
    /// Options for NVRTC beside the architecture, such as `-DDTYPE=1`.
    pub options: &'a [&'a str],
}

/// What runs on a device.
pub struct Compiled {
    pub cubin: Vec<u8>,
    /// Whether it was found on disk.
    pub is_cached: bool,
    /// Why it was not kept on disk; it runs nevertheless.
    pub not_kept: Option<String>,
}

/// Compiles for one device.
pub struct Compiler {
    toolkit: Arc<Toolkit>,
    architecture: String,
    cache: Option<Cache>,
}

impl Compiler {
    /// One for this device; without a cache it compiles anew in each process.
    pub fn new(device: &Device, cache: Option<Cache>) -> Compiler {
        Compiler { toolkit: Arc::clone(device.toolkit()), architecture: device.architecture(), cache }
    }

    /// What `source` is on this device, from disk if it has been compiled before.
    pub fn compile(&self, source: Source) -> Result<Compiled, Error> {
        let nvrtc = &self.toolkit.nvrtc;
        let mut options = vec![format!("--gpu-architecture={}", self.architecture)];
        options.extend(source.options.iter().map(|option| option.to_string()));
        let key = key(nvrtc, source, &options);
        if let Some(cubin) = self.cache.as_ref().and_then(|cache| cache.load(&key)) {
            return Ok(Compiled { cubin, is_cached: true, not_kept: None });
        }
        let cubin = nvrtc.compile(source.name, source.text, &options)?;
        let not_kept = self.cache.as_ref().and_then(|cache| cache.store(&key, &cubin).err());
        Ok(Compiled { cubin, is_cached: false, not_kept })
    }
}

/// A name for everything that what is made depends on. The length before each part keeps two parts from passing for two others.
fn key(nvrtc: &Nvrtc, source: Source, options: &[String]) -> String {
    let version = nvrtc.version.to_string();
    let mut hash = Sha256::new();
    let parts = [FORMAT, &version, source.text];
    for part in parts.into_iter().chain(options.iter().map(String::as_str)) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
