//! The 16-bit floats: bf16 (f32's exponent, 8 bits of precision) and f16 (IEEE half). Branch-free, so that loops vectorise.

/// bf16 -> f32, exact.
#[inline(always)]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// f32 -> bf16, to nearest even; NaN stays NaN and becomes quiet.
#[inline(always)]
pub fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    (if value.is_nan() { bits | 0x0040_0000 } else { rounded } >> 16) as u16
}

/// f16 -> f32, exact.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // A product with 2^112 moves the exponent's bias from 15 to 127, also for subnormals.
    let finite = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
    let special = magnitude | 0x7f80_0000;
    let value = if magnitude >= 0x0f80_0000 { special } else { finite };
    f32::from_bits(value | u32::from(bits & 0x8000) << 16)
}

/// f32 -> f16, to nearest even; beyond 65504 rounds to infinity, NaN stays NaN and becomes quiet.
#[inline(always)]
pub fn f32_to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = bits >> 16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    let special = if magnitude > 0x7f80_0000 { 0x7e00 | (magnitude >> 13 & 0x3ff) } else { 0x7c00 };
    // A sum with one half puts the last bit of a subnormal f16 at the last bit of the sum, which rounds to nearest even.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let normal = magnitude.wrapping_add(0xc800_0fff).wrapping_add(magnitude >> 13 & 1) >> 13;
    let finite = if magnitude < 0x3880_0000 { subnormal } else { normal };
    (sign | if magnitude >= 0x4780_0000 { special } else { finite }) as u16
}
