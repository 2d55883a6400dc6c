//! What element-wise loops ask of an element type.

use crate::exp::exp;
use crate::power::power;
use crate::transcendental::{ln, normal, tanh};
use storage::Element;

/// A number with the arithmetic of tensors: integers wrap.
pub trait Number: Element + PartialOrd {
    fn from_f64(value: f64) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// Never true of an integer.
    fn is_nan(self) -> bool;
}

macro_rules! integer {
    ($($type:ty)+) => { $(impl Number for $type {
        #[inline(always)]
        fn from_f64(value: f64) -> Self { value as $type }
        #[inline(always)]
        fn add(self, other: Self) -> Self { self.wrapping_add(other) }
        #[inline(always)]
        fn sub(self, other: Self) -> Self { self.wrapping_sub(other) }
        #[inline(always)]
        fn mul(self, other: Self) -> Self { self.wrapping_mul(other) }
        #[inline(always)]
        fn is_nan(self) -> bool { false }
    })+ };
}
integer!(i32 i64 u8);

macro_rules! float {
    ($($type:ty)+) => { $(impl Number for $type {
        #[inline(always)]
        fn from_f64(value: f64) -> Self { value as $type }
        #[inline(always)]
        fn add(self, other: Self) -> Self { self + other }
        #[inline(always)]
        fn sub(self, other: Self) -> Self { self - other }
        #[inline(always)]
        fn mul(self, other: Self) -> Self { self * other }
        #[inline(always)]
        fn is_nan(self) -> bool { <$type>::is_nan(self) }
    })+ };
}
float!(f32 f64);

/// A float with the functions of tensors.
pub trait Real: Number {
    fn to_f64(self) -> f64;
    fn div(self, other: Self) -> Self;
    fn pow(self, other: Self) -> Self;
    fn sqrt(self) -> Self;
    fn abs(self) -> Self;
    fn exp<const FMA: bool>(self) -> Self;
    fn ln<const FMA: bool>(self) -> Self;
    fn tanh<const FMA: bool>(self) -> Self;
    /// The probability that a standard normal value is below it, and e^(-x^2 / 2).
    fn normal<const FMA: bool>(self) -> [Self; 2];
    /// `self * factor + term`, rounded once where `FMA` says so.
    fn madd<const FMA: bool>(self, factor: Self, term: Self) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self.into()
    }
    #[inline(always)]
    fn div(self, other: f32) -> f32 {
        self / other
    }
    #[inline(always)]
    fn pow(self, other: f32) -> f32 {
        power(self, other)
    }
    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> f32 {
        f32::abs(self)
    }
    #[inline(always)]
    fn exp<const FMA: bool>(self) -> f32 {
        exp::<FMA>(self)
    }
    #[inline(always)]
    fn ln<const FMA: bool>(self) -> f32 {
        ln::<FMA>(self)
    }
    #[inline(always)]
    fn tanh<const FMA: bool>(self) -> f32 {
        tanh::<FMA>(self)
    }
    #[inline(always)]
    fn normal<const FMA: bool>(self) -> [f32; 2] {
        normal::<FMA>(self)
    }
    #[inline(always)]
    fn madd<const FMA: bool>(self, factor: f32, term: f32) -> f32 {
        crate::simd::madd::<FMA>(self, factor, term)
    }
}

/// f64 is for checks: exact to the last bits, not fast.
impl Real for f64 {
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn div(self, other: f64) -> f64 {
        self / other
    }
    #[inline(always)]
    fn pow(self, other: f64) -> f64 {
        libm::pow(self, other)
    }
    #[inline(always)]
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> f64 {
        f64::abs(self)
    }
    #[inline(always)]
    fn exp<const FMA: bool>(self) -> f64 {
        libm::exp(self)
    }
    #[inline(always)]
    fn ln<const FMA: bool>(self) -> f64 {
        libm::log(self)
    }
    #[inline(always)]
    fn tanh<const FMA: bool>(self) -> f64 {
        libm::tanh(self)
    }
    #[inline(always)]
    fn normal<const FMA: bool>(self) -> [f64; 2] {
        [libm::erfc(self * -std::f64::consts::FRAC_1_SQRT_2) * 0.5, libm::exp(self * self * -0.5)]
    }
    #[inline(always)]
    fn madd<const FMA: bool>(self, factor: f64, term: f64) -> f64 {
        crate::simd::madd_f64::<FMA>(self, factor, term)
    }
}
