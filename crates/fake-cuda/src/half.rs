//! Numbers of 16 bits, rounded to the nearest, to the even one of two.

/// Bits between the mantissas of f32 and f16.
const SHORTER: u32 = 13;
/// The smallest number of f32 that f16 has with all bits, and the first that it does not have.
const F16_RANGE: [u32; 2] = [0x3880_0000, 0x4780_0000];
/// The difference of the biases of their exponents, where those of f16 stand.
const REBIAS: u32 = 112 << 10;

pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() { (bits >> 16) as u16 | 0x40 } else { ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16 }
}

pub fn from_f16(bits: u16) -> f32 {
    let (sign, exponent, mantissa) = (u32::from(bits & 0x8000) << 16, u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    let magnitude = match exponent {
        0 => (mantissa as f32 / 16_777_216.0).to_bits(),
        31 => 0x7f80_0000 | mantissa << SHORTER,
        _ => (exponent + 112) << 23 | mantissa << SHORTER,
    };
    f32::from_bits(sign | magnitude)
}

pub fn to_f16(value: f32) -> u16 {
    let (sign, bits) = ((value.to_bits() >> 16 & 0x8000) as u16, value.abs().to_bits());
    sign | match bits {
        _ if value.is_nan() => 0x7e00,
        bits if bits >= F16_RANGE[1] => 0x7c00,
        bits if bits < F16_RANGE[0] => (value.abs() * 16_777_216.0).round_ties_even() as u16,
        bits => ((bits + 0xfff + (bits >> SHORTER & 1)) >> SHORTER).wrapping_sub(REBIAS) as u16,
    }
}
