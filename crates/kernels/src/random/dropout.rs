//! Which elements a dropout leaves out. The draw of an element is a function of the key and of its place in the whole model, so it
//! is the same on every layout and when the backward pass draws it again. A place is (sample, head, row) and a number in the row:
//! (sample, head, query) and key for probabilities, (sample, 0, token) and channel for activations.

use super::cpu::philox;
use crate::simd::multiversion;

/// A dropout.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Elements whose word is below this share of 2^32 are left out.
    threshold: u32,
    /// 1 / (1 - p).
    factor: f32,
    /// Key of the generator: made of seed, step and site.
    key: [u32; 2],
    /// Number of the first sample and of the first head of this rank in the whole model.
    first: [u32; 2],
}

/// Blocks of four elements that are drawn together.
const GROUP: usize = 16;
/// Elements of a group.
const ELEMENTS: usize = 4 * GROUP;

impl Dropout {
    /// Leaves out an element with probability `p`, which lies in [0, 1).
    pub fn new(p: f64, key: [u32; 2], first: [u32; 2]) -> Result<Dropout, String> {
        if !(0.0..1.0).contains(&p) {
            return Err(format!("a dropout of {p} is no probability below 1. Use a number from 0 to below 1."));
        }
        Ok(Dropout { threshold: (p * 4_294_967_296.0) as u32, factor: (1.0 / (1.0 - p)) as f32, key, first })
    }

    /// The key, then the first sample and the first head: what a kernel of a device draws from.
    pub fn draw(&self) -> [u32; 4] {
        [self.key[0], self.key[1], self.first[0], self.first[1]]
    }

    /// Words below it are left out.
    pub fn threshold(&self) -> u32 {
        self.threshold
    }

    /// What kept elements are multiplied by.
    pub fn factor(&self) -> f32 {
        self.factor
    }

    /// The factors of `out.len()` elements of a row from number `first` on: 0, or 1 / (1 - p). The place is (sample, head, row), the
    /// first two counted on this rank.
    pub(crate) fn factors(&self, [sample, head, row]: [usize; 3], first: usize, out: &mut [f32]) {
        let place = [row as u32, self.first[1].wrapping_add(head as u32), self.first[0].wrapping_add(sample as u32)];
        let end = first + out.len();
        let mut group = [0f32; ELEMENTS];
        for start in (first / ELEMENTS * ELEMENTS..end).step_by(ELEMENTS) {
            draw_group(self, place, (start / 4) as u32, &mut group);
            let (from, to) = (start.max(first), end.min(start + ELEMENTS));
            out[from - first..to - first].copy_from_slice(&group[from - start..to - start]);
        }
    }
}

multiversion! {
    /// The factors of a group: element 4 c + lane is word `lane` of the block with counter (c, row, head, sample).
    fn draw_group(dropout: &Dropout, place: [u32; 3], first_block: u32, out: &mut [f32; ELEMENTS]) {
        let blocks = std::array::from_fn(|i| first_block.wrapping_add(i as u32));
        let counters = [blocks, [place[0]; GROUP], [place[1]; GROUP], [place[2]; GROUP]];
        let words = philox(counters, dropout.key);
        for (lane, words) in words.iter().enumerate() {
            for (block, word) in words.iter().enumerate() {
                out[4 * block + lane] = if *word < dropout.threshold { 0.0 } else { dropout.factor };
            }
        }
    }
}
