//! Capturing a sequence, and launching it.

use super::captured::Captured;
use crate::driver::{Device, Stream};
use crate::error::{Code, Error};
use cudarc::driver::sys::{CUgraph, CUgraphInstantiate_flags, CUstreamCaptureMode};
use std::ptr;
use std::sync::Arc;

/// Only what the capturing thread does is watched: another one may poll its communicators meanwhile.
const MODE: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
/// A launch frees what the one before has left.
const FLAGS: u64 = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH.0 as u64;

/// A sequence that was captured. It keeps all memory that it refers to.
pub struct Graph(Arc<Captured>);

/// A capture that has begun; dropped before its end, as by a panic, it is given up.
struct Recording<'a> {
    captured: &'a Arc<Captured>,
    stream: Stream,
    has_ended: bool,
}

impl Recording<'_> {
    fn end(&mut self) -> Result<CUgraph, Error> {
        self.has_ended = true;
        let (device, mut graph) = (self.captured.device(), ptr::null_mut());
        let on = device.raw(self.stream);
        // SAFETY: one handle is written, or null.
        let ended = device.run("cuStreamEndCapture", |calls| unsafe { (calls.cuStreamEndCapture)(on, &mut graph) });
        device.set_capture(None);
        ended.map(|()| graph)
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if !self.has_ended
            && let Ok(graph) = self.end()
        {
            destroy(self.captured.device(), graph);
        }
    }
}

fn destroy(device: &Device, graph: CUgraph) {
    // SAFETY: the graph lives, and nobody uses it any more. What fails here nobody could mend.
    _ = device.run("cuGraphDestroy", |calls| unsafe { (calls.cuGraphDestroy)(graph) });
}

impl Device {
    /// Captures what `ask` asks of `stream`, and of those that wait for it and that it waits for in turn: nothing of it is done, it only
    /// becomes part of the graph. `ask` waits for nothing on this thread, and copies nothing from the host. Memory that is freed within
    /// goes to what is captured later; what it returns is filled by each launch, and overwritten by the next.
    pub fn capture<T>(&self, stream: Stream, ask: impl FnOnce() -> Result<T, Error>) -> Result<(Graph, T), Error> {
        let captured = Arc::new(Captured::new(self, stream));
        if !self.set_capture(Some(&captured)) {
            let message = format!("device {}: a graph is being captured already. Capture one after the other.", self.report().index);
            return Err(Error::new(Code::Refused, message));
        }
        let on = self.raw(stream);
        // SAFETY: the stream lives as long as the device.
        if let Err(error) = self.run("cuStreamBeginCapture", |calls| unsafe { (calls.cuStreamBeginCapture_v2)(on, MODE) }) {
            self.set_capture(None);
            return Err(error);
        }
        let mut recording = Recording { captured: &captured, stream, has_ended: false };
        let asked = ask();
        let ended = recording.end();
        drop(recording);
        let program = match (&asked, ended) {
            (Ok(_), Ok(graph)) => self.instantiate(graph),
            // The first cause: what the capture says is its consequence.
            (Err(error), Ok(graph)) => {
                destroy(self, graph);
                Err(error.clone())
            }
            (Err(error), Err(_)) => Err(error.clone()),
            (Ok(_), Err(error)) => Err(error),
        };
        captured.finish(program.as_ref().ok().copied());
        program?;
        Ok((Graph(captured), asked?))
    }

    fn instantiate(&self, graph: CUgraph) -> Result<cudarc::driver::sys::CUgraphExec, Error> {
        let mut program = ptr::null_mut();
        // SAFETY: the graph lives, and one handle is written.
        let made = self.run("cuGraphInstantiate", |calls| unsafe { (calls.cuGraphInstantiateWithFlags)(&mut program, graph, FLAGS) });
        destroy(self, graph);
        made.map(|()| program)
    }
}

impl Graph {
    /// Asks a stream for all that was captured.
    pub fn launch(&self, stream: Stream) -> Result<(), Error> {
        self.0.launch(stream)
    }

    /// Bytes of its own that each launch leaves filled.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
