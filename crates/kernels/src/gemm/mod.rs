//! C = A B (+ C) (+ bias), then what an epilogue makes of it: the product under linear layers, matmul and attention.
//!
//! Operands and results are f32 or bf16, by strides. Sums are f32; `Precision::Bf16` multiplies operands rounded to bf16.
//! B is packed in panels as wide as a tile, A is read by rows; the micro-kernel is chosen by CPU. An element's bits depend on
//! k and on the kernel only: blocks of k are a function of k alone, and each block is one chain of multiply-adds that starts
//! from zero and is added to C in order of k. They do not depend on m, n, the place in C, the transposes or the threads.
//!
//! A product of two bf16 is exact in f32, so kernels without bf16 instructions round while packing and multiply in f32. The
//! AVX-512 instruction takes subnormal operands as zero, flushes subnormal sums and adds a pair's second product first: its
//! sums are as close to the exact ones (k roundings of f32), not the same bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
#[cfg(target_arch = "x86_64")]
mod avx512_lanes;
mod blocking;
mod drive;
mod engine;
mod epilogue;
mod kernel;
mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
mod operand;
mod pack;
#[cfg(any(test, not(target_arch = "aarch64")))]
mod portable;
#[cfg(test)]
mod tests;
mod work;

use crate::scratch::Scratch;
use engine::Engine;
pub(crate) use epilogue::DivideRows;
pub use epilogue::{AddResidual, Epilogue, Finish, Gelu, GeluForm, PIECE};
pub use matrix::{Matrix, MatrixMut, Values, ValuesMut};
pub(crate) use operand::{Operand, Source, Target};
pub(crate) use work::Work;

/// What operands are multiplied as; sums are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Every operand as it is.
    #[default]
    F32,
    /// f32 operands rounded to bf16, to nearest even.
    Bf16,
}

/// A product and all that belongs to it.
pub struct Gemm<'a> {
    pub a: Matrix<'a>,
    pub b: Matrix<'a>,
    pub c: MatrixMut<'a>,
    pub precision: Precision,
    /// Added to every row.
    pub bias: Option<Values<'a>>,
    /// Add to what C holds.
    pub accumulate: bool,
    /// What becomes of the sums, step by step.
    pub finish: &'a [&'a dyn Finish],
}

impl<'a> Gemm<'a> {
    /// C = A B in f32, overwriting C.
    pub fn new(a: Matrix<'a>, b: Matrix<'a>, c: MatrixMut<'a>) -> Gemm<'a> {
        Gemm { a, b, c, precision: Precision::F32, bias: None, accumulate: false, finish: &[] }
    }

    /// Runs it.
    pub fn run(self) -> Result<(), String> {
        let engine = Engine::of_this_process(self.precision);
        self.run_on(engine)
    }

    /// Runs it with a chosen kernel.
    fn run_on(self, engine: Engine) -> Result<(), String> {
        let (m, n, k) = (self.a.rows, self.b.cols, self.a.cols);
        self.check()?;
        let mut widened = Scratch::take(if matches!(self.bias, Some(Values::Bf16(_))) { n } else { 0 });
        let bias = match self.bias {
            None => std::ptr::null(),
            Some(Values::F32(bias)) => bias.as_ptr(),
            Some(Values::Bf16(bias)) => {
                for (wide, bits) in widened.as_mut_slice().iter_mut().zip(bias) {
                    *wide = crate::half::bf16_to_f32(*bits);
                }
                widened.as_mut_ptr().cast_const()
            }
        };
        let (a, b, c) = (self.a.source(), self.b.source(), self.c.target());
        let work = Work { m, n, k, a, b, c, bias, accumulate: self.accumulate, finish: self.finish };
        // SAFETY: every extent was checked against its slice; the borrows keep C apart and alone.
        unsafe { engine.multiply(self.precision, &work) };
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let Gemm { a, b, c, .. } = self;
        if a.cols != b.rows || c.rows != a.rows || c.cols != b.cols {
            return Err(format!(
                "gemm: [{}, {}] x [{}, {}] does not give [{}, {}]. Make the inner dims equal and C as large as the product.",
                a.rows, a.cols, b.rows, b.cols, c.rows, c.cols
            ));
        }
        a.check("A")?;
        b.check("B")?;
        c.check("C")?;
        if let Some(bias) = self.bias.filter(|bias| bias.len() != b.cols) {
            return Err(format!("gemm: the bias has {} values for {} columns. Pass one value a column.", bias.len(), b.cols));
        }
        self.finish.iter().try_for_each(|step| step.fits(c.rows, c.cols))
    }
}

/// C = A B with the plain epilogue, in f32.
pub fn gemm(a: Matrix, b: Matrix, c: MatrixMut, epilogue: Epilogue) -> Result<(), String> {
    Gemm { bias: epilogue.bias.map(Values::F32), accumulate: epilogue.accumulate, ..Gemm::new(a, b, c) }.run()
}

/// C = A B where the caller answers for the memory, with operands multiplied as `precision` says.
///
/// # Safety
/// A, B and C are valid for m x k, k x n and m x n; nobody else writes this part of C meanwhile, and it lies apart from A and
/// B; elements of C do not overlap; `bias` is null or valid for n values; the steps of `finish` fit m x n.
pub(crate) unsafe fn multiply_in(precision: Precision, work: &Work) {
    // SAFETY: handed on.
    unsafe { Engine::of_this_process(precision).multiply(precision, work) }
}
