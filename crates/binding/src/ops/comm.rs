//! Raw operations of process groups. Each submits and returns a handle of work; `workWait` ends it.

use crate::comm::{group, is_done, keep, label as label_of, milliseconds, take};
use crate::hot_op::{Failure, hot_ops};
use crate::tensors;
use comm::{Blocks, Kind, ReduceOp, Request};
use cuda::Stream;
use storage::Span;

/// The memory of a request, which may be that of the host or of a device.
fn span(op: &str, handle: u32) -> Result<Span, String> {
    tensors::span(op, handle)
}

/// Submits a request, on memory of a device where it lies, after what was asked of that device's operations before.
fn submit(op: &str, group_handle: u32, request: Request, label: u32) -> Result<u32, Failure> {
    let group = group(op, group_handle)?;
    let work = match device::common(request.memories())? {
        None => group.submit(request, label_of(label))?,
        Some(_) => group.submit_on_device(request.on(group.rank(), |span, _| device::part(span))?, label_of(label))?,
    };
    keep(op, work)
}

fn reduction(code: u32) -> Result<ReduceOp, String> {
    ReduceOp::from_code(code).ok_or_else(|| format!("reduction {code} is unknown. Use one of 0 sum, 1 avg, 2 max, 3 min, 4 product."))
}

/// Pairs of group rank and tensor, `sends` of them and `receives` more, from a list that may be longer.
#[allow(clippy::type_complexity)]
fn pairs(op: &str, list: &[u32], sends: u32, receives: u32) -> Result<[Vec<(usize, Span)>; 2], String> {
    let (sends, receives) = (2 * sends as usize, 2 * receives as usize);
    let flat = list.get(..sends + receives).ok_or_else(|| {
        format!(
            "a list of {} numbers does not hold {} pairs. Pass a rank and a tensor for each message.",
            list.len(),
            (sends + receives) / 2
        )
    })?;
    let read = |flat: &[u32]| flat.chunks_exact(2).map(|pair| Ok((pair[0] as usize, span(op, pair[1])?))).collect::<Result<_, String>>();
    Ok([read(&flat[..sends])?, read(&flat[sends..])?])
}

/// Blocks of these lengths.
fn blocks(counts: &[u32]) -> Result<Blocks, String> {
    let counts: Vec<usize> = counts.iter().map(|&count| count as usize).collect();
    Blocks::of_counts(&counts).ok_or_else(|| "the counts add up to more than memory can hold. Check them.".into())
}

/// The blocks given, or equal shares of `whole` for each of `size` ranks.
fn shares(counts: &[u32], whole: &Span, size: usize) -> Result<Blocks, String> {
    if !counts.is_empty() {
        return blocks(counts);
    }
    if !whole.len().is_multiple_of(size) {
        return Err(format!("{} elements cannot be shared evenly by {size} ranks. Pass the counts.", whole.len()));
    }
    Ok(Blocks::even(whole.len() / size, size))
}

/// The blocks given, or one like `part` for each of `size` ranks.
fn copies(counts: &[u32], part: &Span, size: usize) -> Result<Blocks, String> {
    if counts.is_empty() { Ok(Blocks::even(part.len(), size)) } else { blocks(counts) }
}

fn group_size(op: &str, handle: u32) -> Result<usize, Failure> {
    Ok(group(op, handle)?.size())
}

/// The memory that only the root passes; 0 elsewhere.
fn root_span(op: &str, handle: u32) -> Result<Option<Span>, String> {
    if handle == 0 { Ok(None) } else { span(op, handle).map(Some) }
}

hot_ops! {
    /// Reduces `h` over all ranks of the group, in place and in rank order: 0 sum, 1 avg, 2 max, 3 min, 4 product.
    allReduce(group: u32, h: u32, op: u32, label: u32) -> u32 throws Failure {
        let request = Request::AllReduce { data: span("allReduce", h)?, op: reduction(op)? };
        submit("allReduce", group, request, label)
    }

    /// Reduces `h` over all ranks of the group, in rank order, into `h` of group rank `root`; the others keep theirs.
    reduceToRoot(group: u32, h: u32, op: u32, root: u32, label: u32) -> u32 throws Failure {
        let request = Request::Reduce { data: span("reduce", h)?, op: reduction(op)?, root: root as usize };
        submit("reduce", group, request, label)
    }

    /// Gathers `src` of each rank into `dst`, in the order of the ranks. Counts are elements by group rank; none means even blocks.
    allGather(group: u32, src: u32, dst: u32, counts: &[u32], label: u32) -> u32 throws Failure {
        let (source, target) = (span("allGather", src)?, span("allGather", dst)?);
        let blocks = copies(counts, &source, group_size("allGather", group)?)?;
        submit("allGather", group, Request::AllGather { source, target, blocks }, label)
    }

    /// Gathers `src` of each rank into `dst` of group rank `root`; the others pass 0 for `dst`.
    gatherToRoot(group: u32, src: u32, dst: u32, root: u32, counts: &[u32], label: u32) -> u32 throws Failure {
        let (source, target) = (span("gather", src)?, root_span("gather", dst)?);
        let blocks = copies(counts, &source, group_size("gather", group)?)?;
        submit("gather", group, Request::Gather { source, target, root: root as usize, blocks }, label)
    }

    /// Copies its block of `src` of group rank `root` into `dst` of each rank; the others pass 0 for `src`.
    scatter(group: u32, src: u32, dst: u32, root: u32, counts: &[u32], label: u32) -> u32 throws Failure {
        let (source, target) = (root_span("scatter", src)?, span("scatter", dst)?);
        let blocks = copies(counts, &target, group_size("scatter", group)?)?;
        submit("scatter", group, Request::Scatter { source, target, root: root as usize, blocks }, label)
    }

    /// Reduces `src` over all ranks and leaves this rank's block of it in `dst`. Counts are elements by group rank; none means even blocks.
    reduceScatter(group: u32, src: u32, dst: u32, op: u32, counts: &[u32], label: u32) -> u32 throws Failure {
        let (source, target) = (span("reduceScatter", src)?, span("reduceScatter", dst)?);
        let blocks = copies(counts, &target, group_size("reduceScatter", group)?)?;
        submit("reduceScatter", group, Request::ReduceScatter { source, target, op: reduction(op)?, blocks }, label)
    }

    /// Copies `h` of group rank `root` into `h` of the others.
    broadcast(group: u32, h: u32, root: u32, label: u32) -> u32 throws Failure {
        let request = Request::Broadcast { data: span("broadcast", h)?, root: root as usize };
        submit("broadcast", group, request, label)
    }

    /// Sends a block of `src` to each rank and receives one from each into `dst`. Counts are elements by group rank; none means even blocks.
    allToAll(group: u32, src: u32, dst: u32, send_counts: &[u32], receive_counts: &[u32], label: u32) -> u32 throws Failure {
        let size = group_size("allToAll", group)?;
        let (source, target) = (span("allToAll", src)?, span("allToAll", dst)?);
        let (send, receive) = (shares(send_counts, &source, size)?, shares(receive_counts, &target, size)?);
        submit("allToAll", group, Request::AllToAll { source, target, send, receive }, label)
    }

    /// Posts sends and receives together: pairs of group rank and tensor, first those of so many sends, then of so many receives.
    exchange(group: u32, messages: &[u32], sends: u32, receives: u32, label: u32) -> u32 throws Failure {
        let [sends, receives] = pairs("exchange", messages, sends, receives)?;
        submit("exchange", group, Request::Exchange { sends, receives, kind: Kind::Exchange }, label)
    }

    /// Sends `h` to group rank `peer`.
    send(group: u32, h: u32, peer: u32, label: u32) -> u32 throws Failure {
        let sends = vec![(peer as usize, span("send", h)?)];
        submit("send", group, Request::Exchange { sends, receives: Vec::new(), kind: Kind::Send }, label)
    }

    /// Receives from group rank `peer` into `h`.
    recv(group: u32, h: u32, peer: u32, label: u32) -> u32 throws Failure {
        let receives = vec![(peer as usize, span("recv", h)?)];
        submit("recv", group, Request::Exchange { sends: Vec::new(), receives, kind: Kind::Receive }, label)
    }

    /// Ends once every rank of the group has come.
    barrier(group: u32, label: u32) -> u32 throws Failure {
        submit("barrier", group, Request::Barrier, label)
    }

    /// Blocks until work has ended, and ends its handle; on a device only until all ranks have come: its operations wait for the rest.
    /// `timeoutMs` counts from now; 0 keeps the limit of the world.
    workWait(work: u32, timeout_ms: f64) -> () throws Failure {
        let limit = if timeout_ms > 0.0 { Some(milliseconds(timeout_ms)) } else { None };
        Ok(take("workWait", work)?.lead(Stream::Compute, limit)?)
    }

    /// Whether work has ended, well or not.
    workDone(work: u32) -> bool throws Failure {
        is_done("workDone", work)
    }
}
