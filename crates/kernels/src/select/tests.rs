use super::*;

#[test]
fn each_element_comes_from_the_chosen_side() {
    let mut y = [0.0f32; 3];
    select(&[1, 0, 7], &[1.0, 2.0, 3.0], &[-1.0, -2.0, -3.0], &Layout::dense(3), &mut y).unwrap();
    assert_eq!(y, [1.0, -2.0, 3.0]);
}

#[test]
fn all_three_are_broadcast() {
    // cond [2, 1], a [3], b a single value.
    let layout = Layout::parse(&[2, 2, 3, 1, 0, 0, 1, 0, 0]).unwrap();
    let mut y = [0u16; 6];
    select(&[0, 1], &[1, 2, 3], &[9], &layout, &mut y).unwrap();
    assert_eq!(y, [9, 9, 9, 1, 2, 3]);
    assert!(select(&[0], &[1, 2, 3], &[9], &layout, &mut y).is_err());
}
