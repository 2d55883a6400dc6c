//! c[i] = a[i] op b[i] as 0 or 1, with broadcasting: 0 eq, 1 ne, 2 lt, 3 le, 4 gt, 5 ge.

#[cfg(test)]
mod tests;

use crate::binary::{apply, cpu::Binary};
use crate::layout::Layout;
use crate::number::Number;
use crate::stored::Stored;

macro_rules! ops {
    ($($name:ident $operator:tt;)+) => { $(
        struct $name;
        impl<T: Number> Binary<T, u8> for $name {
            #[inline(always)]
            fn apply(a: T, b: T) -> u8 { u8::from(a $operator b) }
        }
    )+ };
}
ops! {
    Equal ==;
    NotEqual !=;
    Less <;
    LessOrEqual <=;
    Greater >;
    GreaterOrEqual >=;
}

/// `c = a op b`.
pub fn compare<A: Stored, B: Stored<Wide = A::Wide>>(code: u32, a: &[A], b: &[B], layout: &Layout<2>, c: &mut [u8]) -> Result<(), String> {
    match code {
        0 => apply::<A, B, u8, Equal>(a, b, layout, c),
        1 => apply::<A, B, u8, NotEqual>(a, b, layout, c),
        2 => apply::<A, B, u8, Less>(a, b, layout, c),
        3 => apply::<A, B, u8, LessOrEqual>(a, b, layout, c),
        4 => apply::<A, B, u8, Greater>(a, b, layout, c),
        5 => apply::<A, B, u8, GreaterOrEqual>(a, b, layout, c),
        _ => Err(format!("compare: op code {code} is unknown. Use a code from 0 to 5.")),
    }
}
