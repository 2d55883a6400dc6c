//! How memory divides into one block for each rank of a group.

use std::ops::Range;

/// Blocks one after another, by group rank. Lengths are in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocks {
    Even {
        each: usize,
        ranks: usize,
    },
    /// Where each block begins, and the end of the last.
    Uneven(Vec<usize>),
}

impl Blocks {
    pub fn even(each: usize, ranks: usize) -> Self {
        Self::Even { each, ranks }
    }

    /// Blocks of these lengths; None when they add up to more than memory can hold.
    pub fn of_counts(counts: &[usize]) -> Option<Self> {
        if let [first, others @ ..] = counts
            && others.iter().all(|count| count == first)
        {
            first.checked_mul(counts.len())?;
            return Some(Self::even(*first, counts.len()));
        }
        let mut starts = vec![0];
        let mut end = 0usize;
        for &count in counts {
            end = end.checked_add(count)?;
            starts.push(end);
        }
        Some(Self::Uneven(starts))
    }

    pub fn is_even(&self) -> bool {
        matches!(self, Self::Even { .. })
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        match self {
            Self::Even { ranks, .. } => *ranks,
            Self::Uneven(starts) => starts.len() - 1,
        }
    }

    /// The elements of `member`.
    pub fn of(&self, member: usize) -> Range<usize> {
        match self {
            Self::Even { each, .. } => member * each..(member + 1) * each,
            Self::Uneven(starts) => starts[member]..starts[member + 1],
        }
    }

    /// Elements of all blocks together; saturates.
    pub fn total(&self) -> usize {
        match self {
            Self::Even { each, ranks } => each.saturating_mul(*ranks),
            Self::Uneven(starts) => starts[starts.len() - 1],
        }
    }

    /// Elements of each block.
    pub fn counts(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.ranks()).map(|member| self.of(member).len())
    }

    /// Elements of the longest block.
    pub fn longest(&self) -> usize {
        self.counts().max().unwrap_or(0)
    }
}
