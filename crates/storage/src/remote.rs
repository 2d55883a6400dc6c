//! Memory that is not the host's.

use crate::category::Category;
use std::any::Any;

/// Memory of a device, whose own crate knows what it is: the host only names it, and never reads or writes it by its address.
pub trait Remote: Any + Send + Sync {
    /// Where it begins, as the device counts.
    fn address(&self) -> u64;
    /// Its size in bytes.
    fn byte_len(&self) -> usize;
    /// Counts it under `category` from now on.
    fn categorize(&self, category: Category);
    /// Where it lies, such as `cuda:0`.
    fn place(&self) -> String;
}
