//! Raw operations that make, read and end tensors.

use super::results::on_host;
use crate::hot_op::hot_ops;
use crate::tensors::{apart, build, current_device, insert, remove, span, whole};
use device::{accelerator_of, common, ops};
use kernels::{cast, fill, non_finite};
use storage::{Category, DType, Span};

fn unfilled(dtype: u32, numel: f64) -> Result<u32, String> {
    let (dtype, numel) = (DType::from_code(dtype)?, whole("numel", numel)?);
    match current_device() {
        Some(on) => insert(on.empty(dtype, numel)?),
        None => insert(Span::new(dtype, numel)?),
    }
}

hot_ops! {
    /// A new tensor of `dtype` that holds a copy of `bytes`.
    fromBytes(dtype: u32, bytes: &[u8]) -> u32 {
        let dtype = DType::from_code(dtype)?;
        if !bytes.len().is_multiple_of(dtype.size()) {
            let (name, size) = (dtype.name(), dtype.size());
            return Err(format!("{} bytes are no whole number of {name} elements. Pass a multiple of {size}.", bytes.len()));
        }
        if let Some(on) = current_device() {
            return insert(on.upload(dtype, bytes)?);
        }
        let target = Span::new(dtype, bytes.len() / dtype.size())?;
        // SAFETY: the span is new: nobody else reads or writes it.
        unsafe { target.bytes_mut() }.copy_from_slice(bytes);
        insert(target)
    }

    /// A new tensor with arbitrary contents.
    empty(dtype: u32, numel: f64) -> u32 {
        unfilled(dtype, numel)
    }

    /// The same, counted as memory of this category.
    emptyIn(dtype: u32, numel: f64, category: u32) -> u32 {
        let before = Category::from_code(category)?.make_current();
        let made = unfilled(dtype, numel);
        before.make_current();
        made
    }

    /// A new tensor whose elements are all `value`.
    filled(dtype: u32, numel: f64, value: f64) -> u32 {
        let (dtype, numel) = (DType::from_code(dtype)?, whole("numel", numel)?);
        match current_device() {
            Some(on) => insert(ops::fill::filled(&on, dtype, numel, value)?),
            None => build(dtype, numel, |target| fill::fill(target, value)),
        }
    }

    /// `numel` elements of `h` from element `offset` on, in the same memory.
    alias(h: u32, offset: f64, numel: f64) -> u32 {
        insert(span("alias", h)?.alias(whole("offset", offset)?, whole("numel", numel)?)?)
    }

    /// Copies the elements of `h` into `out`, which has as many bytes.
    toBytes(h: u32, out: &mut [u8]) -> () {
        let source = span("toBytes", h)?;
        if let Some(on) = accelerator_of(&source) {
            return on.read(&source, out);
        }
        if out.len() != source.byte_len() {
            return Err(format!("out has {} bytes for a tensor of {}. Pass an array of that size.", out.len(), source.byte_len()));
        }
        out.copy_from_slice(source.bytes());
        Ok(())
    }

    /// The element of a tensor of one.
    item(h: u32) -> f64 {
        let source = span("item", h)?;
        if source.len() != 1 {
            return Err(format!("the tensor has {} elements. Pass a tensor of one, or reduce it first.", source.len()));
        }
        let (number, source) = (Span::new(DType::F64, 1)?, on_host(source)?);
        cast::cast(&number, &source)?;
        Ok(number.slice::<f64>()?[0])
    }

    /// Sets every element to `value`.
    fill(h: u32, value: f64) -> () {
        let target = span("fill", h)?;
        match accelerator_of(&target) {
            Some(on) => ops::fill::fill(on, &target, value),
            None => fill::fill(&target, value),
        }
    }

    /// Copies src into dst, which has as many elements, with a cast where the types differ.
    copyInto(dst: u32, src: u32) -> () {
        let (dst, src) = (span("copyInto", dst)?, span("copyInto", src)?);
        let (on, src) = (common([&dst, &src])?.cloned(), apart(&dst, src)?);
        match on {
            Some(on) => ops::cast::copy_into(&on, &dst, &src),
            None => cast::cast(&dst, &src),
        }
    }

    /// A new tensor of `dtype` with the elements of `h`: floats to nearest even, floats to integers by truncation.
    cast(h: u32, dtype: u32) -> u32 {
        let source = span("cast", h)?;
        let dtype = DType::from_code(dtype)?;
        match accelerator_of(&source) {
            Some(on) => insert(ops::cast::cast(on, &source, dtype)?),
            None => build(dtype, source.len(), |target| cast::cast(target, &source)),
        }
    }

    /// How many elements of a tensor of floats are NaN or infinite.
    nonFinite(h: u32) -> f64 {
        let x = span("nonFinite", h)?;
        match accelerator_of(&x) {
            Some(on) => ops::non_finite::non_finite(on, &x),
            None => non_finite::non_finite(&x),
        }
        .map(|count| count as f64)
    }

    /// Panics on purpose: proves that a panic becomes a JavaScript error.
    panicForTest() -> () {
        panic!("a planted panic")
    }

    /// Counts this thread's new tensors under a category from now on: 0 parameters, 1 gradients, 2 optimizer, 3 activations,
    /// 4 workspace, 5 communication. Returns the one before.
    setMemoryCategory(category: u32) -> u32 {
        Ok(Category::from_code(category)?.make_current() as u32)
    }

    /// Counts the memory in which `h` lies under another category from now on.
    categorize(h: u32, category: u32) -> () {
        span("categorize", h)?.categorize(Category::from_code(category)?);
        Ok(())
    }

    /// Ends a handle; false when it was not live.
    release(h: u32) -> bool {
        Ok(remove(h))
    }

    /// Ends the first `count` of `handles`; those that are not live are passed over.
    releaseMany(handles: &[u32], count: u32) -> () {
        handles.iter().take(count as usize).for_each(|&handle| {
            remove(handle);
        });
        Ok(())
    }
}
