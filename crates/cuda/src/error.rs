//! What goes wrong on the way to a device and on it.

use std::fmt;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A library is missing, of another major version, too old, or cannot be used.
    Library,
    /// There is no device, or none of this number.
    NoDevice,
    /// The device has no room.
    OutOfMemory,
    /// A kernel does not compile.
    Compile,
    /// The arguments of a call do not fit each other.
    Refused,
    /// cuBLASLt failed, or has no algorithm.
    Product,
    /// cuDNN failed.
    Attention,
    /// NCCL failed, or not all ranks came.
    Collective,
    /// The driver refused a call.
    Driver,
    /// The device is unusable until the process ends.
    Poisoned,
}

/// A code to branch on and a sentence to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub code: Code,
    pub message: String,
}

impl Error {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
