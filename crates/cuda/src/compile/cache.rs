//! Compiled kernels on disk. Many ranks begin at once: files are written beside and renamed, and nobody believes one that is not whole.

use crate::library::Environment;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const MAGIC: &[u8; 8] = b"mtcubin\x01";
const HASH_BYTES: usize = 32;
const HEAD: usize = MAGIC.len() + 8 + HASH_BYTES;

/// A folder of compiled kernels.
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The folder that an environment names: `kernels` below `MEGATRON_CACHE`, or else below `megatron-ts` in the user's cache.
    pub fn of(environment: &Environment) -> Option<Cache> {
        let below = |name: &str, rest: &str| environment.get(name).map(|top| Path::new(top).join(rest));
        let top =
            below("MEGATRON_CACHE", "").or_else(|| below("XDG_CACHE_HOME", "megatron-ts")).or_else(|| below("HOME", ".cache/megatron-ts"));
        top.map(|top| Cache { folder: top.join("kernels") })
    }

    /// Where it keeps what has this key.
    pub fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.cubin"))
    }

    /// What was kept under this key; None when there is nothing, or not all of it.
    pub(super) fn load(&self, key: &str) -> Option<Vec<u8>> {
        let mut file = fs::read(self.path(key)).ok()?;
        let (magic, rest) = file.split_first_chunk::<{ MAGIC.len() }>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (hash, body) = rest.split_first_chunk::<HASH_BYTES>()?;
        let is_whole = magic == MAGIC && u64::from_le_bytes(*length) == body.len() as u64 && Sha256::digest(body)[..] == hash[..];
        is_whole.then(|| file.split_off(HEAD))
    }

    /// Keeps `cubin` under this key; the error is a sentence.
    pub(super) fn store(&self, key: &str, cubin: &[u8]) -> Result<(), String> {
        let path = self.path(key);
        self.write(&path, cubin).map_err(|error| {
            let folder = self.folder.display();
            format!(
                "kernel cache: {} cannot be written ({error}). Make {folder} writable, or set MEGATRON_CACHE to a folder that is.",
                path.display()
            )
        })
    }

    fn write(&self, path: &Path, cubin: &[u8]) -> io::Result<()> {
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(&self.folder)?;
        let draft = path.with_extension(format!("{}-{}", process::id(), DRAFTS.fetch_add(1, Relaxed)));
        let write = || {
            let mut file = fs::File::create_new(&draft)?;
            file.write_all(MAGIC)?;
            file.write_all(&(cubin.len() as u64).to_le_bytes())?;
            file.write_all(&Sha256::digest(cubin))?;
            file.write_all(cubin)?;
            fs::rename(&draft, path)
        };
        write().inspect_err(|_| _ = fs::remove_file(&draft))
    }
}
