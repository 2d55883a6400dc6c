//! Tensors: how they lie, and their elements as numbers.

use super::descriptor::Finished;
use super::{BAD_PARAM, NOT_SUPPORTED, Refusal, of, refuse};
use crate::half;
use std::ptr;

const ALIGNMENT: u32 = 900;
const DATA: u32 = 901;
const DIMS: u32 = 902;
const STRIDES: u32 = 903;
const NUMBER: u32 = 906;
const PASSING: u32 = 907;
const BY_VALUE: u32 = 908;

pub const FLOAT: u64 = 0;
const HALF: u64 = 2;
const INT32: u64 = 4;
const BRAIN: u64 = 9;
pub const BOOLEAN: u64 = 11;

/// A tensor as its descriptor tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    pub number: u64,
    pub data: u64,
    pub dims: [usize; 4],
    pub strides: [usize; 4],
    pub alignment: usize,
    pub is_passing: bool,
    pub is_by_value: bool,
}

impl Tensor {
    pub fn of(finished: &Finished) -> Result<Tensor, Refusal> {
        let four = |attribute| {
            let words: Result<[u64; 4], _> = finished.words(attribute, of::INT64)?.try_into();
            words.map(|words| words.map(|word| word as usize)).or_else(|_| refuse(NOT_SUPPORTED, "tensors have 4 dims"))
        };
        let flag = |attribute| Ok(finished.has(attribute) && finished.word(attribute, of::BOOLEAN)? == 1);
        let made = Tensor {
            number: finished.word(NUMBER, of::INT64)?,
            data: finished.word(DATA, of::DATA_TYPE)?,
            dims: four(DIMS)?,
            strides: four(STRIDES)?,
            alignment: finished.word(ALIGNMENT, of::INT64)? as usize,
            is_passing: flag(PASSING)?,
            is_by_value: flag(BY_VALUE)?,
        };
        if !matches!(made.data, FLOAT | HALF | INT32 | BRAIN | BOOLEAN) {
            return refuse(NOT_SUPPORTED, format!("tensors of type {}", made.data));
        }
        if made.dims.contains(&0) || made.strides.contains(&0) || (made.is_passing && made.is_by_value) {
            return refuse(BAD_PARAM, format!("tensor {} has no elements, or is passing and by value", made.number));
        }
        Ok(made)
    }

    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// The dims of an element, counted row by row.
    pub fn index(&self, mut element: usize) -> [usize; 4] {
        let mut index = [0; 4];
        for dim in (0..4).rev() {
            index[dim] = element % self.dims[dim];
            element /= self.dims[dim];
        }
        index
    }

    pub fn element(&self, index: [usize; 4]) -> usize {
        index.iter().zip(&self.dims).fold(0, |element, (at, dim)| element * dim + at)
    }

    /// Where an element lies, in elements.
    pub fn place(&self, index: [usize; 4]) -> usize {
        index.iter().zip(&self.strides).map(|(at, stride)| at * stride).sum()
    }

    /// What a number becomes when this tensor holds it.
    pub fn rounded(&self, value: f32) -> f32 {
        match self.data {
            HALF => half::from_f16(half::to_f16(value)),
            BRAIN => half::from_bf16(half::to_bf16(value)),
            _ => value,
        }
    }

    /// All elements, row by row, from memory that begins at `place`.
    ///
    /// # Safety
    /// All of them lie there.
    pub unsafe fn load(&self, place: usize) -> Vec<f32> {
        let read = |element: usize| {
            let at = self.place(self.index(element));
            // SAFETY: the caller's promise.
            unsafe {
                match self.data {
                    HALF => half::from_f16(ptr::with_exposed_provenance::<u16>(place).add(at).read()),
                    BRAIN => half::from_bf16(ptr::with_exposed_provenance::<u16>(place).add(at).read()),
                    _ => ptr::with_exposed_provenance::<f32>(place).add(at).read(),
                }
            }
        };
        (0..self.len()).map(read).collect()
    }

    /// Writes all elements.
    ///
    /// # Safety
    /// As above.
    pub unsafe fn store(&self, place: usize, values: &[f32]) {
        for (element, &value) in values.iter().enumerate() {
            let at = self.place(self.index(element));
            // SAFETY: the caller's promise.
            unsafe {
                match self.data {
                    HALF => ptr::with_exposed_provenance_mut::<u16>(place).add(at).write(half::to_f16(value)),
                    BRAIN => ptr::with_exposed_provenance_mut::<u16>(place).add(at).write(half::to_bf16(value)),
                    _ => ptr::with_exposed_provenance_mut::<f32>(place).add(at).write(value),
                }
            }
        }
    }
}
