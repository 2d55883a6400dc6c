//! Walks of a dense index space through strided memory: broadcast, permuted and sliced operands.

use crate::disjoint::chunk_range;
use std::ops::Range;

/// The most dims of a layout.
pub const MAX_RANK: usize = 12;

/// Extents, and for each of N operands its strides in elements and its first element. Stride 0 repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout<const N: usize> {
    rank: usize,
    dims: [usize; MAX_RANK],
    strides: [[usize; MAX_RANK]; N],
    offsets: [usize; N],
}

impl<const N: usize> Layout<N> {
    /// Operands that are all dense and of one length.
    pub fn dense(len: usize) -> Layout<N> {
        let mut layout = Layout { rank: 1, dims: [1; MAX_RANK], strides: [[0; MAX_RANK]; N], offsets: [0; N] };
        layout.dims[0] = len;
        layout.strides.iter_mut().for_each(|strides| strides[0] = 1);
        layout
    }

    /// From `[rank, dims.., strides of operand 0.., strides of operand 1.., ..]`.
    pub fn parse(words: &[u32]) -> Result<Layout<N>, String> {
        let words: Vec<usize> = words.iter().map(|&word| word as usize).collect();
        let (&rank, rest) = words.split_first().ok_or("the layout is empty. Pass [rank, dims.., strides..].")?;
        if rank > MAX_RANK || rest.len() != rank * (1 + N) {
            let wanted = 1 + rank.saturating_mul(1 + N);
            return Err(format!(
                "a layout of rank {rank} has {} numbers. Pass {wanted} of them, and at most {MAX_RANK} dims.",
                words.len()
            ));
        }
        let (dims, strides) = rest.split_at(rank);
        Layout::new(dims, std::array::from_fn(|operand| &strides[operand * rank..][..rank]), [0; N])
    }

    /// From its parts; `dims` and each operand's strides have one length.
    pub fn new(dims: &[usize], strides: [&[usize]; N], offsets: [usize; N]) -> Result<Layout<N>, String> {
        if dims.len() > MAX_RANK {
            return Err(format!("a layout of rank {} is too deep. Use at most {MAX_RANK} dims.", dims.len()));
        }
        if dims.iter().try_fold(1usize, |numel, &dim| numel.checked_mul(dim)).is_none() {
            return Err(format!("dims {dims:?} have more elements than fit in memory. Use smaller ones."));
        }
        let mut layout = Layout { rank: 0, dims: [1; MAX_RANK], strides: [[0; MAX_RANK]; N], offsets };
        for (index, &dim) in dims.iter().enumerate() {
            layout.push(dim, std::array::from_fn(|operand| strides[operand][index]));
        }
        if layout.rank == 0 {
            layout.rank = 1;
        }
        Ok(layout)
    }

    /// Adds an inner dim; one that continues the last dim of every operand is merged with it, one of extent 1 left out.
    fn push(&mut self, dim: usize, strides: [usize; N]) {
        if dim == 1 {
            return;
        }
        let last = self.rank.wrapping_sub(1);
        let merges = self.rank > 0 && (0..N).all(|operand| Some(self.strides[operand][last]) == strides[operand].checked_mul(dim));
        let place = if merges { last } else { self.rank };
        self.dims[place] = if merges { self.dims[place] * dim } else { dim };
        for (operand, stride) in strides.into_iter().enumerate() {
            self.strides[operand][place] = stride;
        }
        self.rank = place + 1;
    }

    /// The same with other first elements.
    pub fn at(mut self, offsets: [usize; N]) -> Layout<N> {
        self.offsets = offsets;
        self
    }

    /// How many elements are walked.
    pub fn numel(&self) -> usize {
        self.dims().iter().product()
    }

    /// The merged extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank]
    }

    /// The merged strides of an operand.
    pub fn strides(&self, operand: usize) -> &[usize] {
        &self.strides[operand][..self.rank]
    }

    /// The first element of an operand.
    pub fn offset(&self, operand: usize) -> usize {
        self.offsets[operand]
    }

    /// The strides of the innermost dim.
    pub fn inner_strides(&self) -> [usize; N] {
        std::array::from_fn(|operand| self.strides[operand][self.rank - 1])
    }

    /// Refuses a walk that leaves one of the operands.
    pub fn check(&self, lengths: [usize; N]) -> Result<(), String> {
        if self.numel() == 0 {
            return Ok(());
        }
        for (operand, length) in lengths.into_iter().enumerate() {
            let reach = self
                .dims()
                .iter()
                .zip(self.strides(operand))
                .try_fold(self.offsets[operand], |sum, (&dim, &stride)| sum.checked_add((dim - 1).checked_mul(stride)?));
            if reach.is_none_or(|last| last >= length) {
                return Err(format!(
                    "dims {:?} with strides {:?} from {} on leave operand {operand} of {length} elements. \
                     Pass dims and strides of that tensor.",
                    self.dims(),
                    self.strides(operand),
                    self.offsets[operand]
                ));
            }
        }
        Ok(())
    }

    /// Whether no two walked elements are one element of `operand` (sufficient, not necessary).
    pub fn is_injective(&self, operand: usize) -> bool {
        let mut dims: Vec<(usize, usize)> = self.strides(operand).iter().copied().zip(self.dims().iter().copied()).collect();
        dims.sort_unstable();
        let mut reach = 0usize;
        dims.into_iter().filter(|&(_, dim)| dim > 1).all(|(stride, dim)| {
            let free = stride > reach;
            reach = reach.saturating_add(stride.saturating_mul(dim - 1));
            free
        })
    }

    /// The index of element `number` of the walk.
    #[inline]
    fn index(&self, number: usize) -> [usize; MAX_RANK] {
        let mut index = [0usize; MAX_RANK];
        let mut rest = number;
        for dim in (0..self.rank).rev() {
            index[dim] = rest % self.dims[dim];
            rest /= self.dims[dim];
        }
        index
    }

    #[inline]
    fn places_of(&self, index: &[usize; MAX_RANK]) -> [usize; N] {
        std::array::from_fn(|operand| {
            self.offsets[operand] + (0..self.rank).map(|dim| index[dim] * self.strides[operand][dim]).sum::<usize>()
        })
    }

    /// Where element `number` of the walk lies in each operand.
    pub fn places(&self, number: usize) -> [usize; N] {
        self.places_of(&self.index(number))
    }

    /// Calls `f(first, count, places)` for each run along the innermost dim within `range` of the walk: elements `first..first +
    /// count` of the dense order begin at `places` of the operands.
    #[inline]
    pub fn for_runs(&self, range: Range<usize>, mut f: impl FnMut(usize, usize, [usize; N])) {
        if range.is_empty() {
            return;
        }
        let inner = self.dims[self.rank - 1];
        let mut index = self.index(range.start);
        let mut places = self.places_of(&index);
        let mut first = range.start;
        loop {
            let column = index[self.rank - 1];
            let count = (inner - column).min(range.end - first);
            f(first, count, places);
            first += count;
            if first == range.end {
                return;
            }
            for (operand, place) in places.iter_mut().enumerate() {
                *place -= column * self.strides[operand][self.rank - 1];
            }
            index[self.rank - 1] = 0;
            self.advance(&mut index, &mut places);
        }
    }

    /// Steps to the next index of the outer dims; there is one.
    #[inline]
    fn advance(&self, index: &mut [usize; MAX_RANK], places: &mut [usize; N]) {
        for dim in (0..self.rank - 1).rev() {
            index[dim] += 1;
            let wraps = index[dim] == self.dims[dim];
            for (operand, place) in places.iter_mut().enumerate() {
                let stride = self.strides[operand][dim];
                *place = if wraps { *place - (self.dims[dim] - 1) * stride } else { *place + stride };
            }
            if !wraps {
                return;
            }
            index[dim] = 0;
        }
    }

    /// `for_runs` of chunk `index` of the walk.
    pub fn for_runs_of_chunk(&self, chunk: usize, index: usize, f: impl FnMut(usize, usize, [usize; N])) {
        self.for_runs(chunk_range(self.numel(), chunk, index), f);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_visits_every_index_in_order_whatever_the_chunk() {
        // A [2, 3, 4] tensor permuted to [4, 2, 3], beside one broadcast over the middle dim.
        let layout = Layout::<2>::parse(&[3, 4, 2, 3, 1, 12, 4, 3, 0, 1]).unwrap();
        let want: Vec<(usize, usize)> =
            (0..24).map(|i| (i / 6, i / 3 % 2, i % 3)).map(|(i, j, k)| (i + 12 * j + 4 * k, 3 * i + k)).collect();
        for chunk in [1, 2, 5, 24, 100] {
            let mut got = vec![(99, 99); 24];
            for index in 0..24usize.div_ceil(chunk) {
                let [sa, sb] = layout.inner_strides();
                layout.for_runs_of_chunk(chunk, index, |first, count, [a, b]| {
                    (0..count).for_each(|i| got[first + i] = (a + i * sa, b + i * sb));
                });
            }
            assert_eq!(got, want, "chunk {chunk}");
        }
    }

    #[test]
    fn adjacent_dims_merge_and_ones_vanish() {
        let layout = Layout::<1>::parse(&[4, 2, 1, 3, 4, 12, 7, 4, 1]).unwrap();
        assert_eq!((layout.dims(), layout.strides(0)), (&[24][..], &[1][..]));
        let scalar = Layout::<1>::parse(&[0]).unwrap();
        assert_eq!((scalar.numel(), scalar.check([1])), (1, Ok(())));
        let broadcast = Layout::<1>::parse(&[2, 5, 6, 0, 0]).unwrap();
        assert_eq!(broadcast.dims(), [30]);
    }

    #[test]
    fn a_walk_outside_or_a_malformed_layout_is_refused() {
        assert!(Layout::<1>::parse(&[2, 3, 4, 4, 1]).unwrap().check([11]).is_err());
        assert!(Layout::<1>::parse(&[2, 3, 4, 4, 1]).unwrap().at([1]).check([12]).is_err());
        for words in [&[][..], &[2, 3, 4, 4], &[13; 27], &[3, u32::MAX, u32::MAX, u32::MAX, 0, 0, 0]] {
            assert!(Layout::<1>::parse(words).is_err());
        }
        assert!(Layout::<1>::parse(&[3, 0, 4, 4, 9, 9, 9]).unwrap().check([0]).is_ok());
    }

    #[test]
    fn overlap_is_seen() {
        for (words, want) in [([2, 3, 4, 4, 1], true), ([2, 4, 3, 1, 4], true), ([2, 3, 4, 0, 1], false), ([2, 3, 4, 2, 1], false)] {
            assert_eq!(Layout::<1>::parse(&words).unwrap().is_injective(0), want, "{words:?}");
        }
    }
}
