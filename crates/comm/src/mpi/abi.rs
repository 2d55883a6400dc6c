//! MPI's functions and constants under the three binary interfaces in use: the standard one of MPI 5, that of MPICH and its relatives
//! before it, and Open MPI's own.

use libloading::Library;
use std::ffi::{c_char, c_int, c_void};

/// A binary interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    Standard,
    Mpich,
    OpenMpi,
}

impl Abi {
    /// The interface of a library: its symbols tell Open MPI, its name the standard one.
    pub fn of(library: &Library, path: &str) -> Self {
        // SAFETY: only the address is asked for.
        let is_open_mpi = unsafe { library.get::<*const c_void>(b"ompi_mpi_comm_world\0") }.is_ok();
        let resolved = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
        let has_standard_name = |name: &str| name.contains("mpi_abi");
        match is_open_mpi {
            true => Self::OpenMpi,
            false if has_standard_name(path) || has_standard_name(&resolved.to_string_lossy()) => Self::Standard,
            false => Self::Mpich,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "the MPI 5 ABI",
            Self::Mpich => "MPICH's ABI",
            Self::OpenMpi => "Open MPI's ABI",
        }
    }
}

/// What an MPI handle is: a pointer, or MPICH's 32-bit number.
pub trait Handle: Copy + Send + 'static {}

impl Handle for usize {}
impl Handle for c_int {}

/// Where a status of this interface holds what.
#[derive(Clone, Copy, Debug)]
pub struct StatusLayout {
    pub bytes: usize,
    /// Offset of MPI_ERROR.
    pub error: usize,
}

/// The constants that the wire needs.
#[derive(Clone, Copy, Debug)]
pub struct Constants<H> {
    pub comm_world: H,
    pub comm_self: H,
    pub byte: H,
    pub errors_return: H,
    pub request_null: H,
    pub tag_ub: c_int,
    pub thread_funneled: c_int,
    pub thread_serialized: c_int,
    pub status: StatusLayout,
}

pub const STANDARD: Constants<usize> = Constants {
    comm_world: 0x101,
    comm_self: 0x102,
    byte: 0x247,
    errors_return: 0x143,
    request_null: 0x180,
    tag_ub: 501,
    thread_funneled: 1024,
    thread_serialized: 2048,
    status: StatusLayout { bytes: 32, error: 8 },
};

pub const MPICH: Constants<c_int> = Constants {
    comm_world: 0x4400_0000,
    comm_self: 0x4400_0001,
    byte: 0x4c00_010d,
    errors_return: 0x5400_0001,
    request_null: 0x2c00_0000,
    tag_ub: 0x6440_0001,
    thread_funneled: 1,
    thread_serialized: 2,
    status: StatusLayout { bytes: 20, error: 16 },
};

/// Open MPI's handles are addresses of its own objects.
pub fn open_mpi(library: &Library) -> Result<Constants<usize>, &'static str> {
    let address = |symbol: &'static str| {
        // SAFETY: only the address is asked for.
        let found = unsafe { library.get::<*const c_void>(symbol.as_bytes()) };
        found.map(|pointer| *pointer as usize).map_err(|_| symbol)
    };
    Ok(Constants {
        comm_world: address("ompi_mpi_comm_world")?,
        comm_self: address("ompi_mpi_comm_self")?,
        byte: address("ompi_mpi_byte")?,
        errors_return: address("ompi_mpi_errors_return")?,
        request_null: address("ompi_request_null")?,
        tag_ub: 0,
        thread_funneled: 1,
        thread_serialized: 2,
        status: StatusLayout { bytes: 24, error: 8 },
    })
}

macro_rules! functions {
    ($($field:ident $symbol:literal ($($argument:ty),*);)*) => {
        /// The functions that the wire calls.
        #[derive(Clone, Copy)]
        pub struct Functions<H> {
            $(pub $field: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl<H: Handle> Functions<H> {
            /// Finds all of them; the error is the name of the first that is missing.
            pub fn find(library: &Library) -> Result<Self, &'static str> {
                Ok(Self {
                    $(
                        // SAFETY: these are the signatures of the MPI standard, with the handles of the library's interface.
                        $field: *unsafe { library.get(concat!($symbol, "\0").as_bytes()) }.map_err(|_| $symbol)?,
                    )*
                })
            }
        }
    };
}

functions! {
    initialized "MPI_Initialized" (*mut c_int);
    init_thread "MPI_Init_thread" (*mut c_int, *mut c_void, c_int, *mut c_int);
    finalize "MPI_Finalize" ();
    library_version "MPI_Get_library_version" (*mut c_char, *mut c_int);
    error_string "MPI_Error_string" (c_int, *mut c_char, *mut c_int);
    set_error_handler "MPI_Comm_set_errhandler" (H, H);
    rank "MPI_Comm_rank" (H, *mut c_int);
    size "MPI_Comm_size" (H, *mut c_int);
    attribute "MPI_Comm_get_attr" (H, c_int, *mut c_void, *mut c_int);
    duplicate "MPI_Comm_idup" (H, *mut H, *mut H);
    send "MPI_Isend" (*const c_void, c_int, H, c_int, c_int, H, *mut H);
    receive "MPI_Irecv" (*mut c_void, c_int, H, c_int, c_int, H, *mut H);
    test_some "MPI_Testsome" (c_int, *mut H, *mut c_int, *mut c_int, *mut c_void);
    cancel "MPI_Cancel" (*mut H);
    probe "MPI_Iprobe" (c_int, c_int, H, *mut c_int, *mut c_void);
    count "MPI_Get_count" (*const c_void, H, *mut c_int);
}
