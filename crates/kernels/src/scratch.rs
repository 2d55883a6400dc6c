//! Working memory of a call: kept by the thread and used again, so that a step asks the system for none.

use std::cell::Cell;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    _values: [f32; LINE],
}

const LINE: usize = 16;

/// Pieces that a thread keeps: a product inside attention inside a batch has four at once.
const KEPT: usize = 6;

thread_local! {
    static FREE: Cell<[Vec<Line>; KEPT]> = const { Cell::new([const { Vec::new() }; KEPT]) };
}

/// A piece of 64-byte aligned memory with arbitrary contents; it goes back to the thread when dropped.
pub(crate) struct Scratch {
    lines: Vec<Line>,
    len: usize,
}

impl Scratch {
    /// A piece of `len` values: the smallest kept one that is long enough, else a kept one made longer.
    pub fn take(len: usize) -> Scratch {
        let wanted = len.div_ceil(LINE);
        let mut free = FREE.take();
        let fitting = free.iter_mut().filter(|piece| piece.len() >= wanted).min_by_key(|piece| piece.len());
        let mut lines = fitting.map(std::mem::take).unwrap_or_default();
        if lines.len() < wanted {
            if let Some(longest) = free.iter_mut().max_by_key(|piece| piece.len()) {
                drop(std::mem::take(longest));
            }
            lines = vec![Line { _values: [0.0; LINE] }; wanted];
        }
        FREE.set(free);
        Scratch { lines, len }
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: lines are dense arrays of f32, at least `len` of them in all.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }

    pub fn as_mut_ptr(&mut self) -> *mut f32 {
        self.lines.as_mut_ptr().cast()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        let _ = FREE.try_with(|cell| {
            let mut free = cell.take();
            if let Some(shortest) = free.iter_mut().min_by_key(|piece| piece.len()).filter(|piece| piece.len() < lines.len()) {
                *shortest = lines;
            }
            cell.set(free);
        });
    }
}
