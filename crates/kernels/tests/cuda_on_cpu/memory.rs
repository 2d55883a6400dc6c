//! Memory for kernels with guards on both sides, and the floats in it.

use crate::device::Argument;
use kernels::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use kernels::simd::{Path, path};

/// Bytes on each side that nobody may write.
const GUARD: usize = 64;
const UNTOUCHED: u8 = 0xa5;

/// A piece of memory that begins `shift` bytes behind a multiple of 16.
pub struct Memory {
    words: Vec<u128>,
    start: usize,
    len: usize,
}

impl Memory {
    /// Memory with these elements.
    pub fn of<T: Copy>(values: &[T], shift: usize) -> Memory {
        let (start, len) = (GUARD + shift, size_of_val(values));
        let mut words = vec![u128::from_ne_bytes([UNTOUCHED; 16]); (start + len + GUARD).div_ceil(16)];
        // SAFETY: the words have room for the guards and the values.
        unsafe { words.as_mut_ptr().cast::<u8>().add(start).copy_from(values.as_ptr().cast(), len) };
        Memory { words, start, len }
    }

    /// The elements, after a look at the guards.
    pub fn get<T: Copy + Default>(&self) -> Vec<T> {
        // SAFETY: all bytes of the words are there.
        let bytes = unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast::<u8>(), 16 * self.words.len()) };
        let (before, rest) = bytes.split_at(self.start);
        let (own, after) = rest.split_at(self.len);
        assert!(before.iter().chain(after).all(|byte| *byte == UNTOUCHED), "a kernel wrote beside its memory");
        let mut values = vec![T::default(); self.len / size_of::<T>()];
        // SAFETY: as many bytes.
        unsafe { values.as_mut_ptr().cast::<u8>().copy_from(own.as_ptr(), own.len()) };
        values
    }

    pub fn argument(&self) -> Argument {
        Argument::Pointer(self.words.as_ptr().cast::<u8>().wrapping_add(self.start).cast())
    }
}

/// An element type of activations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Float {
    F32,
    Bf16,
    F16,
}

pub const FLOATS: [Float; 3] = [Float::F32, Float::Bf16, Float::F16];

impl Float {
    pub fn name(self) -> &'static str {
        ["f32", "bf16", "f16"][self as usize]
    }

    /// The nearest value of this type.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Float::F32 => value,
            Float::Bf16 => bf16_to_f32(f32_to_bf16(value)),
            Float::F16 => f16_to_f32(f32_to_f16(value)),
        }
    }

    pub fn rounded(self, values: &[f32]) -> Vec<f32> {
        values.iter().map(|value| self.round(*value)).collect()
    }

    /// Memory that holds these values, rounded.
    pub fn put(self, values: &[f32], shift: usize) -> Memory {
        match self {
            Float::F32 => Memory::of(values, 4 * shift),
            Float::Bf16 => Memory::of(&values.iter().map(|value| f32_to_bf16(*value)).collect::<Vec<_>>(), 2 * shift),
            Float::F16 => Memory::of(&values.iter().map(|value| f32_to_f16(*value)).collect::<Vec<_>>(), 2 * shift),
        }
    }

    /// Memory for as many results.
    pub fn room(self, len: usize, shift: usize) -> Memory {
        self.put(&vec![f32::NAN; len], shift)
    }

    pub fn get(self, memory: &Memory) -> Vec<f32> {
        match self {
            Float::F32 => memory.get(),
            Float::Bf16 => memory.get::<u16>().into_iter().map(bf16_to_f32).collect(),
            Float::F16 => memory.get::<u16>().into_iter().map(f16_to_f32).collect(),
        }
    }

    /// The distance to the next larger value.
    fn step(self, value: f32) -> f32 {
        let bits = match self {
            Float::F32 => 0,
            Float::Bf16 => 16,
            Float::F16 => 13,
        };
        let size = value.abs().max(if self == Float::F16 { 6.2e-5 } else { f32::MIN_POSITIVE });
        f32::from_bits(size.to_bits() + (1 << bits)) - size
    }

    /// Fails unless each value is at most `ulps` steps of this type, or `floor`, from the wanted one rounded to this type. No
    /// steps and no floor: bit for bit, NaN like NaN. Without fused multiply-adds the CPU itself is a few steps away.
    pub fn expect(self, what: &str, got: &[f32], want: &[f32], ulps: f32, floor: f32) {
        let len = got.len();
        assert_eq!(len, want.len(), "{what}");
        let is_fused = path() != Path::Baseline || cfg!(target_arch = "aarch64");
        let ulps = if is_fused { ulps } else { ulps + 4.0 };
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            let want = self.round(*want);
            let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
            let close = ulps + floor > 0.0 && (got - want).abs() <= (ulps * self.step(want)).max(floor);
            assert!(same || close, "{what}, {self:?}, element {i} of {len}: {got:e}, not {want:e}");
        }
    }
}

/// Values that look random within [-size, size).
pub fn values(len: usize, seed: u64, size: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * size
    };
    (0..len).map(|_| next()).collect()
}
