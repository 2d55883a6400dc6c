//! Lengths of slices against the shapes that an operation was told.

/// An error when `len` values are not those of `shape`.
pub fn expect(op: &str, name: &str, len: usize, shape: &[usize]) -> Result<(), String> {
    let wanted = shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    if wanted == Some(len) {
        return Ok(());
    }
    Err(format!("{op}: {name} has {len} values, which is not the shape {shape:?}. Pass a tensor of that shape."))
}
