//! One product, or a batch of equal ones: what is multiplied, and where the result goes.

use super::epilogue::{Epilogue, Shape};
use crate::driver::Device;
use crate::error::{Code, Error};
use crate::memory::Part;
use storage::DType;

/// How f32 is multiplied. Sums are f32 in any case, those of f64 are f64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As it is.
    #[default]
    Full,
    /// Rounded to TF32 first, which tensor cores multiply; only for who asks for it.
    Tf32,
}

/// A factor, in row-major order.
#[derive(Clone, Copy)]
pub struct Factor<'a> {
    pub part: &'a Part,
    /// Whether it is multiplied as the transpose of what is stored.
    pub is_transposed: bool,
    /// Elements from one stored row to the next; None where they follow each other.
    pub row: Option<usize>,
    /// Elements from one matrix of a batch to the next; 0 where all use the same.
    pub step: usize,
}

impl<'a> Factor<'a> {
    /// One matrix whose rows follow each other.
    pub fn of(part: &'a Part) -> Factor<'a> {
        Factor { part, is_transposed: false, row: None, step: 0 }
    }

    /// The transpose of what is stored.
    pub fn transposed(part: &'a Part) -> Factor<'a> {
        Factor { is_transposed: true, ..Factor::of(part) }
    }
}

/// Where the result goes, in row-major order.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    pub part: &'a Part,
    /// Elements from one row to the next; None where they follow each other.
    pub row: Option<usize>,
    /// Elements from one matrix of a batch to the next.
    pub step: usize,
}

impl<'a> Target<'a> {
    /// One matrix whose rows follow each other.
    pub fn of(part: &'a Part) -> Target<'a> {
        Target { part, row: None, step: 0 }
    }
}

/// `target = epilogue(scale · left · right + keep · target)`, for each matrix of a batch.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// [rows, inner].
    pub left: Factor<'a>,
    /// [inner, columns].
    pub right: Factor<'a>,
    /// [rows, columns]; of f32 also where the factors have half precision, as weight gradients do.
    pub target: Target<'a>,
    pub rows: usize,
    pub columns: usize,
    pub inner: usize,
    pub batches: usize,
    pub scale: f32,
    /// 0 to overwrite, 1 to accumulate.
    pub keep: f32,
    pub precision: Precision,
    pub epilogue: Epilogue<'a>,
}

/// How the elements of one operand lie, as the library sees them: column by column, so that a row here is a column there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Layout {
    pub rows: usize,
    pub columns: usize,
    /// From one column to the next.
    pub lead: usize,
    pub step: usize,
}

impl Layout {
    /// Elements from the first to the one after the last.
    fn reach(&self, batches: usize) -> usize {
        if self.rows == 0 || self.columns == 0 { 0 } else { (batches - 1) * self.step + (self.columns - 1) * self.lead + self.rows }
    }
}

impl<'a> Product<'a> {
    /// One product that overwrites its target, with nothing after it.
    pub fn of(left: Factor<'a>, right: Factor<'a>, target: &'a Part, (rows, columns, inner): (usize, usize, usize)) -> Product<'a> {
        let (precision, epilogue) = (Precision::Full, Epilogue::None);
        Product { left, right, target: Target::of(target), rows, columns, inner, batches: 1, scale: 1.0, keep: 0.0, precision, epilogue }
    }

    /// Left, right and target.
    pub(super) fn layouts(&self) -> [Layout; 3] {
        let Product { left, right, target, rows, columns, inner, .. } = self;
        let lay = |(stored, length): (usize, usize), row: Option<usize>, step| Layout {
            rows: length,
            columns: stored,
            lead: row.unwrap_or(length),
            step,
        };
        let turned = |is: bool, (a, b): (usize, usize)| if is { (b, a) } else { (a, b) };
        [
            lay(turned(left.is_transposed, (*rows, *inner)), left.row, left.step),
            lay(turned(right.is_transposed, (*inner, *columns)), right.row, right.step),
            lay((*rows, *columns), target.row, target.step),
        ]
    }

    /// An error with the product before it.
    pub(super) fn error(&self, code: Code, what: &str) -> Error {
        let Product { left, target, rows, columns, inner, batches, .. } = self;
        let (from, to) = (left.part.dtype().name(), target.part.dtype().name());
        let many = if *batches == 1 { String::new() } else { format!("{batches} times ") };
        let shape = self.epilogue.shape();
        let follows = if shape == Shape::None { String::new() } else { format!(", then {}", shape.name()) };
        Error::new(code, format!("product of {many}{rows} x {inner} by {inner} x {columns} ({from} to {to}{follows}): {what}"))
    }

    fn refused(&self, what: &str) -> Error {
        self.error(Code::Refused, what)
    }

    /// Refuses what does not fit.
    pub(super) fn check(&self, device: &Device) -> Result<(), Error> {
        self.check_types()?;
        let layouts = self.layouts();
        let parts = [("left factor", self.left.part), ("right factor", self.right.part), ("target", self.target.part)];
        for ((name, part), layout) in parts.into_iter().zip(&layouts) {
            if layout.lead < layout.rows {
                let (rows, lead) = (layout.rows, layout.lead);
                return Err(
                    self.refused(&format!("the rows of the {name} have {rows} elements and lie {lead} apart. Use at least {rows}."))
                );
            }
            self.expect(name, part, layout.reach(self.batches))?;
        }
        if self.batches > 1 && self.target.step < layouts[2].reach(1) {
            return Err(self.refused("the matrices of the target overlap. Let them lie further apart."));
        }
        let along = if self.epilogue.shape() == Shape::LeftSums { self.rows } else { self.columns };
        if let Some(vector) = self.epilogue.vector() {
            self.expect("bias or its gradient", vector, along)?;
        }
        if let Some(saved) = self.epilogue.saved() {
            self.expect("saved input of GELU", saved, self.rows * self.columns)?;
        }
        if self.batches != 1 && self.epilogue.shape() != Shape::None {
            return Err(self.refused("only a single product has an epilogue. Apply it apart."));
        }
        let all = parts.map(|(_, part)| part).into_iter().chain(self.epilogue.vector()).chain(self.epilogue.saved());
        for part in all {
            if !part.block().device().is(device) {
                return Err(self.refused("the memory is on another device. Use that of the product."));
            }
        }
        Ok(())
    }

    fn expect(&self, what: &str, part: &Part, need: usize) -> Result<(), Error> {
        if part.len() >= need {
            return Ok(());
        }
        Err(self.refused(&format!("the {what} has {} elements where {need} are needed. Pass memory of that size.", part.len())))
    }

    fn check_types(&self) -> Result<(), Error> {
        let [left, right, to] = [self.left.part, self.right.part, self.target.part].map(Part::dtype);
        if left != right {
            return Err(self.refused(&format!("the factors are {} and {}. Cast one of them.", left.name(), right.name())));
        }
        let is_known = match left {
            DType::F32 | DType::F64 => to == left,
            DType::BF16 | DType::F16 => to == left || to == DType::F32,
            _ => false,
        };
        if !is_known {
            return Err(
                self.refused("these types cannot be multiplied so. Use f32, f64, bf16 or f16, and of the latter two f32 as result.")
            );
        }
        if self.precision == Precision::Tf32 && left != DType::F32 {
            return Err(self.refused("TF32 is a way to multiply f32. Leave the precision as it is."));
        }
        let others = [self.epilogue.vector(), self.epilogue.saved()];
        match others.into_iter().flatten().find(|part| part.dtype() != to) {
            Some(other) => {
                let message = format!("the epilogue has memory of {} beside a target of {}. Use that.", other.dtype().name(), to.name());
                Err(self.refused(&message))
            }
            None => Ok(()),
        }
    }
}
