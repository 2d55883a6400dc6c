//! Least, greatest and mean finite element, and how many are NaN or infinite: what a look at a tensor shows.

#[cfg(test)]
mod tests;

use crate::cast::cast;
use storage::{DType, Span};

/// A summary of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Least finite element; NaN when there is none.
    pub min: f64,
    /// Greatest finite element; NaN when there is none.
    pub max: f64,
    /// Mean of the finite elements; NaN when there is none.
    pub mean: f64,
    pub nan: u64,
    pub inf: u64,
}

/// The summary of a tensor of any type.
pub fn moments(span: &Span) -> Result<Moments, String> {
    let as_f64 = |source: &Span| -> Result<Span, String> {
        let copy = Span::new(DType::F64, source.len())?;
        cast(&copy, source)?;
        Ok(copy)
    };
    let mut total = Moments { min: f64::NAN, max: f64::NAN, mean: 0.0, nan: 0, inf: 0 };
    const PIECE: usize = 1 << 20;
    for start in (0..span.len()).step_by(PIECE) {
        let piece = as_f64(&span.alias(start, PIECE.min(span.len() - start))?)?;
        for &x in piece.slice::<f64>()? {
            if x.is_finite() {
                total.min = total.min.min(x);
                total.max = total.max.max(x);
                total.mean += x;
            } else if x.is_nan() {
                total.nan += 1;
            } else {
                total.inf += 1;
            }
        }
    }
    total.mean /= (span.len() as u64 - total.nan - total.inf) as f64;
    Ok(total)
}
