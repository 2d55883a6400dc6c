//! Operations that are captured as a graph, and launched again with one call.

use crate::accelerator::{Accelerator, STREAM, held, told};
use crate::memory::part;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use storage::{DType, Span};

/// Where the keys of dropouts stand that a captured step draws from: known by the key of the step that is captured.
pub(crate) type Keys = HashMap<[u32; 2], Span>;

/// A capture that has begun on this thread; dropped before its end it is given up.
pub struct Capture {
    on: Arc<Accelerator>,
    inner: Option<cuda::Capture>,
}

/// What was captured. It keeps all memory that it refers to.
pub struct Graph {
    on: Arc<Accelerator>,
    inner: cuda::Graph,
}

impl Accelerator {
    /// Operations that this thread asks for from now on become part of a graph instead of being done.
    pub fn begin_capture(self: &Arc<Self>) -> Result<Capture, String> {
        let inner = self.device.begin_capture(STREAM).map_err(told)?;
        held(&self.keys).clear();
        Ok(Capture { on: Arc::clone(self), inner: Some(inner) })
    }

    /// Lets dropouts of the capture under way that are told this key read their key from `place` (i32 \[2\]) at each launch.
    pub fn capture_key(&self, key: [u32; 2], place: Span) -> Result<(), String> {
        crate::ops::expect::expect("captureKey", "the place", &place, DType::I32, &[key.len()])?;
        held(&self.keys).insert(key, place);
        Ok(())
    }

    /// What the kernels of a dropout draw from: key, first sample and first head, of which a captured step reads the key elsewhere.
    pub(crate) fn draw(self: &Arc<Self>, dropout: &kernels::random::Dropout) -> Result<Span, String> {
        let words = dropout.draw();
        let draw = self.words(&words)?;
        let place = held(&self.keys).get(&[words[0], words[1]]).cloned();
        if let Some(place) = place {
            part(&draw.alias(0, place.len())?)?.copy_from(STREAM, &part(&place)?).map_err(told)?;
        }
        Ok(draw)
    }
}

impl Capture {
    /// Ends it: the graph of all operations since it began.
    pub fn end(mut self) -> Result<Graph, String> {
        let inner = self.inner.take().ok_or("a capture is ended twice. Please report it.")?;
        let inner = inner.end().map_err(told)?;
        Ok(Graph { on: Arc::clone(&self.on), inner })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        held(&self.on.keys).clear();
    }
}

impl Graph {
    /// Asks for all of it once more.
    pub fn launch(&self) -> Result<(), String> {
        self.on.refusals.arm();
        self.inner.launch(STREAM).map_err(told)?;
        self.on.graph_launches.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Bytes of its own that each launch leaves filled.
    pub fn bytes(&self) -> usize {
        self.inner.bytes()
    }
}
