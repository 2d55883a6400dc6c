//! Waiting as the system does it best, or by polling where `MEGATRON_SHM_WAIT=poll` asks for it.

use super::super::{polling, system::address};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

const VARIABLE: &str = "MEGATRON_SHM_WAIT";

/// Why ranks cannot meet here.
pub fn supported() -> Result<(), String> {
    match std::env::var_os(VARIABLE) {
        Some(value) if value != "poll" && !value.is_empty() => {
            Err(format!("{VARIABLE} is {value:?}, which names no way of waiting. Set it to poll, or not at all."))
        }
        _ => Ok(()),
    }
}

fn polls() -> bool {
    static POLLS: OnceLock<bool> = OnceLock::new();
    *POLLS.get_or_init(|| std::env::var_os(VARIABLE).is_some_and(|value| value == "poll"))
}

/// Sleeps while `word` holds `expected`, at most for `limit`. May return early.
pub fn wait(word: &AtomicU32, expected: u32, limit: Duration) {
    if polls() { polling::wait(word, expected, limit) } else { address::wait(word, expected, limit) }
}

/// Wakes every process and thread that sleeps on `word`.
pub fn wake(word: &AtomicU32) {
    if polls() { polling::wake(word) } else { address::wake(word) }
}
