//! One loop for every pair of types, by way of the wide type of the source.

use crate::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::simd::multiversion;
use storage::Element;

/// A wide type: what a source becomes first.
pub trait Wide: Copy {
    fn to_f32(self) -> f32;
    fn to_f64(self) -> f64;
    fn to_i32(self) -> i32;
    fn to_i64(self) -> i64;
    fn to_u8(self) -> u8;
}

macro_rules! wide {
    ($($type:ty)+) => { $(impl Wide for $type {
        #[inline(always)]
        fn to_f32(self) -> f32 { self as f32 }
        #[inline(always)]
        fn to_f64(self) -> f64 { self as f64 }
        #[inline(always)]
        fn to_i32(self) -> i32 { self as i32 }
        #[inline(always)]
        fn to_i64(self) -> i64 { self as i64 }
        #[inline(always)]
        fn to_u8(self) -> u8 { self as u8 }
    })+ };
}
wide!(f32 f64 i64);

/// An element type to read.
pub trait Source {
    type Bits: Element;
    type Wide: Wide;
    fn widen(bits: Self::Bits) -> Self::Wide;
}

/// An element type to write.
pub trait Target {
    type Bits: Element;
    fn narrow<W: Wide>(value: W) -> Self::Bits;
}

macro_rules! element {
    ($($name:ident: $bits:ty => $wide:ty, $widen:expr, $narrow:expr;)+) => { $(
        pub struct $name;
        impl Source for $name {
            type Bits = $bits;
            type Wide = $wide;
            #[inline(always)]
            fn widen(bits: $bits) -> $wide { $widen(bits) }
        }
        impl Target for $name {
            type Bits = $bits;
            #[inline(always)]
            fn narrow<W: Wide>(value: W) -> $bits { $narrow(value) }
        }
    )+ };
}
element! {
    F32: f32 => f32, std::convert::identity, W::to_f32;
    F64: f64 => f64, std::convert::identity, W::to_f64;
    Bf16: u16 => f32, bf16_to_f32, |value| f32_to_bf16(W::to_f32(value));
    F16: u16 => f32, f16_to_f32, |value| f32_to_f16(W::to_f32(value));
    I32: i32 => i64, i64::from, W::to_i32;
    I64: i64 => i64, std::convert::identity, W::to_i64;
    U8: u8 => i64, i64::from, W::to_u8;
}

multiversion! {
    /// y[i] = x[i].
    pub fn convert<S: Source, D: Target>(y: &mut [D::Bits], x: &[S::Bits]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = D::narrow(S::widen(x));
        }
    }
}
