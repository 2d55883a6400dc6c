//! Tensors of a device: spans whose memory is a block of its pool.

use crate::accelerator::{Accelerator, STREAM, name_of, told};
use crate::launch::Argument;
use cuda::{Block, Part};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use storage::{Category, DType, Remote, Span};

/// What a span keeps of a device: freed in the order of the compute stream when the last span is gone.
pub(crate) struct Held {
    pub block: Arc<Block>,
    pub on: Arc<Accelerator>,
}

impl Remote for Held {
    fn address(&self) -> u64 {
        self.block.address()
    }

    fn byte_len(&self) -> usize {
        self.block.len()
    }

    fn categorize(&self, category: Category) {
        self.block.categorize(category);
    }

    fn place(&self) -> String {
        name_of(&self.on.device)
    }
}

/// The device's memory behind a span, and the first byte of it; None where it is the host's.
pub(crate) fn held_of(span: &Span) -> Option<(&Held, usize)> {
    let (remote, offset) = span.remote()?;
    let held = (remote as &dyn Any).downcast_ref::<Held>()?;
    Some((held, offset))
}

/// A span as products and copies take it.
pub fn part(span: &Span) -> Result<Part, String> {
    let (held, offset) = held_of(span).ok_or("a tensor lies on the CPU beside one on a device. Copy one of them to where the other is.")?;
    Part::at(&held.block, span.dtype(), offset, span.len()).map_err(told)
}

/// A span as kernels take it.
pub(crate) fn memory(span: &Span) -> Argument {
    Argument::Memory(span.as_ptr() as u64)
}

/// The same, none where there is none.
pub(crate) fn optional(span: &Option<Span>) -> Argument {
    span.as_ref().map_or(Argument::Memory(0), memory)
}

/// The memory from an element of a span on.
pub(crate) fn from_element(span: &Span, element: usize) -> Argument {
    Argument::Memory(span.as_ptr() as u64 + (element * span.dtype().size()) as u64)
}

impl Accelerator {
    /// A new tensor with arbitrary contents, counted under the category of this thread.
    pub fn empty(self: &Arc<Self>, dtype: DType, len: usize) -> Result<Span, String> {
        let bytes = len.checked_mul(dtype.size()).filter(|&bytes| isize::try_from(bytes).is_ok()).ok_or_else(|| {
            let size = dtype.size();
            format!("{}: out of memory: {len} elements of {size} bytes were asked for. Use smaller tensors.", self.name())
        })?;
        let block = Arc::new(Block::new(&self.device, STREAM, bytes).map_err(told)?);
        Ok(Span::of_remote(dtype, Box::new(Held { block, on: Arc::clone(self) })))
    }

    /// The same, counted as working memory.
    pub(crate) fn scratch(self: &Arc<Self>, dtype: DType, len: usize) -> Result<Span, String> {
        let outside = Category::Workspace.make_current();
        let made = self.empty(dtype, len);
        outside.make_current();
        made
    }

    /// A new tensor that holds a copy of `bytes`, which may be changed once this returns: they travel by way of pinned memory.
    pub fn upload(self: &Arc<Self>, dtype: DType, bytes: &[u8]) -> Result<Span, String> {
        let span = self.empty(dtype, bytes.len() / dtype.size())?;
        if let Some((held, offset)) = held_of(&span).filter(|_| !bytes.is_empty()) {
            held.block.upload(offset, bytes).and_then(|work| work.wait(STREAM)).map_err(told)?;
        }
        Ok(span)
    }

    /// Copies the elements of a tensor to the host and waits for them. What kernels refused meanwhile is told here.
    pub fn read(&self, span: &Span, out: &mut [u8]) -> Result<(), String> {
        let (held, offset) = held_of(span).ok_or("a tensor lies on the CPU. Please report it.")?;
        if out.len() != span.byte_len() {
            return Err(format!("out has {} bytes for a tensor of {}. Pass an array of that size.", out.len(), span.byte_len()));
        }
        self.reads.fetch_add(1, Relaxed);
        let refused = self.refusals.download(&self.device)?;
        let values = held.block.download(STREAM, offset, out.len()).and_then(|download| download.read()).map_err(told)?;
        self.refusals.tell(refused)?;
        out.copy_from_slice(&values);
        Ok(())
    }

    /// Plants a refusal, for tests where kernels do not run.
    #[doc(hidden)]
    pub fn refuse_for_test(&self, position: u64) {
        _ = self.refusals.refuse_for_test(position);
    }

    /// A tensor of a few words of 32 bits that a kernel reads.
    pub(crate) fn words(self: &Arc<Self>, words: &[u32]) -> Result<Span, String> {
        let span = self.scratch(DType::I32, words.len())?;
        part(&span)?.write_words(STREAM, words).map_err(told)?;
        Ok(span)
    }

    /// A tensor with the elements of a small one of the host, which travel with the call where they are whole words.
    pub(crate) fn small(self: &Arc<Self>, host: &Span) -> Result<Span, String> {
        let (words, rest) = host.bytes().as_chunks::<4>();
        if !rest.is_empty() {
            return self.upload(host.dtype(), host.bytes());
        }
        let span = self.scratch(host.dtype(), host.len())?;
        let words: Vec<u32> = words.iter().map(|word| u32::from_ne_bytes(*word)).collect();
        part(&span)?.write_words(STREAM, &words).map_err(told)?;
        Ok(span)
    }

    /// Sets every byte of a tensor to zero.
    pub(crate) fn clear(&self, span: &Span) -> Result<(), String> {
        part(span)?.fill(STREAM, 0).map_err(told)
    }
}
