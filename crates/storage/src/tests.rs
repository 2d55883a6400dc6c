use super::*;
use std::sync::Mutex;

/// Serialises the tests that read the process-wide counters.
static COUNTERS: Mutex<()> = Mutex::new(());

#[test]
fn buffers_are_aligned_and_counted_and_their_blocks_come_back() {
    let _held = COUNTERS.lock().unwrap();
    for (bytes, again) in [(123_457, 123_400), (1000, 990), (5 << 20, 5 << 20)] {
        let before = memory_stats();
        let first = Buffer::new(bytes).unwrap();
        let place = first.as_ptr();
        assert_eq!(place as usize % 64, 0);
        assert_eq!((first.len(), first.is_empty()), (bytes, false));
        assert_eq!(memory_stats().all.live, before.all.live + bytes);
        assert_eq!(memory_stats().allocations, before.allocations + 1);
        drop(first);
        let between = memory_stats();
        assert_eq!(between.all.live, before.all.live);
        assert!(between.reserved >= bytes && between.all.peak >= before.all.live + bytes);
        let second = Buffer::new(again).unwrap();
        assert_eq!((second.as_ptr(), memory_stats().system_calls), (place, between.system_calls));
    }
    trim_cache();
    reset_peak();
    let after = memory_stats();
    assert_eq!((after.reserved, after.all.peak), (0, after.all.live));
}

#[test]
fn a_loop_of_the_same_sizes_asks_the_system_for_nothing_once_it_has_run() {
    let _held = COUNTERS.lock().unwrap();
    let sizes = [40, 3000, 70_000, 1 << 20, 333_333, 9 << 20, 64, 12_345_678];
    let step = |first: usize| {
        let mut held: Vec<Buffer> = Vec::new();
        for at in 0..40 {
            held.push(Buffer::new(sizes[(first + at * 3) % sizes.len()]).unwrap());
            if at % 3 == 2 {
                held.swap_remove(at / 3);
            }
        }
    };
    (0..8).for_each(step);
    let early = memory_stats();
    (0..200).for_each(step);
    let late = memory_stats();
    assert_eq!((early.system_calls, early.reserved, early.all.live), (late.system_calls, late.reserved, late.all.live));
    assert_eq!(late.allocations, early.allocations + 200 * 40);
}

#[test]
fn what_is_cut_up_grows_together_again() {
    let _held = COUNTERS.lock().unwrap();
    trim_cache();
    let pieces: Vec<Buffer> = (0..20).map(|_| Buffer::new(1 << 20).unwrap()).collect();
    let before = memory_stats();
    let (odd, even): (Vec<_>, Vec<_>) = pieces.into_iter().enumerate().partition(|(index, _)| index % 2 == 1);
    drop(odd);
    drop(even);
    let whole = Buffer::new(30 << 20).unwrap();
    assert_eq!(memory_stats().system_calls, before.system_calls);
    drop(whole);
    trim_cache();
    assert_eq!(memory_stats().reserved, 0);
}

#[test]
fn several_threads_share_the_memory() {
    let _held = COUNTERS.lock().unwrap();
    let before = memory_stats().all.live;
    std::thread::scope(|threads| {
        for thread in 0..4usize {
            threads.spawn(move || {
                let mut held: Vec<Span> = Vec::new();
                for turn in 0..400 {
                    let span = Span::from_slice(DType::I64, &vec![(thread * 1000 + turn) as i64; 1 + turn * 37 % 9000]).unwrap();
                    held.push(span);
                    if turn % 2 == 1 {
                        let span = held.swap_remove(turn % held.len());
                        let values = span.slice::<i64>().unwrap();
                        assert!(values.iter().all(|&value| value == values[0] && value / 1000 == thread as i64));
                    }
                }
            });
        }
    });
    assert_eq!(memory_stats().all.live, before);
}

#[test]
fn each_category_is_counted_apart() {
    let _held = COUNTERS.lock().unwrap();
    reset_peak();
    let usage = |category: Category| memory_stats().by_category[category as usize];
    let (before, all) = (Category::ALL.map(usage), memory_stats().all);
    let outside = Category::Optimizer.make_current();
    let state = Span::new(DType::F32, 100).unwrap();
    assert_eq!((outside, Category::current()), (Category::Activations, Category::Optimizer));
    outside.make_current();
    let (scratch, plain) = (Buffer::of(Category::Workspace, 64).unwrap(), Span::new(DType::U8, 30).unwrap());
    plain.categorize(Category::Gradients);
    let grown = |category: Category| usage(category).live - before[category as usize].live;
    assert_eq!(Category::ALL.map(grown), [0, 30, 400, 0, 64, 0]);
    assert_eq!(memory_stats().all.live, all.live + 430);
    drop((state, scratch, plain));
    assert_eq!(Category::ALL.map(grown), [0; 6]);
    assert_eq!(usage(Category::Optimizer).peak, before[Category::Optimizer as usize].peak + 400);
    for (code, category) in Category::ALL.into_iter().enumerate() {
        assert_eq!((category as usize, Category::from_code(code as u32)), (code, Ok(category)));
    }
    assert!(Category::from_code(6).is_err());
}

#[test]
fn an_absurd_allocation_is_refused_with_the_bytes_asked_and_those_available() {
    let _held = COUNTERS.lock().unwrap();
    let before = memory_stats();
    for (dtype, len) in [(DType::U8, 1 << 46), (DType::U8, usize::MAX), (DType::F64, 1 << 60), (DType::F64, usize::MAX)] {
        let message = Span::new(dtype, len).err().unwrap();
        assert!(is_out_of_memory(&message), "{message}");
        let asked = len.checked_mul(dtype.size()).unwrap_or(len);
        assert!(message.contains(&asked.to_string()), "{message}");
        if cfg!(target_os = "linux") && len == 1 << 46 {
            assert!(message.contains(" are available and "), "{message}");
        }
    }
    assert_eq!(memory_stats().all.live, before.all.live);
    assert!(Buffer::new(1000).is_ok() && !is_out_of_memory("add: another error."));
}

#[test]
#[cfg(target_os = "linux")]
fn memory_that_is_mapped_and_not_filled_is_not_promised_twice() {
    let _held = COUNTERS.lock().unwrap();
    let message = Buffer::new(1 << 46).err().unwrap();
    let words: Vec<&str> = message.split(' ').collect();
    let at = words.iter().position(|&word| word == "available").unwrap();
    let available: usize = words[at - 2].parse().unwrap();
    let first = Buffer::new(available / 3 * 2).unwrap();
    assert!(Buffer::new(available / 3 * 2).is_err());
    drop(first);
    trim_cache();
}

#[test]
fn aliases_share_memory_and_stay_inside() {
    let _held = COUNTERS.lock().unwrap();
    let whole = Span::from_slice(DType::I32, &[1, 2, 3, 4, 5]).unwrap();
    let part = whole.alias(1, 3).unwrap().alias(1, 2).unwrap();
    // SAFETY: no slice of these elements is alive.
    unsafe { part.slice_mut::<i32>() }.unwrap()[0] = 30;
    assert_eq!(whole.slice::<i32>().unwrap(), [1, 2, 30, 4, 5]);
    assert!(whole.overlaps(&part) && !part.overlaps(&whole.alias(0, 2).unwrap()));
    for (offset, len) in [(0, 6), (6, 0), (usize::MAX, 2)] {
        assert!(whole.alias(offset, len).is_err());
    }
    drop(whole);
    assert_eq!(part.slice::<i32>().unwrap(), [30, 4]);
}

#[test]
fn a_span_is_read_as_its_own_type_only() {
    let _held = COUNTERS.lock().unwrap();
    let span = Span::from_slice(DType::BF16, &[0x3f80u16]).unwrap();
    assert_eq!(span.f32s().unwrap_err(), "a tensor of f32 is needed, not of bf16. Cast it first.");
    assert_eq!(span.slice::<u16>().unwrap(), [0x3f80]);
    assert_eq!(span.bytes(), [0x80, 0x3f]);
    let empty = Span::new(DType::F32, 0).unwrap();
    assert!(empty.is_empty() && empty.f32s().unwrap().is_empty());
}

#[test]
fn a_stale_or_foreign_handle_names_nothing() {
    let _held = COUNTERS.lock().unwrap();
    let mut slab = Slab::default();
    let span = Span::from_slice(DType::U8, &[7u8]).unwrap();
    let handle = slab.insert(span.clone()).unwrap();
    assert!(handle != 0 && handle < 1 << 31);
    assert_eq!(slab.get(handle).unwrap().slice::<u8>().unwrap(), [7]);
    assert!(slab.remove(handle).is_some());
    assert!(slab.remove(handle).is_none());
    for _ in 0..100_000 {
        let other = slab.insert(span.clone()).unwrap();
        assert!(slab.get(handle).is_none());
        slab.remove(other);
    }
    assert!(slab.get(0).is_none() && slab.get(u32::MAX).is_none());
    assert_eq!(slab.live(), 0);
    assert_eq!(not_live("add", 5), "add: handle 5 is not live. Use a tensor before its scope closes, or keep() it.");
}

#[test]
fn dtype_codes_are_those_of_javascript() {
    for (code, dtype) in DType::ALL.into_iter().enumerate() {
        assert_eq!(dtype as usize, code);
        assert_eq!(DType::from_code(code as u32), Ok(dtype));
    }
    assert!(DType::from_code(7).is_err());
}

/// Memory of a device that is none.
struct Elsewhere;

impl Remote for Elsewhere {
    fn address(&self) -> u64 {
        1 << 40
    }

    fn byte_len(&self) -> usize {
        40
    }

    fn categorize(&self, _category: Category) {}

    fn place(&self) -> String {
        "elsewhere:3".to_owned()
    }
}

#[test]
fn memory_of_a_device_has_an_address_and_is_read_by_nobody_here() {
    let whole = Span::of_remote(DType::F32, Box::new(Elsewhere));
    let part = whole.alias(2, 5).unwrap();
    assert_eq!((whole.len(), part.len(), part.is_remote(), part.as_ptr() as u64), (10, 5, true, (1 << 40) + 8));
    assert_eq!(part.remote().map(|(memory, offset)| (memory.place(), offset)), Some(("elsewhere:3".to_owned(), 8)));
    assert!(whole.overlaps(&part) && !part.overlaps(&whole.alias(7, 3).unwrap()));
    let sentence = "a tensor lies on elsewhere:3, where this operation does not run. Copy it to the CPU first.";
    assert_eq!(part.f32s().unwrap_err(), sentence);
    assert_eq!(part.expect_host().unwrap_err(), sentence);
    let host = Span::new(DType::F32, 0).unwrap();
    assert!(host.remote().is_none() && host.expect_host().is_ok());
}
