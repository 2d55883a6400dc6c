use super::*;
use crate::half::f32_to_bf16;

fn naive(a: &[f32], b: &[f32], l: &Layout) -> Vec<f64> {
    let element = |x: usize| {
        let (index, i, j) = (x / (l.m * l.n), x / l.n % l.m, x % l.n);
        let a = |k: usize| a[index * l.a_batch_stride + if l.trans_a { k * l.m + i } else { i * l.k + k }];
        let b = |k: usize| b[index * l.b_batch_stride + if l.trans_b { j * l.k + k } else { k * l.n + j }];
        (0..l.k).map(|k| f64::from(a(k)) * f64::from(b(k))).sum()
    };
    (0..l.batch * l.m * l.n).map(element).collect()
}

#[test]
fn batches_transposes_shared_operands_and_accumulation() {
    let (batch, m, n, k) = (3, 5, 18, 7);
    let a: Vec<f32> = (0..batch * m * k).map(|x| (x * 37 % 19) as f32 - 9.0).collect();
    let b: Vec<f32> = (0..batch * k * n).map(|x| (x * 53 % 23) as f32 - 11.0).collect();
    for flags in 0..16 {
        let (trans_a, trans_b) = (flags & 1 != 0, flags & 2 != 0);
        let (a_batch_stride, b_batch_stride) = (if flags & 4 != 0 { 0 } else { m * k }, if flags & 8 != 0 { 0 } else { k * n });
        let layout = Layout { batch, m, n, k, a_batch_stride, b_batch_stride, trans_a, trans_b };
        let mut c = vec![0.5; batch * m * n];
        matmul(&a, &b, &layout, &mut c, false).unwrap();
        let want = naive(&a, &b, &layout);
        assert!(c.iter().zip(&want).all(|(got, want)| f64::from(*got) == *want), "{layout:?}");
        matmul(&a, &b, &layout, &mut c, true).unwrap();
        assert!(c.iter().zip(&want).all(|(got, want)| f64::from(*got) == 2.0 * want), "{layout:?} accumulated");
        let [a, b] = [&a, &b].map(|x| x.iter().map(|x| f32_to_bf16(*x)).collect::<Vec<u16>>());
        let mut narrow = vec![0; batch * m * n];
        matmul_with([Values::Bf16(&a), Values::Bf16(&b)], &layout, ValuesMut::Bf16(&mut narrow), false, Precision::Bf16).unwrap();
        assert!(narrow.iter().zip(&want).all(|(got, want)| *got == f32_to_bf16(*want as f32)), "{layout:?} in bf16");
    }
}

#[test]
fn empty_batches_are_fine_and_short_operands_are_refused() {
    let layout = Layout { batch: 0, m: 2, n: 2, k: 2, a_batch_stride: 4, b_batch_stride: 4, trans_a: false, trans_b: false };
    matmul(&[], &[], &layout, &mut [], false).unwrap();
    let layout = Layout { batch: 2, ..layout };
    assert!(matmul(&[0.0; 7], &[0.0; 8], &layout, &mut [0.0; 8], false).unwrap_err().starts_with("matmul: a has 7 values, too few"));
    let layout = Layout { a_batch_stride: usize::MAX, ..layout };
    assert!(matmul(&[0.0; 8], &[0.0; 8], &layout, &mut [0.0; 8], false).is_err());
}

#[test]
fn mixed_element_types_give_the_product_of_their_values() {
    use crate::stored::rounding::{bits, random};
    let layout = Layout { batch: 3, m: 17, n: 35, k: 40, a_batch_stride: 680, b_batch_stride: 0, trans_a: true, trans_b: false };
    let ((a16, a), (b16, b), (c16, c)) = (random(3 * 680, 1), random(1400, 2), random(3 * 595, 3));
    for precision in [Precision::F32, Precision::Bf16] {
        let mut want = c.clone();
        matmul_with([Values::F32(&a), Values::F32(&b)], &layout, ValuesMut::F32(&mut want), true, precision).unwrap();
        for [a, b] in
            [[Values::Bf16(&a16), Values::F32(&b)], [Values::F32(&a), Values::Bf16(&b16)], [Values::Bf16(&a16), Values::Bf16(&b16)]]
        {
            let (mut wide, mut narrow) = (c.clone(), c16.clone());
            matmul_with([a, b], &layout, ValuesMut::F32(&mut wide), true, precision).unwrap();
            matmul_with([a, b], &layout, ValuesMut::Bf16(&mut narrow), true, precision).unwrap();
            assert!(wide == want && narrow == bits(&want), "{precision:?}");
        }
    }
}
