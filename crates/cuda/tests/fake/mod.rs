//! The fake libraries, installed in a folder of their own: each copy is a machine with its own state.
#![allow(dead_code)] // each test program uses a part of this

use libloading::Library;
use megatron_cuda::{Compiler, Device, Environment, Module, Source, Toolkit};
use std::ffi::{CString, c_char};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{env, fs, process};

pub const DRIVER: &str = "libcuda.so.1";
pub const NVRTC: &str = "libnvrtc.so.13";
pub const CUBLASLT: &str = "libcublasLt.so.13";
pub const NCCL: &str = "libnccl.so.2";
pub const NEEDED: [&str; 4] = [DRIVER, NVRTC, "libnvrtc-builtins.so.13.0", CUBLASLT];
pub const ALL: [&str; 7] = [DRIVER, NVRTC, "libnvrtc-builtins.so.13.0", CUBLASLT, "libcublas.so.13", "libcudnn.so.9", NCCL];

/// A folder that goes when the test ends.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static FOLDERS: AtomicUsize = AtomicUsize::new(0);
        let path = env::temp_dir().join(format!("megatron-cuda-{}-{}", process::id(), FOLDERS.fetch_add(1, Relaxed)));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// Puts the fake there under this name, which may have folders in it.
    pub fn install(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(built(), &path).unwrap();
        path
    }

    /// Puts it there under every name.
    pub fn install_all(&self) {
        for name in ALL {
            self.install(name);
        }
    }

    pub fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// What cargo built for the tests: beside them, since they depend on it.
fn built() -> PathBuf {
    let program = env::current_exe().unwrap();
    let path = program.parent().unwrap().join("libmegatron_fake_cuda.so");
    assert!(path.is_file(), "{} was not built", path.display());
    path
}

/// Tells the copy at `path` what to be.
pub fn control(path: &Path, words: &str) {
    let words = CString::new(words).unwrap();
    // SAFETY: the fake has this function.
    let refused = unsafe {
        let library = Library::new(path).unwrap();
        let control = library.get::<unsafe extern "C" fn(*const c_char) -> usize>("fake_cuda_control").unwrap();
        let refused = control(words.as_ptr());
        // It stays open: what it was told lies in its memory.
        std::mem::forget(library);
        refused
    };
    assert_eq!(refused, 0, "{words:?}");
}

/// What was asked of the copy at `path`, in order.
pub fn log(path: &Path) -> Vec<String> {
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

/// A machine with everything, and its first device open.
pub struct Machine {
    pub device: Device,
    pub toolkit: Arc<Toolkit>,
    pub folder: Folder,
}

impl Machine {
    pub fn new(words: &str) -> Machine {
        let folder = Folder::new();
        folder.install_all();
        control(&folder.0.join(DRIVER), words);
        let toolkit = Toolkit::find(&Environment::only(&[("MEGATRON_CUDA_LIBS", folder.text())])).unwrap();
        let device = Device::open(&toolkit, 0).unwrap();
        let machine = Machine { device, toolkit, folder };
        machine.tell("forget");
        machine
    }

    pub fn tell(&self, words: &str) {
        control(&self.folder.0.join(DRIVER), words);
    }

    /// What was asked of the driver since the device was opened.
    pub fn log(&self) -> Vec<String> {
        log(&self.folder.0.join(DRIVER))
    }

    /// How often NVRTC compiled.
    pub fn compilations(&self) -> usize {
        log(&self.folder.0.join(NVRTC)).len()
    }

    /// The lines that begin with one of these words.
    pub fn log_of(&self, words: &[&str]) -> Vec<String> {
        self.log().into_iter().filter(|line| words.iter().any(|word| line.starts_with(word))).collect()
    }

    pub fn module(&self, text: &str) -> Module {
        let source = Source { name: "test", text, options: &[] };
        Module::load(&self.device, &Compiler::new(&self.device, None).compile(source).unwrap().cubin).unwrap()
    }
}

/// Several devices of one machine, one for each rank, with NCCL between them.
pub struct Ranks {
    pub devices: Vec<Device>,
    pub toolkit: Arc<Toolkit>,
    pub folder: Folder,
}

impl Ranks {
    /// `words` are for NCCL.
    pub fn new(count: usize, words: &str) -> Ranks {
        Ranks::without(count, words, "")
    }

    /// The same with an NCCL that lacks a function.
    pub fn without(count: usize, words: &str, function: &str) -> Ranks {
        let folder = Folder::new();
        folder.install_all();
        if !function.is_empty() {
            forget(&folder.0.join(NCCL), function);
        }
        control(&folder.0.join(DRIVER), &format!("devices={count}"));
        control(&folder.0.join(NCCL), words);
        let toolkit = Toolkit::find(&Environment::only(&[("MEGATRON_CUDA_LIBS", folder.text())])).unwrap();
        let devices = (0..count).map(|index| Device::open(&toolkit, index).unwrap()).collect();
        control(&folder.0.join(DRIVER), "forget");
        Ranks { devices, toolkit, folder }
    }

    pub fn tell(&self, words: &str) {
        control(&self.folder.0.join(NCCL), words);
    }

    /// What was asked of NCCL.
    pub fn log(&self) -> Vec<String> {
        log(&self.folder.0.join(NCCL))
    }

    /// What was asked of the driver since the devices were opened.
    pub fn driver_log(&self) -> Vec<String> {
        log(&self.folder.0.join(DRIVER))
    }
}

/// Takes a function's name out of the copy at `path`, as if it were an older version.
pub fn forget(path: &Path, function: &str) {
    let mut bytes = fs::read(path).unwrap();
    let name = format!("\0{function}\0");
    let at: Vec<usize> = bytes.windows(name.len()).enumerate().filter(|(_, part)| *part == name.as_bytes()).map(|(at, _)| at).collect();
    assert!(!at.is_empty(), "{function} is not in the fake");
    at.into_iter().for_each(|at| bytes[at + 1] = b'_');
    fs::write(path, bytes).unwrap();
}
