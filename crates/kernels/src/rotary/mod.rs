//! Rotary position embedding of a fused buffer `[seq, batch, q heads | k heads | v heads, d]`: within the first `rotated` channels
//! of each q and k head, pair i is turned by the angle of the token's position and frequency i. A pair is (i, i + rotated / 2), or
//! (2 i, 2 i + 1) when interleaved. All else is copied. Backward turns the gradient back.
//!
//! Values are f32 or bf16; angles and what is computed with them are f32.

mod cpu;

use crate::disjoint::{CHUNK, Disjoint, chunk_range};
use crate::extent::expect;
use crate::pool;
use crate::stored::Value;

/// The extents of a rotary embedding, and which way it turns.
#[derive(Clone, Copy, Debug)]
pub struct Rotary {
    pub seq: usize,
    pub batch: usize,
    pub heads: usize,
    pub key_heads: usize,
    pub head_dim: usize,
    /// Channels of a head that are turned: an even number.
    pub rotated: usize,
    pub interleaved: bool,
    /// Turn back, as the backward pass does.
    pub back: bool,
}

/// The angles that tokens are turned by.
#[derive(Clone, Copy)]
pub struct Angles<'a> {
    /// `[positions, rotated]`: the cosines of a position's angles, then their sines.
    pub table: &'a [f32],
    /// The position of each token, `[seq, batch]`; its place in the sequence where none are given.
    pub positions: Option<&'a [i32]>,
}

impl Rotary {
    fn shape(&self) -> [usize; 4] {
        [self.seq, self.batch, self.heads.saturating_add(self.key_heads.saturating_mul(2)), self.head_dim]
    }

    fn check(&self, angles: &Angles) -> Result<(), String> {
        let Rotary { head_dim, rotated, .. } = *self;
        if !rotated.is_multiple_of(2) || rotated == 0 || rotated > head_dim {
            return Err(format!("rotary: {rotated} of {head_dim} channels cannot be turned. Use an even number from 2 to {head_dim}."));
        }
        if !angles.table.len().is_multiple_of(rotated) {
            let len = angles.table.len();
            return Err(format!("rotary: a table of {len} values is not whole rows of {rotated}. Pass a table [positions, {rotated}]."));
        }
        let rows = angles.table.len() / rotated;
        let Some(positions) = angles.positions else {
            let seq = self.seq;
            let outside = || format!("rotary: {seq} positions are more than the {rows} of the table. Pass a longer table.");
            return if seq <= rows { Ok(()) } else { Err(outside()) };
        };
        expect("rotary", "positions", positions.len(), &[self.seq, self.batch])?;
        match positions.iter().position(|&position| usize::try_from(position).map_or(true, |position| position >= rows)) {
            None => Ok(()),
            Some(token) => Err(format!(
                "rotary: the position {} of token {} of sample {} is not in the table of {rows} positions. Pass a longer table.",
                positions[token],
                token / self.batch,
                token % self.batch
            )),
        }
    }
}

/// Turns the heads of x into y.
pub fn rotary<T: Value>(x: &[T], angles: &Angles, shape: &Rotary, y: &mut [T]) -> Result<(), String> {
    expect("rotary", "x", x.len(), &shape.shape())?;
    expect("rotary", "y", y.len(), &shape.shape())?;
    shape.check(angles)?;
    let (tokens, row) = (shape.seq * shape.batch, (shape.heads + 2 * shape.key_heads) * shape.head_dim);
    let chunk = (CHUNK / row.max(1)).max(1);
    let y = Disjoint::new(y);
    pool::run(tokens.div_ceil(chunk), &|item| {
        for token in chunk_range(tokens, chunk, item) {
            let place = angles.positions.map_or(token / shape.batch, |positions| positions[token] as usize);
            let angles = &angles.table[place * shape.rotated..][..shape.rotated];
            let values = token * row..(token + 1) * row;
            // SAFETY: each token belongs to one item.
            cpu::turn_row::<T>(&x[values.clone()], angles, shape, unsafe { y.part(values) });
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests;
