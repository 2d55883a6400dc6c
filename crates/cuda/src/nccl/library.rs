//! NCCL itself: what it can do, and the id by which ranks find each other.

use super::calls::{Calls, SUCCESS};
use crate::error::{Code, Error};
use crate::library::{Shared, Version};
use cudarc::nccl::sys::ncclUniqueId;
use std::ffi::c_char;
use std::ptr;
use std::sync::Arc;

/// The library, open. Clones are the same.
#[derive(Clone)]
pub struct Nccl(pub(super) Arc<Opened>);

pub(super) struct Opened {
    pub calls: Calls,
    version: Version,
}

/// What one rank makes and all ranks of a world join by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueId([u8; UniqueId::BYTES]);

impl UniqueId {
    /// Its size.
    pub const BYTES: usize = 128;

    /// What another rank has made.
    pub fn from_bytes(bytes: [u8; UniqueId::BYTES]) -> UniqueId {
        UniqueId(bytes)
    }

    /// What the other ranks need.
    pub fn bytes(&self) -> &[u8; UniqueId::BYTES] {
        &self.0
    }

    pub(super) fn raw(self) -> ncclUniqueId {
        ncclUniqueId { internal: self.0.map(|byte| byte as c_char) }
    }
}

impl Nccl {
    pub(crate) fn of(library: &Shared, version: Version) -> Result<Nccl, Error> {
        let calls = Calls::find(library).map_err(|reason| {
            let path = library.path.display();
            let message = format!("NCCL: {path} cannot be used ({reason}). Install the Python package nvidia-nccl-cu13.");
            Error::new(Code::Library, message)
        })?;
        Ok(Nccl(Arc::new(Opened { calls, version })))
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// Whether it gives out memory that communicators reach without copying.
    pub fn has_memory(&self) -> bool {
        self.0.calls.ncclMemAlloc.is_some() && self.0.calls.ncclMemFree.is_some()
    }

    /// Whether memory can be registered with a communicator.
    pub fn has_registration(&self) -> bool {
        self.0.calls.ncclCommRegister.is_some() && self.0.calls.ncclCommDeregister.is_some()
    }

    /// A new id, for one world.
    pub fn unique_id(&self) -> Result<UniqueId, Error> {
        let mut raw = ncclUniqueId { internal: [0; UniqueId::BYTES] };
        // SAFETY: one id is written.
        let status = unsafe { (self.0.calls.ncclGetUniqueId)(&mut raw) };
        if status == SUCCESS {
            return Ok(UniqueId(raw.internal.map(|byte| byte as u8)));
        }
        let words = self.0.calls.words(status, ptr::null_mut());
        let message =
            format!("NCCL: ncclGetUniqueId fails ({words}). Name an interface that the ranks reach each other by in NCCL_SOCKET_IFNAME.");
        Err(Error::new(Code::Collective, message))
    }
}
