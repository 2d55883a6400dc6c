//! What tests call: settings, held streams, and the log.

use crate::queue;
use crate::settings::Settings;
use crate::state::{State, state};
use std::ffi::{CStr, c_char};

/// Takes words; the number of those that mean nothing.
///
/// # Safety
/// `words` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fake_cuda_control(words: *const c_char) -> usize {
    // SAFETY: the caller's promise.
    let words = unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned();
    let mut state = state();
    let refused = words.split_whitespace().filter(|word| obey(&mut state, word).is_none()).count();
    queue::advance(&mut state);
    refused
}

fn obey(state: &mut State, word: &str) -> Option<()> {
    match word.split_once('=') {
        None if word == "reset" => *state = State::new(Settings::default()),
        None if word == "forget" => state.log.clear(),
        Some(("hold", stream)) => _ = state.held.insert(stream.parse().ok()?),
        Some(("release", stream)) => _ = state.held.remove(&stream.parse().ok()?),
        _ => state.settings.set(word)?,
    }
    Some(())
}

/// The length of the log; as much of it as fits is copied to `buffer`, without a zero at its end.
///
/// # Safety
/// `buffer` has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fake_cuda_log(buffer: *mut u8, capacity: usize) -> usize {
    let text = state().log.join("\n");
    // SAFETY: the caller's promise.
    unsafe { buffer.copy_from_nonoverlapping(text.as_ptr(), text.len().min(capacity)) };
    text.len()
}
