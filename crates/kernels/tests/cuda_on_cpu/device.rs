//! Compiles a unit with the system's C++ compiler and launches its kernels.

use kernels::cuda::{self, AttentionShape, Launch, Parameter, Variant, Walk};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// What a launch hands to a kernel.
#[derive(Clone, Copy)]
#[allow(clippy::large_enum_variant, reason = "a launch has a dozen of them")]
pub enum Argument {
    U32(u32),
    U64(u64),
    F32(f32),
    F64(f64),
    /// A number of the kernel's own wide type, as its bytes.
    Wide([u8; 8]),
    Walk(Walk),
    Shape(AttentionShape),
    Pointer(*const c_void),
}

impl Argument {
    fn fits(&self, parameter: Parameter) -> bool {
        match self {
            Argument::U32(_) => parameter == Parameter::U32,
            Argument::U64(_) => parameter == Parameter::U64,
            Argument::F32(_) => parameter == Parameter::F32,
            Argument::F64(_) => parameter == Parameter::F64,
            Argument::Wide(_) => parameter == Parameter::Wide,
            Argument::Walk(_) => parameter == Parameter::Walk,
            Argument::Shape(_) => parameter == Parameter::Shape,
            Argument::Pointer(_) => matches!(parameter, Parameter::In | Parameter::Out),
        }
    }

    fn place(&mut self) -> *mut c_void {
        match self {
            Argument::U32(value) => (&raw mut *value).cast(),
            Argument::U64(value) => (&raw mut *value).cast(),
            Argument::F32(value) => (&raw mut *value).cast(),
            Argument::F64(value) => (&raw mut *value).cast(),
            Argument::Wide(value) => (&raw mut *value).cast(),
            Argument::Walk(value) => (&raw mut *value).cast(),
            Argument::Shape(value) => (&raw mut *value).cast(),
            Argument::Pointer(value) => (&raw mut *value).cast(),
        }
    }
}

/// No memory.
pub const NULL: Argument = Argument::Pointer(std::ptr::null());

/// One unit in one of its variants.
pub struct Device {
    unit: &'static cuda::Unit,
    pub variant: &'static Variant,
    library: usize,
    /// A kernel's shared memory is the library's: one launch at a time.
    turn: Mutex<()>,
}

/// The unit in this variant, compiled when it is first asked for.
pub fn device(unit: &str, variant: &str) -> &'static Device {
    static DEVICES: LazyLock<Mutex<HashMap<String, &'static Device>>> = LazyLock::new(Default::default);
    let name = format!("{unit}-{variant}");
    if let Some(device) = lock(&DEVICES).get(&name) {
        return device;
    }
    let unit = cuda::unit(unit).unwrap();
    let variant = unit.variant(variant).unwrap();
    let library = open(&compile(&name, &text(unit), variant));
    let device = Box::leak(Box::new(Device { unit, variant, library, turn: Mutex::new(()) }));
    lock(&DEVICES).insert(name, device);
    device
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The unit as C++, with a function for each kernel that launches it.
fn text(unit: &cuda::Unit) -> String {
    let host = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cuda_on_cpu/host.hpp");
    let launchers: String = unit
        .kernels
        .iter()
        .map(|kernel| {
            let name = kernel.name;
            format!(
                "extern \"C\" __attribute__((visibility(\"default\"))) void launch_{name}(unsigned grid, unsigned block, unsigned shared, \
                 void** arguments) {{ host::launch(kernels::{name}, grid, block, shared, arguments); }}\n"
            )
        })
        .collect();
    let host_text = std::fs::read_to_string(host).unwrap();
    format!("{host_text}\nnamespace kernels {{\n{}\n}}\n{launchers}{PROBES}", unit.source())
}

/// What the prelude says that a thread has, for places where no test would launch a whole grid.
const PROBES: &str = r#"
static void stand(const unsigned long long* place) {
  blockIdx.x = (unsigned)place[0];
  threadIdx.x = (unsigned)place[1];
  blockDim.x = (unsigned)place[2];
}
#define PROBE extern "C" __attribute__((visibility("default"))) void
PROBE probe_elements(const unsigned long long* place, const unsigned long long* extents, unsigned long long* out) {
  stand(place);
  kernels::Own own = kernels::own_elements(extents[0]);
  out[0] = own.first, out[1] = own.count;
}
PROBE probe_in_row(const unsigned long long* place, const unsigned long long* extents, unsigned long long* out) {
  stand(place);
  kernels::OwnInRow own = kernels::own_in_row(extents[0]);
  out[0] = own.row, out[1] = own.col, out[2] = own.count;
}
PROBE probe_columns(const unsigned long long* place, const unsigned long long* extents, unsigned long long* out) {
  stand(place);
  kernels::OwnColumns own = kernels::own_columns(extents[0], extents[1], extents[2]);
  out[0] = own.first_row, out[1] = own.end_row, out[2] = own.col, out[3] = own.count;
}
"#;

/// The library of a text, made again only when the text has changed.
fn compile(name: &str, text: &str, variant: &Variant) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (text, variant.options).hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let library = folder.join(format!("{name}-{:016x}.so", hasher.finish()));
    if library.exists() {
        return library;
    }
    let own = format!("{name}-{}-{:?}", std::process::id(), std::thread::current().id());
    let (source, draft) = (folder.join(format!("{own}.cpp")), folder.join(format!("{own}.so")));
    std::fs::write(&source, text).unwrap();
    let flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wno-unknown-pragmas"];
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let ran = Command::new(&compiler).args(flags).args(variant.options).arg(&source).arg("-o").arg(&draft).output();
    let ran = ran.unwrap_or_else(|error| panic!("{compiler} does not run: {error}. Install a C++ compiler, or name one in CXX."));
    assert!(ran.status.success(), "{name}: {}", String::from_utf8_lossy(&ran.stderr));
    std::fs::rename(draft, &library).unwrap();
    std::fs::remove_file(source).unwrap();
    library
}

fn open(library: &Path) -> usize {
    let path = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: a library of ours, which does nothing when it is opened.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!handle.is_null(), "{} cannot be opened", library.display());
    handle as usize
}

impl Device {
    /// Launches a kernel with the geometry of its table.
    pub fn launch(&self, kernel: &str, extents: &[u64], arguments: &[Argument]) {
        let kernel = self.unit.kernel(kernel).unwrap();
        assert_eq!(kernel.extents.len(), extents.len(), "{}: extents", kernel.name);
        assert_eq!(kernel.parameters.len(), arguments.len(), "{}: arguments", kernel.name);
        for ((name, parameter), argument) in kernel.parameters.iter().zip(arguments) {
            assert!(argument.fits(*parameter), "{}: {name} is a {parameter:?}", kernel.name);
        }
        let Launch { grid, block, shared } = (kernel.geometry)(extents, self.variant).unwrap();
        let function = self.function(&format!("launch_{}", kernel.name));
        // SAFETY: the launcher has this type.
        let function: extern "C" fn(u32, u32, u32, *mut *mut c_void) = unsafe { std::mem::transmute(function) };
        let mut arguments = arguments.to_vec();
        let mut places: Vec<*mut c_void> = arguments.iter_mut().map(Argument::place).collect();
        let _turn = lock(&self.turn);
        function(grid, block, shared, places.as_mut_ptr());
    }

    /// What the prelude answers to a thread at (block, thread, threads of the block).
    pub fn probe(&self, name: &str, place: [u64; 3], extents: [u64; 3]) -> [u64; 4] {
        // SAFETY: the probe has this type.
        let function: extern "C" fn(*const u64, *const u64, *mut u64) =
            unsafe { std::mem::transmute(self.function(&format!("probe_{name}"))) };
        let mut out = [0; 4];
        let _turn = lock(&self.turn);
        function(place.as_ptr(), extents.as_ptr(), out.as_mut_ptr());
        out
    }

    fn function(&self, name: &str) -> *mut c_void {
        let symbol = CString::new(name).unwrap();
        // SAFETY: an open library and a name.
        let function = unsafe { libc::dlsym(self.library as *mut c_void, symbol.as_ptr()) };
        assert!(!function.is_null(), "{name} is not in its library");
        function
    }
}
