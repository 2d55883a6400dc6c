//! Kernels that really run: their text, compiled as C++ for the host, thread after thread. Only where a test asks for it by `run=FOLDER`,
//! in which the compiled texts are kept: it takes a C++ compiler, and time.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What lets a kernel's text run on a host.
const HOST: &str = include_str!("../../kernels/tests/cuda_on_cpu/host.hpp");
const FLAGS: [&str; 7] = ["-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wno-unknown-pragmas"];

/// Launches a kernel with a grid, a block, and its shared memory.
pub type Launcher = unsafe extern "C" fn(c_uint, c_uint, c_uint, *mut *mut c_void);

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

const NOW: c_int = 2;

/// The kernels of a text, without those that its options leave out: `#ifndef SUMS` is the only choice that texts make.
fn kernels<'a>(text: &'a str, options: &[&str]) -> Vec<&'a str> {
    let has_sums = options.contains(&"-DSUMS");
    let (mut names, mut within, mut is_kept, mut is_next) = (Vec::new(), false, true, false);
    for line in text.lines() {
        match line.trim() {
            "#ifndef SUMS" => (within, is_kept) = (true, !has_sums),
            "#else" if within => is_kept = !is_kept,
            "#endif" if within => (within, is_kept) = (false, true),
            _ => {}
        }
        let declared = if is_next { Some(line) } else { line.strip_prefix("KERNEL ") };
        // Its bounds stand before its name, which then begins the next line.
        is_next = declared.is_some_and(|rest| rest.starts_with("__launch_bounds__"));
        let name = declared.filter(|_| is_kept && !is_next).and_then(|rest| rest.split('(').next());
        names.extend(name);
    }
    names
}

/// The library of a text, made again only when the text has changed; the error is the compiler's.
pub fn compile(folder: &str, name: &str, text: &str, options: &[&str]) -> Result<String, String> {
    static DRAFTS: AtomicUsize = AtomicUsize::new(0);
    let defines: Vec<&str> = options.iter().copied().filter(|option| option.starts_with("-D")).collect();
    let launchers: String = kernels(text, options)
        .iter()
        .map(|name| {
            format!(
                "extern \"C\" __attribute__((visibility(\"default\"))) void launch_{name}(unsigned grid, unsigned block, unsigned shared, \
                 void** arguments) {{ host::launch(kernels::{name}, grid, block, shared, arguments); }}\n"
            )
        })
        .collect();
    let whole = format!("{HOST}\nnamespace kernels {{\n{text}\n}}\n{launchers}");
    let mut hasher = DefaultHasher::new();
    (&whole, &defines).hash(&mut hasher);
    let library = Path::new(folder).join(format!("{name}-{:016x}.so", hasher.finish()));
    let path = library.display().to_string();
    if library.exists() {
        return Ok(path);
    }
    let write = |error: std::io::Error| format!("{folder} cannot be written: {error}");
    fs::create_dir_all(folder).map_err(write)?;
    let draft = Path::new(folder).join(format!("{name}-{}-{}", process::id(), DRAFTS.fetch_add(1, Relaxed)));
    let (source, made) = (draft.with_extension("cpp"), draft.with_extension("draft"));
    fs::write(&source, whole).map_err(write)?;
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let ran = Command::new(&compiler).args(FLAGS).args(&defines).arg(&source).arg("-o").arg(&made).output();
    let ran = ran.map_err(|error| format!("{compiler} does not run: {error}"))?;
    _ = fs::remove_file(&source);
    if !ran.status.success() {
        return Err(String::from_utf8_lossy(&ran.stderr).into_owned());
    }
    fs::rename(made, &library).map_err(write)?;
    Ok(path)
}

/// What launches a kernel of a library.
pub fn launcher(library: &str, kernel: &str) -> Option<Launcher> {
    let (path, name) = (CString::new(library).ok()?, CString::new(format!("launch_{kernel}")).ok()?);
    // SAFETY: a library of ours, which does nothing when it is opened and is never closed; the function has this type.
    unsafe {
        let library = dlopen(path.as_ptr(), NOW);
        let found = if library.is_null() { library } else { dlsym(library, name.as_ptr()) };
        (!found.is_null()).then(|| std::mem::transmute::<*mut c_void, Launcher>(found))
    }
}
