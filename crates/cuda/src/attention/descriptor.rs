//! The backend's descriptors: made, told their attributes, finished, and ended when dropped.

use super::calls::{Calls, SUCCESS};
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type, cudnnBackendDescriptor_t, cudnnBackendDescriptorType_t,
};
use std::ptr;
use std::sync::Arc;

/// The call that failed, its status, and what the library says of it.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub call: &'static str,
    pub status: u32,
    pub words: String,
}

impl Failure {
    pub fn of(calls: &Calls, call: &'static str, status: u32) -> Result<(), Failure> {
        if status == SUCCESS { Ok(()) } else { Err(Failure { call, status, words: calls.last_words() }) }
    }

    /// Whether the library refuses a graph, or fails to compile it, as 9.28 does gradients of heads of 256 channels on Blackwell: others can.
    pub fn is_refusal(&self) -> bool {
        matches!(self.status, 2000..=4999)
    }

    pub fn told(&self, calls: &Calls) -> String {
        let words = if self.words.is_empty() { String::new() } else { format!(": {}", self.words) };
        format!("{} fails with {}{words}", self.call, calls.result_name(self.status))
    }
}

/// One of the backend's objects.
pub(super) struct Descriptor {
    calls: Arc<Calls>,
    pub raw: cudnnBackendDescriptor_t,
}

// SAFETY: the library's descriptors may be used on any thread, one at a time: the lock around all plans sees to that.
unsafe impl Send for Descriptor {}

impl Descriptor {
    pub fn new(calls: &Arc<Calls>, kind: cudnnBackendDescriptorType_t) -> Result<Descriptor, Failure> {
        let mut raw = ptr::null_mut();
        // SAFETY: one handle is written.
        Failure::of(calls, "cudnnBackendCreateDescriptor", unsafe { (calls.cudnnBackendCreateDescriptor)(kind, &mut raw) })?;
        Ok(Descriptor { calls: Arc::clone(calls), raw })
    }

    /// Sets an attribute to values of the type that `kind` stands for.
    pub fn set<V: Copy>(&self, name: Name, kind: Type, values: &[V]) -> Result<(), Failure> {
        let (count, place) = (values.len() as i64, values.as_ptr().cast());
        // SAFETY: the descriptor lives, and as many values are read, which are copied.
        let status = unsafe { (self.calls.cudnnBackendSetAttribute)(self.raw, name, kind, count, place) };
        Failure::of(&self.calls, "cudnnBackendSetAttribute", status)
    }

    pub fn set_numbers(&self, name: Name, values: &[i64]) -> Result<(), Failure> {
        self.set(name, Type::CUDNN_TYPE_INT64, values)
    }

    pub fn set_flag(&self, name: Name) -> Result<(), Failure> {
        self.set(name, Type::CUDNN_TYPE_BOOLEAN, &[true])
    }

    pub fn set_descriptor(&self, name: Name, other: &Descriptor) -> Result<(), Failure> {
        self.set(name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, &[other.raw])
    }

    /// A number that it has.
    pub fn number(&self, name: Name) -> Result<i64, Failure> {
        let (mut value, mut count) = (0_i64, 0);
        let place = (&raw mut value).cast();
        // SAFETY: there is room for one number.
        let status = unsafe { (self.calls.cudnnBackendGetAttribute)(self.raw, name, Type::CUDNN_TYPE_INT64, 1, &mut count, place) };
        Failure::of(&self.calls, "cudnnBackendGetAttribute", status).map(|()| value)
    }

    /// Writes descriptors that it has over `others`; how many there are.
    pub fn descriptors(&self, name: Name, others: &[Descriptor]) -> Result<usize, Failure> {
        let mut raw: Vec<cudnnBackendDescriptor_t> = others.iter().map(|other| other.raw).collect();
        let (mut count, room) = (0, raw.len() as i64);
        let kind = Type::CUDNN_TYPE_BACKEND_DESCRIPTOR;
        // SAFETY: there are as many descriptors, which the library fills.
        let status = unsafe { (self.calls.cudnnBackendGetAttribute)(self.raw, name, kind, room, &mut count, raw.as_mut_ptr().cast()) };
        Failure::of(&self.calls, "cudnnBackendGetAttribute", status)?;
        Ok(usize::try_from(count).unwrap_or(0).min(others.len()))
    }

    pub fn finish(self) -> Result<Descriptor, Failure> {
        // SAFETY: the descriptor lives.
        Failure::of(&self.calls, "cudnnBackendFinalize", unsafe { (self.calls.cudnnBackendFinalize)(self.raw) })?;
        Ok(self)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the descriptor lives, and nobody uses it any more.
        unsafe { (self.calls.cudnnBackendDestroyDescriptor)(self.raw) };
    }
}
