//! Which keys each query sees: those of its mask, its window and its segment.

use super::{Attention, STRIP};
use std::collections::HashMap;
use std::ops::Range;

/// Who sees whom in a whole attention; memory is linear in its rows.
pub(super) struct Sight<'a> {
    shape: &'a Attention,
    segments: Option<Segments>,
}

struct Segments {
    /// Of each query, sample by sample: the keys of its segment.
    spans: Vec<Span>,
    /// Of each key, sample by sample: its segment.
    keys: Vec<i32>,
}

/// From the first to the last key of a segment.
#[derive(Clone, Copy, Default)]
struct Span {
    first: usize,
    end: usize,
    segment: i32,
    /// Whether keys of other segments lie between.
    is_ragged: bool,
}

/// Keys of other segments that lie between those that a row sees: the segments of the strip's keys, and its own.
pub(super) type Others<'a> = Option<(&'a [i32], i32)>;

impl<'a> Sight<'a> {
    /// `segments` of queries `[queries, batch]` and of keys `[keys, batch]`, of the checked lengths.
    pub fn new(shape: &'a Attention, segments: [Option<&[i32]>; 2]) -> Sight<'a> {
        let [queries, keys] = segments;
        if queries.is_none() && keys.is_none() {
            return Sight { shape, segments: None };
        }
        let batch = shape.batch;
        let of = |rows: Option<&[i32]>, count: usize, sample: usize| -> Vec<i32> {
            rows.map_or_else(|| vec![0; count], |rows| rows.iter().skip(sample).step_by(batch).copied().collect())
        };
        let (mut spans, mut all_keys) = (Vec::new(), Vec::new());
        for sample in 0..batch {
            let keys = of(keys, shape.keys, sample);
            let places = spans_of(&keys);
            for run in of(queries, shape.queries, sample).chunk_by(|a, b| a == b) {
                let span = places.get(&run[0]).copied().unwrap_or_default();
                spans.extend(std::iter::repeat_n(span, run.len()));
            }
            all_keys.extend(keys);
        }
        Sight { shape, segments: Some(Segments { spans, keys: all_keys }) }
    }

    /// Keys that query `row` of a sample sees, but for its `others`.
    fn keys(&self, sample: usize, row: usize) -> Range<usize> {
        let Attention { queries, keys, causal, window, .. } = *self.shape;
        let end = if causal { row + 1 } else { keys };
        let all = window.map_or(0, |window| end.saturating_sub(window))..end;
        let Some(segments) = &self.segments else { return all };
        let span = &segments.spans[sample * queries + row];
        let seen = all.start.max(span.first)..all.end.min(span.end);
        if seen.is_empty() { 0..0 } else { seen }
    }

    /// The queries of strip `index` against all keys that one of them sees.
    pub fn strip(&self, sample: usize, index: usize) -> Strip {
        let first = index * STRIP;
        let rows = STRIP.min(self.shape.queries - first);
        let seen = (first..first + rows).map(|row| self.keys(sample, row)).filter(|keys| !keys.is_empty());
        let all = seen.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or_default();
        Strip { first, rows, first_key: all.start, keys: all.len(), row: padded(all.len()) }
    }

    /// Keys that row `i` of a strip sees, counted from the strip's first.
    pub fn seen(&self, sample: usize, strip: &Strip, i: usize) -> Range<usize> {
        let keys = self.keys(sample, strip.first + i);
        if keys.is_empty() { 0..0 } else { keys.start - strip.first_key..keys.end - strip.first_key }
    }

    /// What row `i` of a strip does not see among these keys.
    pub fn others(&self, sample: usize, strip: &Strip, i: usize) -> Others<'_> {
        let segments = self.segments.as_ref()?;
        let span = &segments.spans[sample * self.shape.queries + strip.first + i];
        let first = sample * self.shape.keys + strip.first_key;
        span.is_ragged.then(|| (&segments.keys[first..first + strip.keys], span.segment))
    }
}

/// Where the keys of each segment lie.
fn spans_of(keys: &[i32]) -> HashMap<i32, Span> {
    let (mut spans, mut first) = (HashMap::<i32, Span>::new(), 0);
    for run in keys.chunk_by(|a, b| a == b) {
        let end = first + run.len();
        if run[0] >= 0 {
            let fresh = Span { first, end: first, segment: run[0], is_ragged: false };
            let span = spans.entry(run[0]).or_insert(fresh);
            span.is_ragged |= span.end != first;
            span.end = end;
        }
        first = end;
    }
    spans
}

/// The stride of score rows: whole vectors, and never rows that all fall on one cache set.
fn padded(keys: usize) -> usize {
    let row = keys.next_multiple_of(16);
    if row.is_multiple_of(256) { row + 16 } else { row }
}

/// Queries `first..first + rows` against `keys` keys from `first_key` on; scores lie `row` apart.
#[derive(Clone, Copy)]
pub(super) struct Strip {
    pub first: usize,
    pub rows: usize,
    pub first_key: usize,
    pub keys: usize,
    pub row: usize,
}
