use super::*;
use crate::stored::rounding::{bits, random};

const TABLE: Table = Table { start: 10, rows: 4, cols: 3, partial: false };

#[test]
fn tokens_name_rows_from_start_on() {
    let weight: Vec<f32> = (0..12).map(|x| x as f32).collect();
    let mut y = [9.0; 6];
    embedding(&weight, &[12, 10], TABLE, &mut y).unwrap();
    assert_eq!(y, [6.0, 7.0, 8.0, 0.0, 1.0, 2.0]);
    embedding(&weight, &[14, -1], Table { partial: true, ..TABLE }, &mut y).unwrap();
    assert_eq!(y, [0.0; 6]);
}

#[test]
fn a_token_outside_is_named_with_its_position() {
    let error = embedding(&[0.0; 12], &[10, 14], TABLE, &mut [0.0; 6]).unwrap_err();
    assert_eq!(error, "embedding: token 14 at position 1 is outside the vocabulary 10..14. Pass tokens of this vocabulary.");
    for token in [-1, i32::MIN, i32::MAX, 9] {
        assert!(
            embedding_backward(&[token], &[0.0; 3], TABLE, &mut [0.0; 12], true)
                .unwrap_err()
                .contains(&format!("token {token} at position 0"))
        );
    }
    let edge = Table { start: usize::MAX, rows: 1, cols: 1, partial: false };
    assert!(embedding(&[0.0], &[3], edge, &mut [0.0]).is_err());
}

#[test]
fn gradients_of_a_token_add_up_in_order_whatever_the_threads() {
    let (rows, cols, tokens) = (7, 150, 60);
    let table = Table { start: 3, rows, cols, partial: true };
    let index: Vec<i32> = (0..tokens).map(|i| (i * 31 % 11) as i32).collect();
    let grad: Vec<f32> = (0..tokens * cols).map(|i| (i % 977) as f32 * 0.37 - 180.0).collect();
    let mut want = vec![0.5f32; rows * cols];
    for (i, token) in index.iter().enumerate().filter(|(_, token)| (3..10).contains(*token)) {
        for j in 0..cols {
            want[(*token as usize - 3) * cols + j] += grad[i * cols + j];
        }
    }
    for threads in [1, 2, 3, 7] {
        pool::set_threads(threads);
        let mut dst = vec![0.5; rows * cols];
        embedding_backward(&index, &grad, table, &mut dst, true).unwrap();
        assert!(dst == want, "{threads} threads");
    }
}

#[test]
fn overwriting_zeroes_first_and_nothing_is_written_on_an_error() {
    let mut dst = [5.0; 12];
    assert!(embedding_backward(&[11, 20], &[1.0; 6], TABLE, &mut dst, false).is_err());
    assert_eq!(dst, [5.0; 12]);
    embedding_backward(&[11], &[1.0, 2.0, f32::NAN], TABLE, &mut dst, false).unwrap();
    assert!(dst[..5] == [0.0, 0.0, 0.0, 1.0, 2.0] && dst[5].is_nan() && dst[6..] == [0.0; 6]);
    embedding_backward::<f32>(&[], &[], TABLE, &mut dst, false).unwrap();
    assert_eq!(dst, [0.0; 12]);
}

#[test]
fn bf16_rows_are_copied_and_their_gradients_summed_in_f32() {
    let table = Table { start: 2, rows: 5, cols: 70, partial: true };
    let index = [2, 6, 2, 0, 4, 2];
    let ((weight16, weight), (grad16, grad)) = (random(350, 1), random(420, 2));
    let (mut y, mut y16, mut dst, mut dst16) = (vec![1.0; 420], vec![1u16; 420], vec![0.5; 350], vec![0.5; 350]);
    embedding(&weight, &index, table, &mut y).unwrap();
    embedding(&weight16, &index, table, &mut y16).unwrap();
    embedding_backward(&index, &grad, table, &mut dst, true).unwrap();
    embedding_backward(&index, &grad16, table, &mut dst16, true).unwrap();
    assert!(y16 == bits(&y) && dst16 == dst);
}

#[test]
fn a_table_of_bf16_gets_the_f32_sums_rounded_once_whatever_the_threads() {
    let table = Table { start: 2, rows: 90, cols: 70, partial: true };
    let index: Vec<i32> = (0..600).map(|i| i * i % 97).collect();
    let (grad16, grad) = random(600 * 70, 2);
    let mut want = vec![0.5; 90 * 70];
    embedding_backward(&index, &grad, table, &mut want, false).unwrap();
    for threads in [1, 2, 7] {
        pool::set_threads(threads);
        let (mut dst, mut dst16) = (vec![0.5; 90 * 70], vec![1; 90 * 70]);
        embedding_gradient(&index, &grad, table, &mut dst).unwrap();
        embedding_gradient(&index, &grad16, table, &mut dst16).unwrap();
        assert!(dst == want && dst16 == bits(&want), "{threads} threads");
    }
    let whole = Table { partial: false, ..table };
    assert!(embedding_gradient(&[0], &grad[..70], whole, &mut want).unwrap_err().contains("token 0 at position 0"));
}
