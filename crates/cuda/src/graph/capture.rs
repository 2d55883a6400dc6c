//! Capturing a sequence, and launching it.

use super::captured::Captured;
use crate::driver::{Device, Stream};
use crate::error::{Code, Error};
use cudarc::driver::sys::{CUgraph, CUgraphExec, CUgraphInstantiate_flags, CUstreamCaptureMode};
use std::ptr;
use std::sync::Arc;

/// Only what the capturing thread does is watched: another one may poll its communicators meanwhile.
const MODE: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
/// A launch frees what the one before has left.
const FLAGS: u64 = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH.0 as u64;

/// A sequence that was captured. It keeps all memory that it refers to.
pub struct Graph(Arc<Captured>);

/// A capture that has begun; dropped before its end, as by a panic, it is given up. It belongs to the thread that began it.
pub struct Capture {
    captured: Arc<Captured>,
    stream: Stream,
    has_ended: bool,
}

impl Capture {
    /// Ends it: the graph of all that was asked since it began.
    pub fn end(mut self) -> Result<Graph, Error> {
        let program = self.close().and_then(|graph| instantiate(self.captured.device(), graph));
        self.captured.finish(program.as_ref().ok().copied());
        program?;
        Ok(Graph(Arc::clone(&self.captured)))
    }

    fn close(&mut self) -> Result<CUgraph, Error> {
        self.has_ended = true;
        let (device, mut graph) = (self.captured.device(), ptr::null_mut());
        let on = device.raw(self.stream);
        // SAFETY: one handle is written, or null.
        let ended = device.run("cuStreamEndCapture", |calls| unsafe { (calls.cuStreamEndCapture)(on, &mut graph) });
        device.set_capture(None);
        ended.map(|()| graph)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        if let Ok(graph) = self.close() {
            destroy(self.captured.device(), graph);
        }
        self.captured.finish(None);
    }
}

fn destroy(device: &Device, graph: CUgraph) {
    // SAFETY: the graph lives, and nobody uses it any more. What fails here nobody could mend.
    _ = device.run("cuGraphDestroy", |calls| unsafe { (calls.cuGraphDestroy)(graph) });
}

fn instantiate(device: &Device, graph: CUgraph) -> Result<CUgraphExec, Error> {
    let mut program = ptr::null_mut();
    // SAFETY: the graph lives, and one handle is written.
    let made = device.run("cuGraphInstantiate", |calls| unsafe { (calls.cuGraphInstantiateWithFlags)(&mut program, graph, FLAGS) });
    destroy(device, graph);
    made.map(|()| program)
}

impl Device {
    /// Captures what `ask` asks of `stream`, and of those that wait for it and that it waits for in turn: nothing of it is done, it only
    /// becomes part of the graph. `ask` waits for nothing on this thread, and copies nothing from the host. Memory that is freed within
    /// goes to what is captured later; what it returns is filled by each launch, and overwritten by the next.
    pub fn capture<T>(&self, stream: Stream, ask: impl FnOnce() -> Result<T, Error>) -> Result<(Graph, T), Error> {
        let capture = self.begin_capture(stream)?;
        // Where this fails the capture is given up, and the first cause is told: what the driver says of the capture follows from it.
        let asked = ask()?;
        Ok((capture.end()?, asked))
    }

    /// The same for who cannot put what is asked into one function.
    pub fn begin_capture(&self, stream: Stream) -> Result<Capture, Error> {
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
        Ok(Capture { captured, stream, has_ended: false })
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
