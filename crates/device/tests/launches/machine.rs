//! The fake libraries in a folder of their own, and a device of theirs.

use device::Accelerator;
use libloading::Library;
use std::ffi::{CString, c_char};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{env, fs, process};
use storage::{DType, Span};

const DRIVER: &str = "libcuda.so.1";
const NEEDED: [&str; 4] = [DRIVER, "libnvrtc.so.13", "libnvrtc-builtins.so.13.0", "libcublasLt.so.13"];

/// A device, and what was asked of it.
pub struct Machine {
    pub on: Arc<Accelerator>,
    folder: PathBuf,
}

impl Machine {
    pub fn new() -> Machine {
        Machine::with(&[], &[]).unwrap()
    }

    /// With more libraries than are needed, each told what to be, and variables of the environment.
    pub fn with(libraries: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Machine, String> {
        static FOLDERS: AtomicUsize = AtomicUsize::new(0);
        let folder = env::temp_dir().join(format!("megatron-device-{}-{}", process::id(), FOLDERS.fetch_add(1, Relaxed)));
        fs::create_dir_all(&folder).unwrap();
        let built = env::current_exe().unwrap().with_file_name("libmegatron_fake_cuda.so");
        NEEDED.into_iter().chain(libraries.iter().map(|(name, _)| *name)).for_each(|name| _ = fs::copy(&built, folder.join(name)).unwrap());
        libraries.iter().for_each(|(name, words)| control(&folder.join(name), words));
        let machine_at = |folder: &Path| {
            let text = folder.to_str().unwrap();
            let own = [("MEGATRON_CUDA_LIBS", text), ("MEGATRON_CACHE", text)];
            Accelerator::open(&cuda::Environment::only(&[&own, variables].concat()), 0)
        };
        control(&folder.join(DRIVER), "arguments=1");
        let machine = Machine { on: machine_at(&folder)?, folder };
        machine.forget();
        Ok(machine)
    }

    /// Another device of the same libraries.
    pub fn other(&self) -> Arc<Accelerator> {
        self.tell("devices=2");
        let text = self.folder.to_str().unwrap();
        Accelerator::open(&cuda::Environment::only(&[("MEGATRON_CUDA_LIBS", text)]), 1).unwrap()
    }

    pub fn tell(&self, words: &str) {
        control(&self.folder.join(DRIVER), words);
    }

    /// Tells another library what to be.
    pub fn tell_library(&self, library: &str, words: &str) {
        control(&self.folder.join(library), words);
    }

    /// What another library was asked for.
    pub fn log_of_library(&self, library: &str) -> Vec<String> {
        log(&self.folder.join(library))
    }

    /// Forgets what was asked so far.
    pub fn forget(&self) {
        self.tell("forget");
    }

    /// What was asked, by the lines that begin with one of these words.
    pub fn log_of(&self, words: &[&str]) -> Vec<String> {
        log(&self.folder.join(DRIVER)).into_iter().filter(|line| words.iter().any(|word| line.starts_with(word))).collect()
    }

    /// The launches alone.
    pub fn launches(&self) -> Vec<String> {
        self.log_of(&["launch"])
    }

    /// What cuBLASLt was asked for.
    pub fn products(&self) -> Vec<String> {
        log(&self.folder.join("libcublasLt.so.13"))
    }

    /// A tensor there; its contents do not matter.
    pub fn tensor(&self, dtype: DType, len: usize) -> Span {
        self.on.empty(dtype, len).unwrap()
    }

    /// Runs `f`, and fails unless all that it took was given back, in the compute stream, and nobody waited.
    pub fn expect_no_leak<R>(&self, f: impl FnOnce() -> R) {
        let stats = || self.on.stats().unwrap();
        let before = stats();
        drop(f());
        let after = stats();
        assert_eq!((after.memory.live_blocks, after.memory.all.live), (before.memory.live_blocks, before.memory.all.live));
        assert_eq!((after.synchronizations, after.reads), (before.synchronizations, before.reads));
        let (taken, freed) = (self.log_of(&["allocate"]), self.log_of(&["free"]));
        let numbers = |lines: &[String]| {
            let mut numbers: Vec<String> = lines.iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
            numbers.sort();
            numbers
        };
        assert_eq!(numbers(&taken), numbers(&freed));
        let all = taken.iter().chain(&freed).cloned().chain(self.launches().into_iter().map(|line| head(&line).to_owned()));
        all.for_each(|line| assert!(line.ends_with("in stream 1"), "{line}"));
    }
}

/// A launch without its arguments.
pub fn head(line: &str) -> &str {
    line.split(" with ").next().unwrap()
}

/// The arguments of a launch.
pub fn arguments(line: &str) -> &str {
    line.split(" with ").nth(1).unwrap()
}

impl Drop for Machine {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.folder);
    }
}

fn control(path: &Path, words: &str) {
    let words = CString::new(words).unwrap();
    // SAFETY: the fake has this function; it stays open, since what it was told lies in its memory.
    unsafe {
        let library = Library::new(path).unwrap();
        let refused = library.get::<unsafe extern "C" fn(*const c_char) -> usize>("fake_cuda_control").unwrap()(words.as_ptr());
        std::mem::forget(library);
        assert_eq!(refused, 0, "{words:?}");
    }
}

fn log(path: &Path) -> Vec<String> {
    // SAFETY: the fake has this function, and writes no more than the room that it is told of.
    let text = unsafe {
        let library = Library::new(path).unwrap();
        let log = library.get::<unsafe extern "C" fn(*mut u8, usize) -> usize>("fake_cuda_log").unwrap();
        let mut text = vec![0; log([].as_mut_ptr(), 0)];
        log(text.as_mut_ptr(), text.len());
        text
    };
    String::from_utf8(text).unwrap().lines().map(String::from).collect()
}
