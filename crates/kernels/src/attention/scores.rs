//! What both passes do with the scores of a row before they become probabilities.

use super::head::Head;
use super::sight::{Sight, Strip};
use super::{Attention, Inputs, cpu};
use crate::gemm::{Finish, Source, Target, Work};
use std::ops::Range;

/// A product of parts of the buffers.
pub(super) fn product<'a>([m, n, k]: [usize; 3], [a, b]: [Source; 2], c: Target, finish: &'a [&'a dyn Finish]) -> Work<'a> {
    Work { m, n, k, a, b, c, bias: std::ptr::null(), accumulate: false, finish }
}

/// An attention with all that its rows are held against.
pub(super) struct Rows<'a> {
    pub shape: &'a Attention,
    pub sight: Sight<'a>,
    bias: Option<&'a [f32]>,
}

impl<'a> Rows<'a> {
    pub fn new<T>(shape: &'a Attention, inputs: &Inputs<'a, T>) -> Rows<'a> {
        Rows { shape, sight: Sight::new(shape, inputs.segments), bias: inputs.bias }
    }

    /// Row `i` of a strip in `[heads, queries, keys]`: its elements for the strip's keys.
    pub fn bias_range<T>(&self, head: &Head<T>, strip: &Strip, i: usize) -> Range<usize> {
        let start = (head.number * self.shape.queries + strip.first + i) * self.shape.keys + strip.first_key;
        start..start + strip.keys
    }

    /// Adds the bias to row `i` of a strip and hides the keys of other segments that lie between those it sees. Returns these, and
    /// the factor that the scores still need.
    pub fn prepare<T>(&self, head: &Head<T>, strip: &Strip, i: usize, scores: &mut [f32]) -> (Range<usize>, f32) {
        let seen = self.sight.seen(head.sample, strip, i);
        let mut scale = self.shape.scale;
        if let Some(bias) = self.bias {
            cpu::scale_and_add(scores, &bias[self.bias_range(head, strip, i)], scale);
            scale = 1.0;
        }
        if let Some((segments, own)) = self.sight.others(head.sample, strip, i) {
            cpu::hide(scores, segments, own);
        }
        (seen, scale)
    }

    /// The factors of the keys of row `i` of a strip; none without dropout.
    pub fn factors<'m, T>(&self, head: &Head<T>, strip: &Strip, i: usize, memory: &'m mut [f32]) -> &'m [f32] {
        let Some(dropout) = &self.shape.dropout else { return &[] };
        let factors = &mut memory[..strip.keys];
        dropout.factors([head.sample, head.number, strip.first + i], strip.first_key, factors);
        factors
    }
}
