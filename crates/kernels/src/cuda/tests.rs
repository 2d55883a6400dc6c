use super::index::{attention_item, columns, elements, in_row, slot};
use super::table::UNITS;
use super::*;
use crate::layout::Layout;
use std::collections::BTreeSet;
use std::ops::Range;

/// Beyond what 32 bits count.
const HUGE: u64 = (1 << 32) + 77;

fn launched(unit_name: &str, kernel: &str, extents: &[u64], variant: usize) -> Launch {
    let unit = unit(unit_name).unwrap();
    (unit.kernel(kernel).unwrap().geometry)(extents, &unit.variants[variant]).unwrap()
}

/// Fails unless the ranges, in this order, are `0..length` cut into pieces.
fn expect_cover(ranges: impl Iterator<Item = Range<u64>>, length: u64, what: &str) {
    let mut next = 0;
    for range in ranges.filter(|range| !range.is_empty()) {
        assert_eq!(range.start, next, "{what}");
        next = range.end;
    }
    assert_eq!(next, length, "{what}");
}

/// The parameters of a kernel as its text declares them.
fn declared(text: &str, name: &str) -> Vec<(String, Parameter)> {
    let start = text.find(&format!(" {name}(")).or_else(|| text.find(&format!("\n{name}("))).unwrap() + name.len() + 2;
    let list = &text[start..start + text[start..].find(')').unwrap()];
    let parameter = |words: &str| {
        let (kind, name) = words.trim().rsplit_once(' ').unwrap();
        let kind = match kind {
            "u32" => Parameter::U32,
            "u64" => Parameter::U64,
            "float" => Parameter::F32,
            "double" => Parameter::F64,
            "Wide" => Parameter::Wide,
            "Walk" => Parameter::Walk,
            "Shape" => Parameter::Shape,
            _ if kind.starts_with("const") && kind.ends_with('*') => Parameter::In,
            _ if kind.ends_with('*') => Parameter::Out,
            _ => panic!("{kind} is no type of a parameter"),
        };
        (name.to_owned(), kind)
    };
    list.split(',').map(parameter).collect()
}

#[test]
fn the_table_lists_every_kernel_of_every_text_with_its_parameters() {
    for unit in UNITS {
        let text = unit.texts.concat();
        for kernel in unit.kernels {
            let listed: Vec<(String, Parameter)> = kernel.parameters.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
            assert_eq!(declared(&text, kernel.name), listed, "{}", kernel.name);
        }
    }
    let mut names = BTreeSet::new();
    for unit in UNITS {
        unit.kernels.iter().for_each(|kernel| assert!(names.insert(kernel.name), "{} stands twice", kernel.name));
    }
    let texts: BTreeSet<&str> = UNITS.iter().flat_map(|unit| unit.texts).copied().collect();
    let written: usize = texts.iter().map(|text| text.matches("KERNEL ").count()).sum();
    assert_eq!(names.len(), written);
}

#[test]
fn a_variant_says_how_many_elements_16_bytes_hold() {
    let bytes = [4, 2, 2, 8, 4, 8, 1, 2];
    for unit in UNITS {
        for variant in unit.variants {
            let dtype: usize = variant.options[0].trim_start_matches("-DDTYPE=").parse().unwrap();
            assert_eq!(variant.width * bytes[dtype], 16, "{} {}", unit.name, variant.name);
            let head = variant.options.iter().find_map(|option| option.strip_prefix("-DHEAD=")).unwrap_or("0");
            assert_eq!(variant.head, head.parse().unwrap());
        }
    }
}

#[test]
fn element_wise_threads_cover_every_element_once() {
    for (variant, width) in [(0, 4), (1, 8)] {
        for length in [0, 1, 3, 4, 7, 8, 9, 255, 1023, 1024, 1025, 2047, 2049, 5000] {
            let Launch { grid, block, shared } = launched("unary", "unary", &[length], variant);
            assert_eq!((block, shared), (256, 0));
            let slots = (0..u64::from(grid)).flat_map(|block| (0..256).map(move |thread| (block, thread)));
            expect_cover(slots.map(|(block, thread)| elements(block, thread, length, width)), length, "elements");
        }
        // Too many to go through: the ends, and neighbours about the places where 31 and 32 bits end.
        let grid = u64::from(launched("unary", "unary", &[HUGE], variant).grid);
        assert_eq!(elements(0, 0, HUGE, width).start, 0);
        assert_eq!(elements(grid - 1, 255, HUGE, width).end, HUGE);
        assert!(!elements(grid - 1, 0, HUGE, width).is_empty());
        for block in [(1 << 31) / (256 * width), (1 << 32) / (256 * width)] {
            let around = (block - 1..=block).flat_map(|block| (0..256).map(move |thread| (block, thread)));
            let ranges: Vec<_> = around.map(|(block, thread)| elements(block, thread, HUGE, width)).collect();
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}

#[test]
fn tiles_of_rows_cover_every_element_once() {
    for [rows, cols] in [[0, 5], [3, 0], [1, 1], [5, 7], [2, 1023], [2, 2048], [3, 2049], [2, 10_001]] {
        let launch = launched("bias_add", "bias_add", &[rows, cols], 1);
        let (grid, threads) = (u64::from(launch.grid), u64::from(launch.block));
        assert!(threads.is_multiple_of(32) && threads <= 256);
        let all = (0..grid).flat_map(|block| (0..threads).map(move |thread| in_row(block, thread, threads, cols, 8)));
        let places = all.map(|(row, cols_of)| row * cols + cols_of.start..row * cols + cols_of.end);
        expect_cover(places, rows * cols, "row tiles");
    }
    let launch = launched("bias_add", "bias_add", &[3, HUGE], 1);
    let (grid, threads) = (u64::from(launch.grid), u64::from(launch.block));
    assert_eq!(in_row(grid - 1, threads - 1, threads, HUGE, 8), (2, HUGE..HUGE));
    assert_eq!(in_row(grid / 3, 0, threads, HUGE, 8), (1, 0..8));
}

#[test]
fn sums_over_rows_cover_every_element_once() {
    for [rows, cols] in [[1, 1], [31, 9], [33, 513], [100, 1025], [2049, 7], [5000, 3]] {
        let launch = launched("sum_rows", "sum_rows", &[rows, cols], 1);
        let chunk = geometry::rows_per_chunk(rows);
        let mut seen = vec![0u8; (rows * cols) as usize];
        for block in 0..u64::from(launch.grid) {
            for thread in 0..u64::from(launch.block) {
                let (rows, own) = columns(block, thread, u64::from(launch.block), [rows, cols], chunk, 8);
                rows.for_each(|row| own.clone().for_each(|col| seen[(row * cols + col) as usize] += 1));
            }
        }
        assert!(seen.iter().all(|&count| count == 1), "{rows} x {cols}");
    }
}

#[test]
fn blocks_of_rows_cover_every_row_once() {
    for rows in [1, 5, 256, 257, 1000, 70_000] {
        let launch = launched("norm", "norm_backward", &[rows, 512], 0);
        let each = geometry::rows_per_block(rows);
        expect_cover((0..u64::from(launch.grid)).map(|block| block * each..rows.min((block + 1) * each)), rows, "rows of blocks");
        assert_eq!(launch.shared, 12 * 512);
    }
    assert_eq!(launched("norm", "norm_backward", &[4, 100_000], 0).shared, 0);
    // A row is the slots of its block's threads, round after round.
    for cols in [1, 31, 129, 4096, 20_000] {
        let threads = u64::from(launched("norm", "norm_forward", &[2, cols], 0).block);
        let rounds = cols.div_ceil(4).div_ceil(threads);
        let slots = (0..rounds).flat_map(|round| (0..threads).map(move |thread| slot(round * threads + thread, cols, 4)));
        expect_cover(slots, cols, "slots of a row");
    }
}

#[test]
fn attention_has_every_row_of_every_head_once() {
    for (extents, tile, kernel, unit) in [
        ([130, 2, 3], 64, "attention", "attention"),
        ([64, 1, 1], 64, "attention_backward_kv", "attention"),
        ([17, 3, 2], 8, "attention_plain", "attention_plain"),
        ([21, 3, 2], 8, "attention_plain_backward_kv", "attention_plain"),
    ] {
        let launch = launched(unit, kernel, &extents, 0);
        let [seq, batch, heads] = extents;
        let mut seen = vec![0u8; (seq * batch * heads) as usize];
        for block in 0..u64::from(launch.grid) {
            let (rows, sample, head) = attention_item(block, extents, tile);
            rows.for_each(|row| seen[((sample * heads + head) * seq + row) as usize] += 1);
        }
        assert!(seen.iter().all(|&count| count == 1), "{kernel}");
        assert!(launch.shared <= 96 << 10);
    }
    assert_eq!(launched("attention_plain", "attention_plain_backward_bias", &[17, 2], 0).grid, 3 * 2);
    let heads_of_256 = launched("attention_plain", "attention_plain_backward_q", &[9, 1, 1], 2);
    assert_eq!(heads_of_256.shared, 4 * (2 * 32 * 257 + 2 * 8 * 256));
}

#[test]
fn nothing_is_launched_for_no_elements_and_too_much_is_refused() {
    let shapes: [(&str, &str, &[u64]); 5] = [
        ("unary", "unary", &[0]),
        ("norm", "norm_forward", &[0, 4]),
        ("norm", "norm_forward", &[4, 0]),
        ("sum_rows", "sum_rows", &[0, 4]),
        ("attention", "attention", &[0, 2, 2]),
    ];
    for (unit, kernel, extents) in shapes {
        assert_eq!(launched(unit, kernel, extents, 0).grid, 0, "{kernel}");
    }
    let unit = unit("norm").unwrap();
    let error = (unit.kernels[0].geometry)(&[1 << 31, 4], &unit.variants[0]).unwrap_err();
    assert!(error.contains("blocks are needed"), "{error}");
    let error = (unit.kernels[0].geometry)(&[u64::MAX, 4], &unit.variants[0]).unwrap_err();
    assert!(error.contains("blocks are needed"), "{error}");
}

#[test]
fn a_walk_finds_the_places_of_its_layout() {
    let layout = Layout::<2>::parse(&[3, 4, 2, 3, 1, 12, 4, 3, 0, 1]).unwrap().at([5, 7]);
    let walk = Walk::of(&layout);
    for number in 0..layout.numel() {
        let [a, b] = layout.places(number);
        assert_eq!([walk.place(0, number as u64), walk.place(1, number as u64)], [a as u64, b as u64]);
    }
}

#[test]
fn what_is_passed_by_value_has_the_layout_of_the_text() {
    assert_eq!((size_of::<Walk>(), std::mem::offset_of!(AttentionShape, query), size_of::<AttentionShape>()), (416, 48, 120));
}
