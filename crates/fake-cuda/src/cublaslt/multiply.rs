//! D = epilogue(alpha · op(A) · op(B) + beta · D) on matrices whose columns follow each other.

use super::descriptors::Matrix;
use crate::half;
use std::ptr;

/// Everything that a product is given.
pub struct Operands {
    /// A, B and D.
    pub layouts: [Matrix; 3],
    pub places: [usize; 3],
    pub transposed: [bool; 2],
    pub scales: [f64; 2],
    pub epilogue: u64,
    pub vector: usize,
    pub saved: usize,
    pub lead: usize,
}

const SINGLE: u32 = 0;
const DOUBLE: u32 = 1;
const HALF: u32 = 2;
const BRAIN: u32 = 14;

/// What the epilogues consist of.
const BIAS: u64 = 4;
const GELU: u64 = 32;
const KEEPS: u64 = 128;
const GRADIENT: u64 = 192;
const SUMS: u64 = 16;
const SUMS_OF_B: u64 = 512;

fn read(dtype: u32, place: usize, at: usize) -> f64 {
    // SAFETY: the callers promise that the matrices lie within their memory.
    unsafe {
        match dtype {
            SINGLE => f64::from(ptr::with_exposed_provenance::<f32>(place).add(at).read()),
            DOUBLE => ptr::with_exposed_provenance::<f64>(place).add(at).read(),
            BRAIN => f64::from(half::from_bf16(ptr::with_exposed_provenance::<u16>(place).add(at).read())),
            HALF => f64::from(half::from_f16(ptr::with_exposed_provenance::<u16>(place).add(at).read())),
            _ => 0.0,
        }
    }
}

fn write(dtype: u32, place: usize, at: usize, value: f64) {
    // SAFETY: as above.
    unsafe {
        match dtype {
            SINGLE => ptr::with_exposed_provenance_mut::<f32>(place).add(at).write(value as f32),
            DOUBLE => ptr::with_exposed_provenance_mut::<f64>(place).add(at).write(value),
            BRAIN => ptr::with_exposed_provenance_mut::<u16>(place).add(at).write(half::to_bf16(value as f32)),
            HALF => ptr::with_exposed_provenance_mut::<u16>(place).add(at).write(half::to_f16(value as f32)),
            _ => {}
        }
    }
}

fn inside(x: f64) -> f64 {
    (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + inside(x).tanh())
}

fn gelu_slope(x: f64) -> f64 {
    let t = inside(x).tanh();
    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * (2.0 / std::f64::consts::PI).sqrt() * (1.0 + 3.0 * 0.044715 * x * x)
}

/// Element (row, column) of op(matrix).
fn element(matrix: &Matrix, place: usize, is_transposed: bool, (row, column): (usize, usize), batch: usize) -> f64 {
    let (row, column) = if is_transposed { (column, row) } else { (row, column) };
    read(matrix.dtype, place, batch * matrix.step() as usize + column * matrix.lead as usize + row)
}

/// Whether the matrices fit together.
pub fn fits(operands: &Operands) -> bool {
    let Operands { layouts: [a, b, d], transposed, .. } = operands;
    let of =
        |matrix: &Matrix, is_transposed: bool| if is_transposed { (matrix.columns, matrix.rows) } else { (matrix.rows, matrix.columns) };
    let (of_a, inner) = of(a, transposed[0]);
    let is_long = |matrix: &&Matrix| matrix.lead as u64 >= matrix.rows;
    (of_a, inner, d.columns) == (d.rows, of(b, transposed[1]).0, of(b, transposed[1]).1) && [a, b, d].iter().all(is_long)
}

/// Carries out the product of every batch.
pub fn multiply(operands: &Operands) {
    let Operands { layouts: [a, b, d], places, transposed, scales, epilogue, vector, saved, lead } = operands;
    let [rows, columns] = [d.rows as usize, d.columns as usize];
    let inner = (if transposed[0] { a.rows } else { a.columns }) as usize;
    let has = |what: u64| epilogue & what == what;
    let mut sums = vec![0.0; rows];
    for batch in 0..d.batches() as usize {
        for column in 0..columns {
            for (row, sum) in sums.iter_mut().enumerate() {
                let product: f64 = (0..inner)
                    .map(|k| {
                        element(a, places[0], transposed[0], (row, k), batch) * element(b, places[1], transposed[1], (k, column), batch)
                    })
                    .sum();
                let at = batch * d.step() as usize + column * d.lead as usize + row;
                let kept = if scales[1] == 0.0 { 0.0 } else { scales[1] * read(d.dtype, places[2], at) };
                let mut value = scales[0] * product + kept;
                if has(BIAS) {
                    value += read(d.dtype, *vector, row);
                }
                if has(GELU | KEEPS) {
                    write(d.dtype, *saved, column * lead + row, value);
                    value = gelu(value);
                } else if has(GRADIENT) {
                    value *= gelu_slope(read(d.dtype, *saved, column * lead + row));
                }
                *sum += value;
                write(d.dtype, places[2], at, value);
            }
        }
    }
    if has(GRADIENT | SUMS) {
        sums.iter().enumerate().for_each(|(row, &sum)| write(d.dtype, *vector, row, sum));
    }
    if has(SUMS_OF_B) {
        for column in 0..columns {
            let sum = (0..inner).map(|k| element(b, places[1], transposed[1], (k, column), 0)).sum();
            write(d.dtype, *vector, column, sum);
        }
    }
}
