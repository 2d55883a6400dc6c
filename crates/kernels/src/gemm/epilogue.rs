//! What happens to the sums of a product before they are stored. A new epilogue is one more `impl Finish` here.

use super::matrix::{Matrix, MatrixMut};
use super::operand::{Source, Target};
use crate::simd::multiversion;
use crate::unary::cpu as unary;
use std::marker::PhantomData;

/// The plain epilogue, which every kernel has.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Added to every row.
    pub bias: Option<&'a [f32]>,
    /// Add to what C holds.
    pub accumulate: bool,
}

/// A step from finished sums (bias and accumulation included) towards what C stores. It sees every element once, in pieces of
/// rows at most [`PIECE`] long that are still in the first-level cache, in any order and from several threads.
pub trait Finish: Sync {
    /// One sentence when this step does not fit a product of `[rows, cols]`.
    fn fits(&self, rows: usize, cols: usize) -> Result<(), String>;

    /// Replaces `sums`, the elements of row `row` from column `col` on.
    ///
    /// # Safety
    /// The elements lie in the product that [`Finish::fits`] accepted, and nobody else finishes them meanwhile.
    unsafe fn finish(&self, sums: &mut [f32], row: usize, col: usize);
}

/// The longest piece of a row that a [`Finish`] sees.
pub const PIECE: usize = 64;

/// gelu(x) in one of its two forms, with the bits of the unary op; x may be kept for the backward.
pub struct Gelu<'a> {
    form: GeluForm,
    kept: Option<Kept<'a>>,
}

/// tanh: x sigmoid(2 u), u = (2/π)^(1/2) (x + 0.044715 x^3). erf: x (1 + erf(x / 2^(1/2))) / 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeluForm {
    Tanh,
    Erf,
}

/// A matrix that takes a copy of the sums.
struct Kept<'a> {
    target: Target,
    rows: usize,
    cols: usize,
    borrow: PhantomData<MatrixMut<'a>>,
}

impl<'a> Gelu<'a> {
    pub fn new(form: GeluForm) -> Gelu<'a> {
        Gelu { form, kept: None }
    }

    /// Stores x as well, rounded to the element type of `place`. The result is that of the x which was not rounded.
    pub fn keeping(form: GeluForm, place: MatrixMut<'a>) -> Result<Gelu<'a>, String> {
        place.check("the kept input of GELU")?;
        let kept = Kept { rows: place.rows, cols: place.cols, target: place.target(), borrow: PhantomData };
        Ok(Gelu { form, kept: Some(kept) })
    }
}

impl Finish for Gelu<'_> {
    fn fits(&self, rows: usize, cols: usize) -> Result<(), String> {
        self.kept.as_ref().map_or(Ok(()), |kept| same("the kept input of GELU", [kept.rows, kept.cols], [rows, cols]))
    }

    unsafe fn finish(&self, sums: &mut [f32], row: usize, col: usize) {
        if let Some(kept) = &self.kept {
            // SAFETY: the kept matrix has the product's extents; these elements are this call's.
            unsafe { kept.target.store(sums, row, col) };
        }
        let mut x = [0.0; PIECE];
        for sums in sums.chunks_mut(PIECE) {
            let x = &mut x[..sums.len()];
            x.copy_from_slice(sums);
            match self.form {
                GeluForm::Tanh => unary::map::<f32, unary::Gelu>(sums, x),
                GeluForm::Erf => unary::map::<f32, unary::GeluErf>(sums, x),
            }
        }
    }
}

/// Adds a matrix: the residual stream.
pub struct AddResidual<'a> {
    residual: Source,
    rows: usize,
    cols: usize,
    borrow: PhantomData<Matrix<'a>>,
}

impl<'a> AddResidual<'a> {
    pub fn new(residual: Matrix<'a>) -> Result<AddResidual<'a>, String> {
        residual.check("the residual")?;
        Ok(AddResidual { residual: residual.source(), rows: residual.rows, cols: residual.cols, borrow: PhantomData })
    }
}

impl Finish for AddResidual<'_> {
    fn fits(&self, rows: usize, cols: usize) -> Result<(), String> {
        same("the residual", [self.rows, self.cols], [rows, cols])
    }

    unsafe fn finish(&self, sums: &mut [f32], row: usize, col: usize) {
        let mut residual = [0.0; PIECE];
        for (part, sums) in sums.chunks_mut(PIECE).enumerate() {
            let residual = &mut residual[..sums.len()];
            // SAFETY: the residual has the product's extents.
            unsafe { self.residual.read_row(residual, row, col + part * PIECE) };
            for (sum, residual) in sums.iter_mut().zip(residual) {
                *sum += *residual;
            }
        }
    }
}

/// Divides row i by number i, as a product with its reciprocal.
pub(crate) struct DivideRows<'a>(pub &'a [f32]);

impl Finish for DivideRows<'_> {
    fn fits(&self, rows: usize, _: usize) -> Result<(), String> {
        crate::extent::expect("gemm", "the divisors of rows", self.0.len(), &[rows])
    }

    unsafe fn finish(&self, sums: &mut [f32], row: usize, _: usize) {
        scale(sums, 1.0 / self.0[row]);
    }
}

multiversion! {
    fn scale(row: &mut [f32], factor: f32) {
        for x in row {
            *x *= factor;
        }
    }
}

fn same(name: &str, [rows, cols]: [usize; 2], [m, n]: [usize; 2]) -> Result<(), String> {
    if [rows, cols] == [m, n] {
        return Ok(());
    }
    Err(format!("gemm: {name} is [{rows}, {cols}] beside a product of [{m}, {n}]. Pass a matrix as large as the product."))
}
