//! Which variant of a unit fits which element types.

use kernels::cuda::{Unit, Variant, unit};
use storage::DType;

/// A unit and its variant by their names. The error is one for who calls: a type that the unit is not compiled for.
pub fn find(unit_name: &str, variant: &str) -> Result<(&'static Unit, &'static Variant), String> {
    let unit = unit(unit_name).ok_or_else(|| format!("there are no kernels {unit_name}. Please report it."))?;
    match unit.variant(variant) {
        Some(variant) => Ok((unit, variant)),
        None => {
            let names: Vec<&str> = unit.variants.iter().map(|variant| variant.name).collect();
            let known = names.join(", ");
            Err(format!("on a CUDA device this operation has kernels for {known}, not for {variant}. Cast first, or use the CPU."))
        }
    }
}

/// Of units that only move bits.
pub fn bits(dtype: DType) -> &'static str {
    match dtype.size() {
        1 => "1-byte",
        2 => "2-byte",
        4 => "4-byte",
        _ => "8-byte",
    }
}

/// Of units with activations of one type and vectors of another.
pub fn pair(activations: DType, vectors: DType) -> String {
    if activations == vectors { activations.name().to_owned() } else { format!("{}-{}", activations.name(), vectors.name()) }
}
