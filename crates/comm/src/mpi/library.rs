//! Finding an MPI library on this machine and opening it.

use super::abi::Abi;
use libloading::Library;

/// The variable that names the library.
pub const VARIABLE: &str = "MEGATRON_MPI_LIBRARY";
/// What to do about a library that is not the launcher's.
pub const REMEDY: &str = "Set MEGATRON_MPI_LIBRARY to the library of the launcher in use.";

/// Names under which MPI libraries are installed. Never the unversioned ones: those may be linker scripts.
struct Names {
    standard: &'static str,
    open_mpi: &'static str,
    mpich: &'static str,
    debian_mpich: &'static str,
}

const NAMES: Names = if cfg!(target_os = "macos") {
    Names { standard: "libmpi_abi.1.dylib", open_mpi: "libmpi.40.dylib", mpich: "libmpi.12.dylib", debian_mpich: "libmpich.12.dylib" }
} else {
    Names { standard: "libmpi_abi.so.1", open_mpi: "libmpi.so.40", mpich: "libmpi.so.12", debian_mpich: "libmpich.so.12" }
};

/// What started this process, as far as its environment tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    OpenMpi,
    /// The launchers of MPICH and Intel MPI, and Slurm with PMI 2.
    Pmi,
    Unknown,
}

impl Launcher {
    pub fn detect(is_set: impl Fn(&str) -> bool) -> Self {
        match () {
            () if is_set("OMPI_COMM_WORLD_SIZE") => Self::OpenMpi,
            () if is_set("PMI_SIZE") || is_set("PMI_FD") || is_set("PMI_PORT") => Self::Pmi,
            () => Self::Unknown,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::OpenMpi => "Open MPI's mpiexec",
            Self::Pmi => "a PMI launcher (MPICH, Intel MPI or Slurm)",
            Self::Unknown => "no MPI launcher",
        }
    }
}

/// The libraries to try, in this order.
pub fn candidates(explicit: Option<String>, launcher: Launcher) -> Vec<String> {
    if let Some(path) = explicit {
        return vec![path];
    }
    let Names { standard, open_mpi, mpich, debian_mpich } = NAMES;
    let first: &[&str] = match launcher {
        Launcher::OpenMpi => &[open_mpi],
        Launcher::Pmi => &[standard, mpich, debian_mpich],
        Launcher::Unknown => &[],
    };
    let mut names: Vec<&str> = first.to_vec();
    names.extend([standard, open_mpi, mpich, debian_mpich].iter().filter(|name| !first.contains(name)));
    names.into_iter().map(String::from).collect()
}

/// An open library. It is never closed: MPI leaves threads and exit handlers behind.
pub struct Opened {
    pub library: &'static Library,
    pub path: String,
    pub abi: Abi,
}

/// Opens the first of `candidates` that can be opened; the error is a sentence without the place.
pub fn open(candidates: &[String]) -> Result<Opened, String> {
    let mut reasons = Vec::new();
    for path in candidates {
        match load(path) {
            Ok(library) => {
                let abi = Abi::of(&library, path);
                return Ok(Opened { library: Box::leak(Box::new(library)), path: path.clone(), abi });
            }
            Err(reason) => reasons.push(reason),
        }
    }
    if let ([path], [reason]) = (candidates, reasons.as_slice()) {
        return Err(format!(
            "{path} is no MPI library that can be opened ({reason}). Set {VARIABLE} to one, such as /usr/lib/libmpi.so.40."
        ));
    }
    Err(format!(
        "no MPI library was found; looked for {}. Install Open MPI or MPICH, or set {VARIABLE} to the path of its library.",
        candidates.join(", ")
    ))
}

/// With its symbols visible to all: Open MPI's plugins need that.
#[cfg(unix)]
fn load(path: &str) -> Result<Library, String> {
    use libloading::os::unix;
    use std::error::Error;
    // SAFETY: opening an MPI library runs its initialisers, which are meant for this.
    let library = unsafe { unix::Library::open(Some(path), unix::RTLD_NOW | unix::RTLD_GLOBAL) };
    // The loader's own words are its cause.
    library.map(Into::into).map_err(|error| error.source().unwrap_or(&error).to_string())
}

#[cfg(not(unix))]
fn load(path: &str) -> Result<Library, String> {
    Err(format!("{path} is not tried: the mpi backend runs on Linux and macOS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launcher_decides_which_library_comes_first() {
        let order = |launcher| candidates(None, launcher).join(" ");
        assert_eq!(order(Launcher::Unknown), format!("{} {} {} {}", NAMES.standard, NAMES.open_mpi, NAMES.mpich, NAMES.debian_mpich));
        assert!(order(Launcher::OpenMpi).starts_with(&format!("{} {}", NAMES.open_mpi, NAMES.standard)));
        assert!(order(Launcher::Pmi).ends_with(&format!("{} {}", NAMES.debian_mpich, NAMES.open_mpi)));
        assert_eq!(Launcher::detect(|name| name == "OMPI_COMM_WORLD_SIZE"), Launcher::OpenMpi);
        assert_eq!(Launcher::detect(|name| name == "PMI_SIZE"), Launcher::Pmi);
        assert_eq!(Launcher::detect(|_| false), Launcher::Unknown);
    }

    #[test]
    fn a_library_that_cannot_be_opened_is_one_sentence() {
        let explicit = candidates(Some("/nowhere/libmpi.so.40".into()), Launcher::Unknown);
        let sentence = open(&explicit).map(|_| ()).unwrap_err();
        assert!(sentence.starts_with("/nowhere/libmpi.so.40 is no MPI library that can be opened ("), "{sentence}");
        assert!(sentence.contains(VARIABLE), "{sentence}");
        let sentence = open(&["libmpi_none.so.1".into(), "libmpi_none.so.2".into()]).map(|_| ()).unwrap_err();
        assert!(sentence.starts_with("no MPI library was found; looked for libmpi_none.so.1, libmpi_none.so.2."), "{sentence}");
    }

    #[test]
    fn a_library_that_is_not_mpi_is_named() {
        let opened = open(&["libc.so.6".into()]).unwrap();
        assert_eq!(super::super::abi::Functions::<usize>::find(opened.library).err(), Some("MPI_Initialized"));
    }
}
