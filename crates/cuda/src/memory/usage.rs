//! What is in use.

use storage::{Category, Usage};

/// Counters of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// All categories but the workspace.
    pub all: Usage,
    /// Each category, in the order of its code.
    pub by_category: [Usage; Category::ALL.len()],
    /// Blocks that live.
    pub live_blocks: usize,
    /// Blocks given out since the device was opened.
    pub allocations: u64,
    /// Blocks that nobody holds and another stream may still use.
    pub pending_blocks: usize,
    /// Their bytes.
    pub pending_bytes: usize,
    /// Bytes that were never given back, because the device failed.
    pub leaked_bytes: usize,
}

fn add(usage: &mut Usage, bytes: usize) {
    usage.live += bytes;
    usage.peak = usage.peak.max(usage.live);
}

impl PoolStats {
    pub(super) fn count(&mut self, category: Category, bytes: usize) {
        add(&mut self.by_category[category as usize], bytes);
        if category != Category::Workspace {
            add(&mut self.all, bytes);
        }
    }

    pub(super) fn discount(&mut self, category: Category, bytes: usize) {
        self.by_category[category as usize].live -= bytes;
        if category != Category::Workspace {
            self.all.live -= bytes;
        }
    }

    pub(super) fn reset_peaks(&mut self) {
        self.all.peak = self.all.live;
        self.by_category.iter_mut().for_each(|usage| usage.peak = usage.live);
    }
}
