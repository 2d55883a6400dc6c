//! Copies to the host that are asked for now and read later.

use crate::accelerator::{Accelerator, STREAM, told};
use crate::memory::held_of;
use cuda::Download;
use std::sync::Arc;
use storage::Span;

/// The elements of a tensor on their way to the host, as they are after all that was asked before.
pub struct HostCopy {
    on: Arc<Accelerator>,
    values: Download,
    refused: Option<Download>,
}

impl Accelerator {
    /// Asks for a copy, for which nobody waits; what writes the tensor later does so after it. A copy that `tells` also brings what kernels
    /// refused so far.
    pub fn copy_to_host(self: &Arc<Self>, span: &Span, tells: bool) -> Result<HostCopy, String> {
        let (held, offset) = held_of(span).ok_or("a tensor lies on the CPU. Please report it.")?;
        let refused = if tells { self.refusals.peek()? } else { None };
        let values = held.block.download(STREAM, offset, span.byte_len()).map_err(told)?;
        for download in refused.iter().chain([&values]) {
            download.wait(STREAM).map_err(told)?;
        }
        Ok(HostCopy { on: Arc::clone(self), values, refused })
    }
}

impl HostCopy {
    /// Whether it has arrived.
    pub fn is_done(&self) -> Result<bool, String> {
        self.values.is_done().map_err(told)
    }

    /// The bytes; waits for them where they are not there yet. What kernels had refused by then is told.
    pub fn read(self) -> Result<Vec<u8>, String> {
        let values = self.values.read().map_err(told)?;
        self.on.refusals.tell(self.refused)?;
        Ok(values)
    }
}
