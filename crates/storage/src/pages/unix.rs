//! Pages by mmap.

use super::{LARGE_PAGE, count};
use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};

/// Maps a large page more than asked and gives back what lies outside the aligned part.
pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
    let wide = bytes.checked_add(LARGE_PAGE)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new private mapping at a place that the system chooses.
    let base = unsafe { libc::mmap(null_mut(), wide, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    count(1);
    if base == libc::MAP_FAILED {
        return None;
    }
    let before = base.cast::<u8>().align_offset(LARGE_PAGE);
    let start = base.cast::<u8>().wrapping_add(before);
    discard(base.cast(), before);
    discard(start.wrapping_add(bytes), LARGE_PAGE - before);
    advise(start.cast(), bytes);
    NonNull::new(start)
}

/// Unmaps a part of a mapping of [`map`] that nobody has seen.
fn discard(start: *mut u8, bytes: usize) {
    if bytes > 0 {
        // SAFETY: whole pages of a mapping made above, outside the part that is handed out.
        unsafe { libc::munmap(start.cast(), bytes) };
        count(1);
    }
}

#[cfg(target_os = "linux")]
fn advise(start: *mut c_void, bytes: usize) {
    // SAFETY: advice on a mapping of our own; a system without large pages refuses it and nothing changes.
    unsafe { libc::madvise(start, bytes, libc::MADV_HUGEPAGE) };
    count(1);
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut c_void, _: usize) {}

/// # Safety
/// As [`super::unmap`].
pub(super) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    count(1);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::read_to_string;

    /// The number after `name` in a file of `name: number kB` lines.
    fn kilobytes(file: &str, name: &str) -> Option<usize> {
        let text = read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_ascii_whitespace().nth(1)?.parse::<usize>().ok()?.checked_mul(1024)
    }

    fn number(file: &str) -> Option<usize> {
        read_to_string(file).ok()?.trim().parse().ok()
    }

    /// What a folder of the control groups leaves: its limit less what is used and cannot be dropped.
    fn left_of(folder: &str, limit: &str, used: &str) -> Option<usize> {
        let limit = number(&format!("{folder}/{limit}"))?;
        let used = number(&format!("{folder}/{used}"))?;
        let stat = read_to_string(format!("{folder}/memory.stat")).unwrap_or_default();
        let file = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<usize>().ok()).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(file)))
    }

    /// The least that this process's group or one around it leaves, in both versions of control groups.
    fn left_by_groups() -> Option<usize> {
        let text = read_to_string("/proc/self/cgroup").ok()?;
        let mut least: Option<usize> = None;
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let (root, limit, used) = match controllers {
                "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
                "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
                _ => continue,
            };
            let mut path = path.trim_end_matches('/');
            loop {
                let left = left_of(&format!("{root}{path}"), limit, used);
                least = least.into_iter().chain(left).min();
                let Some((above, _)) = path.rsplit_once('/') else { break };
                path = above;
            }
        }
        least
    }

    pub fn available(reserved: usize) -> Option<usize> {
        let machine = kilobytes("/proc/meminfo", "MemAvailable:")?;
        let filled = kilobytes("/proc/self/status", "RssAnon:").unwrap_or(reserved);
        let least = left_by_groups().map_or(machine, |groups| groups.min(machine));
        Some(least.saturating_sub(reserved.saturating_sub(filled)))
    }

    pub fn minor_faults_of_this_thread() -> u64 {
        // SAFETY: all zeros is a value of this plain struct.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the place outlives the call.
        let status = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
        if status == 0 { usage.ru_minflt as u64 } else { 0 }
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::{available, minor_faults_of_this_thread};

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    /// The machine's memory less what is mapped here: what others use is not told.
    pub fn available(reserved: usize) -> Option<usize> {
        // SAFETY: plain questions.
        let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
        let whole = usize::try_from(pages).ok()?.checked_mul(usize::try_from(size).ok()?)?;
        Some(whole.saturating_sub(reserved))
    }

    pub fn minor_faults_of_this_thread() -> u64 {
        0
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::{available, minor_faults_of_this_thread};
