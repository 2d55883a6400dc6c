//! Element by element.

use crate::device::{Argument::*, device};
use crate::memory::{FLOATS, Float, Memory, values};
use kernels::layout::Layout;
use kernels::{axpy, binary, cast, compare, random, select, unary};
use storage::{DType, Span};

/// Ordinary values and all the special ones.
fn mixed(len: usize, seed: u64) -> Vec<f32> {
    let special = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -1e-40, 100.0, -100.0, 1.0, 3e38];
    let mut values = values(len, seed, 6.0);
    for (i, value) in special.iter().enumerate() {
        if 3 * i + 1 < len {
            values[3 * i + 1] = *value;
        }
    }
    values
}

const LENGTHS: [usize; 5] = [0, 1, 7, 32, 2075];

#[test]
fn unary_ops_have_the_bits_of_the_cpu() {
    for float in FLOATS {
        let device = device("unary", float.name());
        for (length, shift) in LENGTHS.into_iter().flat_map(|length| [(length, 0), (length, 1)]) {
            let (x, grad) = (float.rounded(&mixed(length, 1)), float.rounded(&values(length, 2, 3.0)));
            let (x_at, grad_at) = (float.put(&x, shift), float.put(&grad, 0));
            for code in 0..13 {
                let mut want = vec![0.0; length];
                let y = float.room(length, shift);
                unary::unary(code, &x[..], &mut want).unwrap();
                device.launch("unary", &[length as u64], &[U64(length as u64), U32(code), x_at.argument(), y.argument()]);
                float.expect(&format!("unary {code}"), &float.get(&y), &want, 0.0, 0.0);
                unary::unary_backward(code, &x[..], &grad[..], &mut want).unwrap();
                let arguments = [U64(length as u64), U32(code), x_at.argument(), grad_at.argument(), y.argument()];
                device.launch("unary_backward", &[length as u64], &arguments);
                float.expect(&format!("unary backward {code}"), &float.get(&y), &want, 0.0, 0.0);
            }
        }
    }
}

/// Walks of [5, 3, 7] through two operands: dense, repeated along a dim or wholly, permuted.
fn layouts() -> Vec<Layout<2>> {
    let of = |a: [usize; 3], b: [usize; 3]| Layout::new(&[5, 3, 7], [&a, &b], [0, 0]).unwrap();
    vec![
        of([21, 7, 1], [21, 7, 1]),
        of([21, 7, 1], [0, 0, 1]),
        of([21, 7, 1], [0, 0, 0]),
        of([7, 35, 1], [3, 1, 15]),
        of([0, 7, 1], [21, 7, 1]).at([1, 2]),
    ]
}

#[test]
fn binary_ops_and_comparisons_have_the_bits_of_the_cpu() {
    for float in FLOATS {
        let (a, b) = (float.rounded(&mixed(107, 3)), float.rounded(&values(107, 4, 2.0)));
        for layout in layouts() {
            let walk = Walk(kernels::cuda::Walk::of(&layout));
            for code in 0..7 {
                let (mut want, c) = (vec![0.0; 105], float.room(105, 0));
                binary::binary(code, &a[..], &b[..], &layout, &mut want).unwrap();
                let (a, b) = (float.put(&a, 0), float.put(&b, 1));
                let arguments = [U64(105), U32(code), walk, a.argument(), b.argument(), c.argument()];
                device("binary", float.name()).launch("binary", &[105], &arguments);
                // The power is the library's.
                float.expect(&format!("binary {code}"), &float.get(&c), &want, if code == 4 { 8.0 } else { 0.0 }, 0.0);
            }
            for code in 0..6 {
                let (mut want, c) = (vec![0u8; 105], Memory::of(&[9u8; 105], 1));
                compare::compare(code, &a[..], &b[..], &layout, &mut want).unwrap();
                let (a, b) = (float.put(&a, 0), float.put(&b, 0));
                let arguments = [U64(105), U32(code), walk, a.argument(), b.argument(), c.argument()];
                device("compare", float.name()).launch("compare", &[105], &arguments);
                assert_eq!(c.get::<u8>(), want, "compare {code}");
            }
        }
    }
}

macro_rules! whole_numbers {
    ($($type:ident)+) => { $({
        let (a, b): (Vec<$type>, Vec<$type>) = (0..107u64).map(|i| ((i.wrapping_mul(0x9e37_79b9_7f4a_7c15)) as $type, (i * i * 77) as $type)).unzip();
        for layout in layouts() {
            for code in [0, 1, 2, 5, 6] {
                let (mut want, c) = (vec![0 as $type; 105], Memory::of(&[0 as $type; 105], 0));
                binary::binary_number(code, &a[..], &b[..], &layout, &mut want).unwrap();
                let (a, b) = (Memory::of(&a, 0), Memory::of(&b, 0));
                let arguments = [U64(105), U32(code), Walk(kernels::cuda::Walk::of(&layout)), a.argument(), b.argument(), c.argument()];
                device("binary", stringify!($type)).launch("binary", &[105], &arguments);
                assert_eq!(c.get::<$type>(), want, "binary {code} of {}", stringify!($type));
            }
        }
    })+ };
}

#[test]
fn whole_numbers_wrap_as_on_the_cpu() {
    whole_numbers!(i32 i64 u8);
}

#[test]
fn a_scalar_is_not_rounded_to_the_element_type() {
    let (x, scalar) = (Float::Bf16.rounded(&values(37, 5, 4.0)), 1.003_906_3f32);
    let (at, y) = (Float::Bf16.put(&x, 0), Float::Bf16.room(37, 0));
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&scalar.to_ne_bytes());
    device("binary", "bf16").launch("binary_scalar", &[37], &[U64(37), U32(2), Wide(bytes), at.argument(), y.argument()]);
    let want: Vec<f32> = x.iter().map(|x| x * scalar).collect();
    Float::Bf16.expect("times", &Float::Bf16.get(&y), &want, 0.0, 0.0);
}

#[test]
fn a_selection_moves_bits() {
    let layout = Layout::<3>::new(&[4, 9], [&[9, 1], &[1, 4], &[0, 1]], [0, 0, 0]).unwrap();
    let (cond, a, b): (Vec<u8>, Vec<u16>, Vec<u16>) =
        ((0..36).map(|i| i % 3).collect(), (0..36).map(|i| 0x7f81 + i).collect(), (0..36).collect());
    let (mut want, y) = (vec![0u16; 36], Memory::of(&[0u16; 36], 0));
    select::select(&cond, &a, &b, &layout, &mut want).unwrap();
    let (cond, a, b) = (Memory::of(&cond, 0), Memory::of(&a, 0), Memory::of(&b, 0));
    let arguments = [U64(36), Walk(kernels::cuda::Walk::of(&layout)), cond.argument(), a.argument(), b.argument(), y.argument()];
    device("select", "2-byte").launch("select", &[36], &arguments);
    assert_eq!(y.get::<u16>(), want);
}

#[test]
fn a_fill_writes_the_same_bits_everywhere() {
    for length in LENGTHS {
        let y = Memory::of(&vec![0u16; length], 2);
        device("fill", "2-byte").launch("fill", &[length as u64], &[U64(length as u64), U64(0x3f81), y.argument()]);
        assert!(y.get::<u16>().iter().all(|bits| *bits == 0x3f81));
    }
}

/// Element types by their number in the text.
const TYPES: [DType; 7] = [DType::F32, DType::BF16, DType::F16, DType::F64, DType::I32, DType::I64, DType::U8];

#[test]
fn casts_between_all_types_have_the_bits_of_the_cpu() {
    let mut wide: Vec<f64> = mixed(60, 6).into_iter().map(f64::from).collect();
    wide.extend([1e300, -1e300, 2147483647.5, -2147483649.0, 9.3e18, 255.5, 256.0, -0.5, 65519.9, 65520.0, 1.0 + 1e-12]);
    for from in TYPES {
        let source = Span::new(from, wide.len()).unwrap();
        cast::cast(&source, &Span::from_slice(DType::F64, &wide).unwrap()).unwrap();
        for (number, to) in TYPES.into_iter().enumerate().filter(|(_, to)| *to != from) {
            let target = Span::new(to, wide.len()).unwrap();
            cast::cast(&target, &source).unwrap();
            let (x, y) = (Memory::of(source.bytes(), 0), Memory::of(&vec![0u8; target.bytes().len()], 0));
            let arguments = [U64(wide.len() as u64), U32(number as u32), x.argument(), y.argument()];
            device("cast", from.name()).launch("cast", &[wide.len() as u64], &arguments);
            let back = |bytes: &[u8]| -> Vec<f64> {
                let span = Span::new(to, wide.len()).unwrap();
                // SAFETY: nobody else has the span.
                unsafe { span.bytes_mut() }.copy_from_slice(bytes);
                let out = Span::new(DType::F64, wide.len()).unwrap();
                cast::cast(&out, &span).unwrap();
                out.slice::<f64>().unwrap().to_vec()
            };
            for (i, (got, want)) in back(&y.get::<u8>()).iter().zip(back(target.bytes())).enumerate() {
                assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{from:?} to {to:?}, {i}: {got}, not {want}");
            }
        }
    }
}

#[test]
fn random_fills_are_the_draws_of_the_cpu_bit_for_bit() {
    // A part of a tensor: rows 2.. of [.., 50], columns 10..37.
    let layout = Layout::<2>::new(&[9, 27], [&[27, 1], &[50, 1]], [0, 110]).unwrap();
    let key = [0xdead_beef, 77];
    for (float, dtype) in FLOATS.into_iter().zip([DType::F32, DType::BF16, DType::F16]) {
        for (kind, a, b) in [(0, -0.3, 0.7), (1, 0.5, 2.0), (0, 0.0, 1.0)] {
            let want = Span::new(dtype, 243).unwrap();
            let distribution = match kind {
                0 => random::Distribution::Uniform { from: a, to: b },
                _ => random::Distribution::Normal { mean: a, std: b },
            };
            random::fill_random(&want, distribution, &layout, key).unwrap();
            let y = float.room(243, 0);
            let walk = Walk(kernels::cuda::Walk::of(&layout));
            let arguments = [U64(243), walk, U32(kind), F64(a), F64(b), U32(key[0]), U32(key[1]), y.argument()];
            device("random", float.name()).launch("fill_random", &[243], &arguments);
            assert_eq!(y.get::<u8>(), want.bytes(), "{float:?} {kind}");
        }
    }
}

#[test]
fn scaled_sums_have_the_bits_of_the_cpu() {
    for (variant, from, to) in [
        ("f32", Float::F32, Float::F32),
        ("bf16", Float::Bf16, Float::Bf16),
        ("f16", Float::F16, Float::F16),
        ("bf16-f32", Float::Bf16, Float::F32),
        ("f16-f32", Float::F16, Float::F32),
    ] {
        let (src, dst) = (from.rounded(&values(1031, 7, 1.0)), to.rounded(&values(1031, 8, 1.0)));
        let (mut want, alpha, src_at, dst_at) = (dst.clone(), Memory::of(&[0.37f32], 4), from.put(&src, 0), to.put(&dst, 0));
        axpy::axpy(&mut want[..], 0.37, &src[..]).unwrap();
        let arguments = [U64(1031), alpha.argument(), src_at.argument(), dst_at.argument()];
        device("axpy", variant).launch("axpy", &[1031], &arguments);
        to.expect("axpy", &to.get(&dst_at), &want, 0.0, 0.0);
        device("axpy", variant).launch("scale", &[1031], &arguments);
        let want: Vec<f32> = src.iter().map(|x| x * 0.37f32).collect();
        to.expect("scale", &to.get(&dst_at), &want, 0.0, 0.0);
    }
}
