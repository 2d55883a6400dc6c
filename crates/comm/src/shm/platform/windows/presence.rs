//! Who is alive: an object whose name says the world and the byte exists as long as its holder has it open.

use super::memory::Memory;
use super::object::{own, own_new, wide};
use std::io;
use std::ptr::null;
use std::sync::PoisonError;
use windows_sys::Win32::System::Threading::{CreateMutexW, OpenMutexW, SYNCHRONIZATION_SYNCHRONIZE};

impl Memory {
    fn byte_name(&self, byte: u32) -> Vec<u16> {
        wide(&format!("megatron-{:016x}-{byte}", self.id))
    }

    /// Holds `byte` until this opening is closed, at the latest when the process ends. False when another holds it.
    pub fn hold(&self, byte: u32) -> io::Result<bool> {
        let name = self.byte_name(byte);
        // SAFETY: the name ends with a zero and outlives the call; the handle is new.
        match unsafe { own_new(CreateMutexW(null(), 0, name.as_ptr())) } {
            Ok(handle) => {
                self.held.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether another opening holds `byte`.
    pub fn is_held(&self, byte: u32) -> bool {
        let name = self.byte_name(byte);
        // SAFETY: the name ends with a zero and outlives the call; the handle is new.
        let found = unsafe { own(OpenMutexW(SYNCHRONIZATION_SYNCHRONIZE, 0, name.as_ptr())) };
        !found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}
