use super::*;
use std::sync::Mutex;

/// Serialises the tests that read the process-wide counters.
static COUNTERS: Mutex<()> = Mutex::new(());

#[test]
fn buffers_are_aligned_and_counted_and_their_blocks_come_back() {
    let _held = COUNTERS.lock().unwrap();
    let before = memory_stats();
    let first = Buffer::new(123_457).unwrap();
    let place = first.as_ptr();
    assert_eq!(place as usize % 64, 0);
    assert_eq!((first.len(), first.is_empty()), (123_457, false));
    assert_eq!(memory_stats().live, before.live + 123_457);
    assert_eq!(memory_stats().allocations, before.allocations + 1);
    drop(first);
    let between = memory_stats();
    assert_eq!(between.live, before.live);
    assert!(between.cached >= 123_457 && between.peak >= before.live + 123_457);
    let second = Buffer::new(123_400).unwrap();
    assert_eq!(second.as_ptr(), place);
    drop(second);
    trim_cache();
    reset_peak();
    let after = memory_stats();
    assert_eq!((after.cached, after.peak), (0, after.live));
}

#[test]
fn an_absurd_allocation_is_refused_with_the_bytes_asked() {
    let _held = COUNTERS.lock().unwrap();
    let before = memory_stats();
    for (dtype, len) in [(DType::U8, 1 << 46), (DType::F64, 1 << 60), (DType::F64, usize::MAX)] {
        let message = Span::new(dtype, len).err().unwrap();
        assert!(is_out_of_memory(&message), "{message}");
        assert!(message.contains(&len.saturating_mul(dtype.size()).to_string()), "{message}");
    }
    assert_eq!(memory_stats().live, before.live);
    assert!(!is_out_of_memory("add: another error."));
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
