//! Elements that are found by strides or by an index, reductions, and which elements a thread has.

use crate::device::{Argument::*, NULL, device};
use crate::memory::{FLOATS, Float, Memory, values};
use kernels::cuda::{self, index};
use kernels::embedding::{Table, embedding, embedding_backward, embedding_gradient};
use kernels::gather::{Extents, gather, gather_add};
use kernels::layout::Layout;
use kernels::rotary::{Angles, Rotary, rotary};
use kernels::{reduce, strided};

fn walk<const N: usize>(layout: &Layout<N>) -> crate::device::Argument {
    Walk(cuda::Walk::of(layout))
}

#[test]
fn views_move_bits_as_on_the_cpu() {
    let views: [([usize; 3], [usize; 3], usize); 4] =
        [([4, 5, 6], [30, 6, 1], 0), ([6, 5, 4], [1, 6, 30], 0), ([4, 3, 6], [0, 6, 1], 7), ([2, 3, 16], [48, 16, 1], 3)];
    let x: Vec<u16> = (0..140).map(|i| 0x7f80 + i).collect();
    for (dims, strides, offset) in views {
        let layout = Layout::<1>::new(&dims, [&strides], [offset]).unwrap();
        let numel = layout.numel();
        let (mut want, x_at, y) = (vec![0u16; numel], Memory::of(&x, 0), Memory::of(&vec![0u16; numel], 0));
        strided::gather_view(&x[..], &layout, &mut want[..]).unwrap();
        let arguments = [U64(numel as u64), walk(&layout), x_at.argument(), y.argument()];
        device("strided", "2-byte").launch("gather_view", &[numel as u64], &arguments);
        assert_eq!(y.get::<u16>(), want, "{dims:?} {strides:?}");
    }
}

#[test]
fn scatters_set_and_add_in_the_order_of_the_cpu() {
    // [4, 3, 6] onto [.., 6] rows: the middle dim repeats, so its three elements meet at one place.
    let layout = Layout::<1>::new(&[4, 3, 6], [&[12, 0, 1]], [2]).unwrap();
    let kept = Layout::<2>::new(&[4, 6], [&[12, 1], &[18, 1]], [2, 0]).unwrap();
    let repeats = Layout::<2>::new(&[3], [&[0], &[6]], [0, 0]).unwrap();
    let (src, dst) = (values(72, 1, 3.0), values(50, 2, 3.0));
    for name in ["set", "add"] {
        let mut want = dst.clone();
        let (src_at, dst_at) = (Memory::of(&src, 0), Memory::of(&dst, 0));
        let arguments = [U64(24), U64(3), walk(&kept), walk(&repeats), src_at.argument(), dst_at.argument()];
        if name == "set" {
            strided::scatter_set(&mut want[..], &src[..], &layout).unwrap();
            device("strided", "4-byte").launch("scatter_set", &[24], &arguments);
        } else {
            strided::scatter_add(&mut want[..], &src[..], &layout).unwrap();
            device("strided_sums", "f32").launch("scatter_add", &[24], &arguments);
        }
        assert_eq!(dst_at.get::<f32>(), want, "{name}");
    }
}

#[test]
fn gathers_have_the_bits_of_the_cpu_and_find_the_first_bad_index() {
    let extents = Extents { outer: 3, dim_x: 5, dim_index: 4, inner: 7 };
    let index: Vec<i32> = (0..84).map(|i| i * 7 % 5).collect();
    let (x, src) = (values(105, 1, 2.0), values(84, 2, 2.0));
    let (mut want, y) = (vec![0.0; 84], Float::F32.room(84, 0));
    gather(&x[..], &index, extents, &mut want[..]).unwrap();
    let (index_at, x_at, src_at) = (Memory::of(&index, 0), Memory::of(&x, 0), Memory::of(&src, 0));
    let counts = [U64(84), U64(5), U64(4), U64(7)];
    device("gather", "4-byte").launch("gather", &[84], &[&counts[..], &[x_at.argument(), index_at.argument(), y.argument()]].concat());
    assert_eq!(y.get::<f32>(), want);

    let mut want = x.clone();
    gather_add(&mut want[..], &index, &src[..], extents).unwrap();
    let counts = [U64(21), U64(5), U64(4), U64(7)];
    device("gather_sums", "f32").launch(
        "gather_add",
        &[21],
        &[&counts[..], &[index_at.argument(), src_at.argument(), x_at.argument()]].concat(),
    );
    assert_eq!(x_at.get::<f32>(), want);

    let bad = Memory::of(&[u64::MAX], 0);
    let check = |index: &[i32]| {
        let index = Memory::of(index, 0);
        device("gather", "4-byte").launch("gather_check", &[84], &[U64(84), U64(5), index.argument(), bad.argument()]);
        bad.get::<u64>()[0]
    };
    assert_eq!(check(&index), u64::MAX);
    let mut wrong = index.clone();
    (wrong[40], wrong[33]) = (5, -1);
    assert_eq!(check(&wrong), 33);
}

#[test]
fn reductions_are_those_of_the_cpu() {
    // Several chunks of rows in the third, of columns in the last.
    let cases = [
        ([2, 7, 3, 40], [0, 1, 0, 1]),
        ([2, 7, 3, 40], [0, 1, 0, 0]),
        ([2, 130, 5, 30], [1, 1, 1, 1]),
        ([3, 5, 2, 70], [0, 0, 0, 1]),
        ([2, 600, 2, 7], [0, 1, 1, 0]),
    ];
    for (float, (dims, mask)) in FLOATS.into_iter().flat_map(|float| cases.map(|case| (float, case))) {
        let numel: usize = dims.iter().product();
        let mut x = float.rounded(&values(numel, 1, 2.0));
        x[numel / 2] = f32::NAN;
        let words: Vec<u32> = std::iter::once(4).chain(dims.map(|dim| dim as u32)).chain(mask).collect();
        let plan = reduce::Plan::parse(&words).unwrap();
        let strides = [0, 1, 2, 3].map(|dim| dims[dim + 1..].iter().product::<usize>());
        let part = |wanted: u32| {
            let chosen: Vec<usize> = (0..4).filter(|&dim| mask[dim] == wanted).collect();
            let (dims, strides): (Vec<usize>, Vec<usize>) = chosen.iter().map(|&dim| (dims[dim], strides[dim])).unzip();
            Layout::<1>::new(&dims, [&strides], [0]).unwrap()
        };
        let (kept, reduced) = (part(0), part(1));
        let (results, count) = (kept.numel(), reduced.numel());
        let x_at = float.put(&x, 0);
        for code in 0..4 {
            let mut want = vec![0.0; results];
            reduce::reduce(code, &x[..], &plan, &mut want).unwrap();
            for (kernel, chunk) in [("reduce_rows", cuda::geometry::ROW_CHUNK), ("reduce_columns", cuda::geometry::COLUMN_CHUNK)] {
                let chunks = (count as u64).div_ceil(chunk);
                let (partials, y) = (Memory::of(&vec![f64::NAN; results * chunks as usize], 0), float.room(results, 0));
                let counts = [U64(results as u64), U64(chunks), U64(chunk), U64(count as u64), U32(code)];
                let places = [walk(&kept), walk(&reduced), x_at.argument(), partials.argument()];
                let first = usize::from(kernel == "reduce_rows");
                let device = device("reduce", float.name());
                device.launch(kernel, &[results as u64, count as u64], &[&counts[first..], &places].concat());
                let divisor = if code == 1 { count as f64 } else { 1.0 };
                let arguments = [U64(results as u64), U64(chunks), U32(code), F64(divisor), partials.argument(), y.argument()];
                device.launch("reduce_finish", &[results as u64], &arguments);
                // The kernels' sums are f64. The CPU's are of fours, each of which rounds three times in f32 and is at most 8.
                let rounded = if code < 2 { count as f32 / 4.0 * 3.0 * 8.0 * (f32::EPSILON / 2.0) / divisor as f32 } else { 0.0 };
                float.expect(&format!("{kernel} {code} {mask:?}"), &float.get(&y), &want, 1.0, rounded);
            }
        }
    }
}

#[test]
fn an_embedding_and_its_backward_have_the_bits_of_the_cpu() {
    // Wide enough for several warps, and more tokens than a block looks at together.
    let (rows, start, cols, tokens) = (11, 5, 301, 300);
    let index: Vec<i32> = (0..tokens).map(|i| (i * i * 7 % 23) as i32 - 2).collect();
    for float in FLOATS {
        let table = Table { start, rows, cols, partial: true };
        let (weight, grad) = (float.rounded(&values(rows * cols, 1, 2.0)), float.rounded(&values(tokens * cols, 2, 2.0)));
        let dst = values(rows * cols, 3, 1.0);
        let (mut want, y) = (vec![0.0; tokens * cols], float.room(tokens * cols, 0));
        embedding(&weight[..], &index, table, &mut want[..]).unwrap();
        let [weight_at, grad_at] = [float.put(&weight, 0), float.put(&grad, 0)];
        let (index_at, dst_at) = (Memory::of(&index, 0), Memory::of(&dst, 0));
        let counts = [cols, start, rows].map(|count| U64(count as u64));
        let device = device("embedding", float.name());
        let extents = [tokens as u64, cols as u64];
        let places = [weight_at.argument(), index_at.argument(), y.argument()];
        device.launch("embedding", &extents, &[&counts[..], &places, &[NULL]].concat());
        float.expect("embedding", &float.get(&y), &want, 0.0, 0.0);
        let bad = Memory::of(&[u64::MAX], 0);
        device.launch("embedding", &extents, &[&counts[..], &places, &[bad.argument()]].concat());
        let first = index.iter().position(|token| !(5..16).contains(token)).unwrap();
        assert_eq!(bad.get::<u64>(), [first as u64]);

        let mut want = dst.clone();
        embedding_backward(&index, &grad[..], table, &mut want, true).unwrap();
        let places = [index_at.argument(), grad_at.argument(), dst_at.argument()];
        device.launch("embedding_backward", &extents, &[&[U64(tokens as u64)], &counts[..], &places].concat());
        Float::F32.expect("embedding backward", &dst_at.get::<f32>(), &want, 0.0, 0.0);

        embedding_gradient(&index, &grad[..], table, &mut want).unwrap();
        let zeroed = float.put(&vec![0.0; rows * cols], 0);
        let places = [index_at.argument(), grad_at.argument(), zeroed.argument()];
        device.launch("embedding_gradient", &extents, &[&[U64(tokens as u64)], &counts[..], &places].concat());
        float.expect("embedding gradient", &float.get(&zeroed), &float.rounded(&want), 0.0, 0.0);
    }
}

#[test]
fn rotary_turns_pairs_and_turns_them_back_as_on_the_cpu() {
    let angles: Vec<f32> = (0..12 * 12).map(|i| (i as f32 * 0.37).cos()).collect();
    let positions: Vec<i32> = (0..10).map(|token| token * 7 % 12).collect();
    let s = Rotary { seq: 5, batch: 2, heads: 3, key_heads: 1, head_dim: 17, rotated: 12, interleaved: false, back: false };
    let (heads, turned_heads) = (s.heads + 2 * s.key_heads, s.heads + s.key_heads);
    let x = values(s.seq * s.batch * heads * s.head_dim, 1, 2.0);
    let pairs = (s.seq * s.batch * heads * s.head_dim.div_ceil(2)) as u64;
    for (interleaved, back) in [(false, false), (true, false), (false, true), (true, true)] {
        let s = Rotary { interleaved, back, ..s };
        for (float, given) in FLOATS.into_iter().flat_map(|float| [(float, None), (float, Some(&positions[..]))]) {
            let (x, mut want) = (float.rounded(&x), vec![0.0; x.len()]);
            rotary(&x, &Angles { table: &angles, positions: given }, &s, &mut want).unwrap();
            let (x_at, y, table) = (float.put(&x, 0), float.room(x.len(), 0), Memory::of(&angles, 0));
            let positions_at = Memory::of(given.unwrap_or_default(), 0);
            let named = if given.is_some() { positions_at.argument() } else { NULL };
            let counts = [s.batch, heads, turned_heads, s.head_dim, s.rotated].map(|count| U32(count as u32));
            let way = [U32(interleaved.into()), F32(if back { -1.0 } else { 1.0 })];
            let places = [table.argument(), named, x_at.argument(), y.argument()];
            device("rotary", float.name()).launch("rotary", &[pairs], &[&[U64(pairs)][..], &counts, &way, &places].concat());
            float.expect("rotary", &float.get(&y), &want, 0.0, 0.0);
        }
    }
}

#[test]
fn a_thread_has_the_elements_that_the_index_arithmetic_says() {
    for (variant, width) in [("f32", 4), ("bf16", 8)] {
        let device = device("unary", variant);
        let lengths = [0, 1, 5, 1024, 9_999, (1 << 31) + 3, (1 << 32) + 77, (1 << 40) + 1];
        let blocks = [0, 1, 2, 9, 1 << 20, (1 << 21) - 1, 1 << 21, (1 << 30) + 5];
        for (length, block, thread) in lengths
            .into_iter()
            .flat_map(|length| blocks.into_iter().flat_map(move |block| [0, 1, 31, 255].map(|thread| (length, block, thread))))
        {
            let [first, count, ..] = device.probe("elements", [block, thread, 256], [length, 0, 0]);
            assert_eq!(first..first + count, index::elements(block, thread, length, width));
            if length > 0 {
                let threads = 64;
                let [row, col, count, ..] = device.probe("in_row", [block, thread % threads, threads], [length, 0, 0]);
                assert_eq!((row, col..col + count), index::in_row(block, thread % threads, threads, length, width));
                let (cols, chunk) = (length % 5000 + 1, 40);
                let tiles = index::tiles(cols, threads, width);
                let rows = (block / tiles + 1) * chunk - length % 3;
                let [first, end, col, count] = device.probe("columns", [block, thread % threads, threads], [rows, cols, chunk]);
                assert_eq!((first..end, col..col + count), index::columns(block, thread % threads, threads, [rows, cols], chunk, width));
            }
        }
    }
}
