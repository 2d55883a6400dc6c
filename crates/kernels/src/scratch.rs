//! Working memory of a call: kept by the thread and used again, so that a step asks the system for none.

use std::cell::Cell;
use std::panic::resume_unwind;
use storage::{Buffer, Category};

/// Pieces that a thread keeps: a product inside attention inside a batch has four at once.
const KEPT: usize = 6;

thread_local! {
    static FREE: Cell<[Option<Buffer>; KEPT]> = const { Cell::new([const { None }; KEPT]) };
}

/// A piece of 64-byte aligned memory with arbitrary contents; it goes back to the thread when dropped.
pub(crate) struct Scratch {
    memory: Option<Buffer>,
    bytes: usize,
}

/// The bytes of a kept piece; 0 for none.
fn size(piece: &Option<Buffer>) -> usize {
    piece.as_ref().map_or(0, Buffer::len)
}

impl Scratch {
    /// A piece of `len` f32 values: the smallest kept one that is long enough, else a kept one made longer. Where there is no memory
    /// the call ends as by a panic, whose text is the sentence of the refusal: the caller of the operation gets it as an error.
    pub fn take(len: usize) -> Scratch {
        Scratch::of(len.saturating_mul(size_of::<f32>()))
    }

    /// The same for `len` f64 values.
    pub fn take_f64(len: usize) -> Scratch {
        Scratch::of(len.saturating_mul(size_of::<f64>()))
    }

    fn of(bytes: usize) -> Scratch {
        let mut free = FREE.take();
        let fitting = free.iter_mut().filter(|piece| size(piece) >= bytes).min_by_key(|piece| size(piece));
        let mut memory = fitting.and_then(Option::take);
        if memory.is_none() {
            let longest = free.iter_mut().max_by_key(|piece| size(piece));
            drop(longest.and_then(Option::take));
            memory = match Buffer::of(Category::Workspace, bytes) {
                Ok(buffer) => Some(buffer),
                Err(sentence) => resume_unwind(Box::new(sentence)),
            };
        }
        FREE.set(free);
        Scratch { memory, bytes }
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: the buffer is aligned, has `bytes` bytes at least, and belongs to this piece alone.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.bytes / size_of::<f32>()) }
    }

    pub fn as_mut_f64s(&mut self) -> &mut [f64] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), self.bytes / size_of::<f64>()) }
    }

    pub fn as_mut_ptr(&mut self) -> *mut f32 {
        self.memory.as_ref().map_or(std::ptr::NonNull::dangling().as_ptr(), |buffer| buffer.as_ptr().cast())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let memory = self.memory.take();
        let _ = FREE.try_with(|cell| {
            let mut free = cell.take();
            if let Some(shortest) = free.iter_mut().min_by_key(|piece| size(piece)).filter(|piece| size(piece) < size(&memory)) {
                *shortest = memory;
            }
            cell.set(free);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_aligned_and_come_back_to_the_thread() {
        let mut first = Scratch::take(1000);
        let place = first.as_mut_ptr();
        assert_eq!((place as usize % 64, first.as_mut_slice().len()), (0, 1000));
        let mut second = Scratch::take_f64(7);
        assert_eq!(second.as_mut_f64s().len(), 7);
        assert_ne!(second.as_mut_ptr(), place);
        drop(first);
        assert_eq!(Scratch::take(900).as_mut_ptr(), place);
        assert!(Scratch::take(0).as_mut_slice().is_empty());
    }

    #[test]
    fn a_piece_that_no_machine_has_ends_the_call_with_the_sentence() {
        let payload = std::panic::catch_unwind(|| Scratch::take(1 << 45).as_mut_ptr().is_null()).err();
        let sentence = payload.and_then(|payload| payload.downcast::<String>().ok()).unwrap();
        assert!(storage::is_out_of_memory(&sentence), "{sentence}");
    }
}
