//! c[i] = a[i] op b[i] as 0 or 1, with broadcasting: 0 eq, 1 ne, 2 lt, 3 le, 4 gt, 5 ge.

#[cfg(test)]
mod tests;

use crate::binary::{apply, cpu::Binary};
use crate::layout::Layout;
use crate::number::Number;

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
pub fn compare<T: Number>(code: u32, a: &[T], b: &[T], layout: &Layout<2>, c: &mut [u8]) -> Result<(), String> {
    match code {
        0 => apply::<T, u8, Equal>(a, b, layout, c),
        1 => apply::<T, u8, NotEqual>(a, b, layout, c),
        2 => apply::<T, u8, Less>(a, b, layout, c),
        3 => apply::<T, u8, LessOrEqual>(a, b, layout, c),
        4 => apply::<T, u8, Greater>(a, b, layout, c),
        5 => apply::<T, u8, GreaterOrEqual>(a, b, layout, c),
        _ => Err(format!("compare: op code {code} is unknown. Use a code from 0 to 5.")),
    }
}
