//! y = residual + (x + bias): x and residual `[rows, cols]`, bias `[cols]`; bias or residual may be missing. x,
//! residual and y are f32 or bf16.

pub(crate) mod cpu;

use crate::disjoint::{Disjoint, chunk_range};
use crate::extent::expect;
use crate::pool;
use crate::row_chunks::rows_apart;
use crate::stored::Value;

/// The sum of what there is.
pub fn bias_add<T: Value>(
    x: &[T],
    bias: Option<&[f32]>,
    residual: Option<&[T]>,
    [rows, cols]: [usize; 2],
    y: &mut [T],
) -> Result<(), String> {
    expect("biasAdd", "x", x.len(), &[rows, cols])?;
    expect("biasAdd", "y", y.len(), &[rows, cols])?;
    bias.map_or(Ok(()), |bias| expect("biasAdd", "bias", bias.len(), &[cols]))?;
    residual.map_or(Ok(()), |residual| expect("biasAdd", "residual", residual.len(), &[rows, cols]))?;
    let (chunk, bias, y) = (rows_apart(cols), bias.unwrap_or(&[]), Disjoint::new(y));
    pool::run(rows.div_ceil(chunk), &|index| {
        for i in chunk_range(rows, chunk, index) {
            let row = i * cols..(i + 1) * cols;
            // SAFETY: rows are disjoint.
            let y = unsafe { y.part(row.clone()) };
            cpu::add_row::<T>(&x[row.clone()], bias, residual.map_or(&[], |residual| &residual[row]), y);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests;
