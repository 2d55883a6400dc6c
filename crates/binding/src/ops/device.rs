//! Raw operations about work of a device that is read later, or asked for again.

use crate::comm::table::Table;
use crate::hot_op::{Failure, hot_ops};
use crate::tensors::{current_device, span};
use device::{Capture, Graph, HostCopy, accelerator_of};
use std::cell::RefCell;

/// A copy to the host.
enum Copy {
    There(Box<HostCopy>),
    /// Of a tensor of the CPU: the bytes themselves.
    Here(Vec<u8>),
}

thread_local! {
    static COPIES: RefCell<Table<Copy>> = RefCell::default();
    static GRAPHS: RefCell<Table<Graph>> = RefCell::default();
    static CAPTURE: RefCell<Option<Capture>> = const { RefCell::new(None) };
}

hot_ops! {
    /// A copy of `h` to the host for which nobody waits: as it is now, whatever is written to it later. A copy that `tells` also brings what
    /// kernels refused so far. End it by `readCopy` or `dropCopy`.
    copyToHost(h: u32, tells: bool) -> u32 throws Failure {
        let source = span("copyToHost", h)?;
        let copy = match accelerator_of(&source) {
            Some(on) => Copy::There(Box::new(on.copy_to_host(&source, tells)?)),
            None => Copy::Here(source.bytes().to_vec()),
        };
        COPIES.with_borrow_mut(|copies| copies.insert("copyToHost", copy))
    }

    /// Whether a copy has arrived.
    isCopied(copy: u32) -> bool throws Failure {
        COPIES.with_borrow(|copies| match copies.get("isCopied", copy)? {
            Copy::There(copy) => Ok(copy.is_done()?),
            Copy::Here(_) => Ok(true),
        })
    }

    /// The bytes of a copy into `out`, which has as many; waits for them where they are not there yet. The copy is ended.
    readCopy(copy: u32, out: &mut [u8]) -> () throws Failure {
        let copy = COPIES.with_borrow_mut(|copies| copies.remove("readCopy", copy))?;
        let bytes = match copy {
            Copy::There(copy) => copy.read()?,
            Copy::Here(bytes) => bytes,
        };
        if out.len() != bytes.len() {
            return Err(format!("out has {} bytes for a copy of {}. Pass an array of that size.", out.len(), bytes.len()).into());
        }
        out.copy_from_slice(&bytes);
        Ok(())
    }

    /// Ends a copy that nobody reads.
    dropCopy(copy: u32) -> () throws Failure {
        COPIES.with_borrow_mut(|copies| copies.remove("dropCopy", copy)).map(drop)
    }

    /// What is asked of this thread's device from now on becomes part of a graph instead of being done, until `endCapture`.
    beginCapture() -> () {
        let on = current_device().ok_or("there is no device. Use a device of CUDA.")?;
        let capture = on.begin_capture()?;
        CAPTURE.set(Some(capture));
        Ok(())
    }

    /// Lets dropouts of the capture under way that are told this key read theirs from `place` (i32 [2]) at each launch.
    captureKey(place: u32, key0: u32, key1: u32) -> () {
        let place = span("captureKey", place)?;
        let on = accelerator_of(&place).ok_or("a tensor of the CPU holds no key for a device. Please report it.")?;
        on.capture_key([key0, key1], place.clone())
    }

    /// The graph of what was captured; `launchGraph` asks for it.
    endCapture() -> u32 throws Failure {
        let capture = CAPTURE.take().ok_or("nothing is captured. Begin a capture first.")?;
        let graph = capture.end()?;
        GRAPHS.with_borrow_mut(|graphs| graphs.insert("endCapture", graph))
    }

    /// Gives the capture under way up, if there is one.
    abandonCapture() -> () {
        drop(CAPTURE.take());
        Ok(())
    }

    /// Asks the device for all that a graph consists of.
    launchGraph(graph: u32) -> () throws Failure {
        GRAPHS.with_borrow(|graphs| Ok(graphs.get("launchGraph", graph)?.launch()?))
    }

    /// Ends a graph.
    dropGraph(graph: u32) -> () throws Failure {
        GRAPHS.with_borrow_mut(|graphs| graphs.remove("dropGraph", graph)).map(drop)
    }
}
