//! A descriptor: attributes by their numbers, and a copy that others may refer to once it is finished.

use super::{BAD_PARAM, NOT_FINALIZED, Refusal, of, refuse};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

/// What an attribute was set to.
#[derive(Clone)]
pub enum Value {
    /// Numbers, flags, places and choices, whatever their size.
    Words(Vec<u64>),
    Descriptors(Vec<Arc<Finished>>),
}

/// What a descriptor is once nothing more is set.
#[derive(Clone)]
pub struct Finished {
    pub kind: u32,
    /// The type and the value of each attribute.
    pub attributes: BTreeMap<u32, (u32, Value)>,
}

/// What a handle of the library's stands for.
pub struct Descriptor {
    pub kind: u32,
    pub attributes: BTreeMap<u32, (u32, Value)>,
    pub finished: Option<Arc<Finished>>,
}

impl Finished {
    /// The words of an attribute of this type.
    pub fn words(&self, attribute: u32, of: u32) -> Result<&[u64], Refusal> {
        match self.attributes.get(&attribute) {
            Some((told, Value::Words(words))) if *told == of => Ok(words),
            _ => refuse(BAD_PARAM, format!("attribute {attribute} of a descriptor of kind {} is not set as type {of}", self.kind)),
        }
    }

    pub fn word(&self, attribute: u32, of: u32) -> Result<u64, Refusal> {
        match self.words(attribute, of)? {
            [word] => Ok(*word),
            words => refuse(BAD_PARAM, format!("attribute {attribute} has {} values", words.len())),
        }
    }

    pub fn has(&self, attribute: u32) -> bool {
        self.attributes.contains_key(&attribute)
    }

    /// Those that it refers to, all of one kind.
    pub fn others(&self, attribute: u32, kind: u32) -> Result<&[Arc<Finished>], Refusal> {
        match self.attributes.get(&attribute) {
            Some((_, Value::Descriptors(others))) if others.iter().all(|other| other.kind == kind) => Ok(others),
            _ => refuse(BAD_PARAM, format!("attribute {attribute} of a descriptor of kind {} is not one of kind {kind}", self.kind)),
        }
    }

    pub fn other(&self, attribute: u32, kind: u32) -> Result<&Arc<Finished>, Refusal> {
        match self.others(attribute, kind)? {
            [other] => Ok(other),
            others => refuse(BAD_PARAM, format!("attribute {attribute} has {} descriptors", others.len())),
        }
    }
}

/// Bytes of a value of this type.
fn size_of_type(of: u32) -> usize {
    match of {
        of::BOOLEAN | of::CHAR => 1,
        of::HANDLE | of::INT64 | of::POINTER | of::DESCRIPTOR => 8,
        _ => 4,
    }
}

/// The values that lie at `place`.
///
/// # Safety
/// `count` values of the type may be read there, and descriptors among them live.
pub unsafe fn read(of: u32, count: usize, place: *const c_void) -> Result<Value, Refusal> {
    let size = size_of_type(of);
    let words = (0..count).map(|at| {
        let mut bytes = [0; 8];
        // SAFETY: the caller's promise.
        unsafe { place.cast::<u8>().add(at * size).copy_to(bytes.as_mut_ptr(), size) };
        u64::from_le_bytes(bytes)
    });
    if of != of::DESCRIPTOR {
        return Ok(Value::Words(words.collect()));
    }
    let others = words.map(|word| {
        let other = ptr::with_exposed_provenance::<Descriptor>(word as usize);
        // SAFETY: the caller's promise.
        let finished = unsafe { other.as_ref() }.and_then(|other| other.finished.clone());
        finished.map_or_else(|| refuse(NOT_FINALIZED, "a descriptor that others refer to is not finished"), Ok)
    });
    Ok(Value::Descriptors(others.collect::<Result<_, Refusal>>()?))
}
