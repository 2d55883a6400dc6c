//! The seam by itself, between processes: a test starts its own executable again in the role of another rank.

use super::*;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Which role a process plays, as `role argument`.
const ROLE: &str = "MEGATRON_SEAM_ROLE";
/// More than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(50);

/// Another process, killed when this is dropped.
struct Other {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Other {
    /// Runs `test` in `role`.
    fn start(test: &str, role: &str, argument: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([&format!("shm::platform::tests::{test}"), "--exact", "--nocapture"]).env(ROLE, format!("{role} {argument}"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// What it says next.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the other process ended without a word");
            if let Some(said) = line.trim().strip_prefix("SAID ") {
                return said.to_owned();
            }
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(text: &str) {
    // The harness has begun this line.
    println!("\nSAID {text}");
}

/// The argument, if this process plays `role`.
fn playing(role: &str) -> Option<String> {
    let value = std::env::var(ROLE).ok()?;
    value.strip_prefix(&format!("{role} ")).map(str::to_owned)
}

/// Waits for the end of a role that only a kill ends, or its parent's end.
fn stay() {
    let _ = std::io::stdin().read(&mut [0]);
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn job(test: &str) -> String {
    format!("seam-{}-{test}", std::process::id())
}

/// Published memory with one reserved page.
fn publish(job: &str) -> (Memory, Name) {
    let (memory, mut name) = Memory::create(job).unwrap();
    memory.reserve(0, PAGE).unwrap();
    name.publish(job).unwrap();
    (memory, name)
}

/// The `index`th word of a mapping.
fn word(mapping: &Mapping, index: usize) -> &AtomicU32 {
    assert!(index < PAGE / size_of::<AtomicU32>());
    // SAFETY: a page holds that many words, and every process takes them for atomics.
    unsafe { &*mapping.base().cast::<AtomicU32>().add(index) }
}

#[test]
fn memory_is_found_once_published_and_lost_with_its_name() {
    let job = job("name");
    let (memory, mut name) = Memory::create(&job).unwrap();
    assert_eq!(Memory::open(&job).err().unwrap().kind(), std::io::ErrorKind::NotFound);
    memory.reserve(0, PAGE).unwrap();
    word(&memory.map(0, PAGE).unwrap(), 0).store(u32::from_ne_bytes(*b"sign"), Ordering::Release);
    name.publish(&job).unwrap();
    let other = Memory::open(&job).unwrap();
    let mut start = [0; 4];
    other.read_start(&mut start).unwrap();
    assert_eq!(&start, b"sign");
    name.withdraw();
    assert_eq!(Memory::open(&job).err().unwrap().kind(), std::io::ErrorKind::NotFound);
    // What is open stays open.
    word(&memory.map(0, PAGE).unwrap(), 1).store(7, Ordering::Release);
    assert_eq!(word(&other.map(0, PAGE).unwrap(), 1).load(Ordering::Acquire), 7);
}

#[test]
#[cfg(unix)]
fn a_name_that_other_memory_has_taken_over_is_left_alone() {
    let job = job("taken");
    let (first, old) = publish(&job);
    let late = first.name(&job).unwrap();
    let (_second, new) = publish(&job);
    drop((old, late));
    assert!(Memory::open(&job).is_ok());
    new.withdraw();
    assert!(Memory::open(&job).is_err());
}

#[test]
fn parts_can_be_reserved_in_any_order_and_begin_as_zeros() {
    let (memory, _name) = publish(&job("parts"));
    let parts = [(5, 2), (1, 4), (7, 1)];
    let mappings = parts.map(|(page, pages)| {
        memory.reserve(page as u64 * PAGE as u64, pages * PAGE).unwrap();
        memory.map(page as u64 * PAGE as u64, pages * PAGE).unwrap()
    });
    for (mapping, (page, pages)) in mappings.iter().zip(parts) {
        // SAFETY: as long as the mapping, which nobody else uses.
        let bytes = unsafe { std::slice::from_raw_parts_mut(mapping.base(), pages * PAGE) };
        assert!(bytes.iter().all(|&byte| byte == 0), "part at page {page}");
        bytes.fill(page as u8);
    }
    let last = memory.map(6 * PAGE as u64, PAGE).unwrap();
    assert_eq!(word(&last, 0).load(Ordering::Relaxed), 0x0505_0505);
}

#[test]
#[cfg(unix)]
fn a_discarded_part_gives_its_memory_back() {
    let (memory, _name) = publish(&job("discard"));
    let length = 64 << 20;
    memory.reserve(PAGE as u64, length).unwrap();
    let blocks = || std::os::unix::fs::MetadataExt::blocks(&memory.file.metadata().unwrap()) * 512;
    assert!(blocks() >= length as u64);
    memory.discard(PAGE as u64, length);
    assert!(blocks() < length as u64 / 2);
}

#[test]
fn more_than_there_is_cannot_be_reserved() {
    let (memory, _name) = publish(&job("room"));
    let (free, total) = room();
    assert!(0 < free && free <= total, "{free} of {total}");
    assert!(memory.reserve(PAGE as u64, 1 << 46).is_err());
    assert!(!place().is_empty() && !ENLARGE.is_empty());
    // What could not be reserved has taken nothing away.
    memory.reserve(PAGE as u64, PAGE).unwrap();
}

#[test]
fn a_byte_is_held_until_its_holder_is_killed() {
    const TEST: &str = "a_byte_is_held_until_its_holder_is_killed";
    if let Some(job) = playing("holder") {
        let memory = Memory::open(&job).unwrap();
        assert!(memory.hold(3).unwrap());
        say("holding");
        return stay();
    }
    let job = job("hold");
    let (memory, _name) = publish(&job);
    assert!(!memory.is_held(3));
    let mut holder = Other::start(TEST, "holder", &job);
    assert_eq!(holder.hear(), "holding");
    assert!(memory.is_held(3) && !memory.is_held(2));
    assert!(!memory.hold(3).unwrap() && memory.hold(2).unwrap());
    holder.kill();
    eventually("the byte is still held", || !memory.is_held(3));
    assert!(memory.hold(3).unwrap());
}

#[test]
fn openings_of_one_process_hold_bytes_against_each_other() {
    let job = job("threads");
    let (memory, _name) = publish(&job);
    let other = Memory::open(&job).unwrap();
    assert!(memory.hold(0).unwrap() && other.is_held(0));
    assert!(!other.hold(0).unwrap());
    drop(memory);
    assert!(!other.is_held(0));
}

#[test]
fn a_watch_sees_the_process_end() {
    const TEST: &str = "a_watch_sees_the_process_end";
    if playing("watched").is_some() {
        say(&process_namespace().to_string());
        return stay();
    }
    let mut watched = Other::start(TEST, "watched", "");
    assert_eq!(watched.hear(), process_namespace().to_string());
    let pid = watched.child.id();
    let watch = super::watch(pid).unwrap();
    assert!(watch.is_alive() && watch.is_alive());
    watched.kill();
    eventually("the watch sees nothing", || !watch.is_alive());
    assert!(!watch.is_alive());
}

#[cfg(target_os = "linux")]
#[test]
fn a_thread_knows_the_core_that_it_is_bound_to() {
    // SAFETY: sets of cores are plain numbers; the calls write only into them and bind this thread alone.
    let bound = |number: usize| unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(number, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) == 0
    };
    let seen: Vec<(usize, Option<u32>)> = (0..64).filter(|&number| bound(number)).map(|number| (number, core())).collect();
    assert!(!seen.is_empty() && seen.iter().all(|&(number, core)| core == Some(number as u32)), "{seen:?}");
}

/// The two ways of waiting: the system's, and polling.
type Wait = fn(&AtomicU32, u32, Duration);

#[test]
fn a_wait_ends_at_its_limit_and_does_not_begin_where_the_word_has_changed() {
    let word = AtomicU32::new(5);
    for wait in [super::wait as Wait, polling::wait] {
        let start = Instant::now();
        // A system may end a wait early, not each time.
        while start.elapsed() < SHORT {
            wait(&word, 5, SHORT);
        }
        assert!(start.elapsed() < LONG);
        wait(&word, 4, LONG);
        wait(&word, 5, Duration::ZERO);
        assert!(start.elapsed() < LONG);
    }
}

#[test]
fn another_process_ends_a_wait() {
    const TEST: &str = "another_process_ends_a_wait";
    const ROUNDS: u32 = 100;
    if let Some(job) = playing("echo") {
        let mapping = Memory::open(&job).unwrap().map(0, PAGE).unwrap();
        return answer(&mapping, ROUNDS, super::wait);
    }
    let job = job("wake");
    let (memory, _name) = publish(&job);
    let mapping = memory.map(0, PAGE).unwrap();
    let _other = Other::start(TEST, "echo", &job);
    let start = Instant::now();
    for round in 1..=ROUNDS {
        word(&mapping, 0).store(round, Ordering::Release);
        wake(word(&mapping, 0));
        await_value(word(&mapping, 1), round, super::wait);
    }
    assert!(start.elapsed() < LONG, "no wake-up came through");
}

#[test]
fn threads_that_poll_find_each_other() {
    const ROUNDS: u32 = 100;
    let (memory, _name) = publish(&job("poll"));
    let mapping = memory.map(0, PAGE).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| answer(&mapping, ROUNDS, polling::wait));
        for round in 1..=ROUNDS {
            word(&mapping, 0).store(round, Ordering::Release);
            polling::wake(word(&mapping, 0));
            await_value(word(&mapping, 1), round, polling::wait);
        }
    });
}

/// Copies each value of word 0 to word 1.
fn answer(mapping: &Mapping, rounds: u32, wait: Wait) {
    for round in 1..=rounds {
        await_value(word(mapping, 0), round, wait);
        word(mapping, 1).store(round, Ordering::Release);
        wake(word(mapping, 1));
    }
}

/// Sleeps for as long as it takes: without wake-ups, longer than the test allows.
fn await_value(word: &AtomicU32, value: u32, wait: Wait) {
    while word.load(Ordering::Acquire) != value {
        wait(word, value - 1, LONG);
    }
}

#[test]
fn a_process_dies_with_its_parent() {
    const TEST: &str = "a_process_dies_with_its_parent";
    if let Some(parent) = playing("child") {
        die_with_parent(parent.parse().ok()).unwrap();
        say(&std::process::id().to_string());
        // Only its parent's end ends it.
        loop {
            std::thread::park();
        }
    }
    if let Some(known) = playing("parent") {
        let parent = if known == "known" { std::process::id().to_string() } else { String::new() };
        let mut child = Other::start(TEST, "child", &parent);
        say(&child.hear());
        return stay();
    }
    for known in ["known", "unknown"] {
        let mut parent = Other::start(TEST, "parent", known);
        let child: u32 = parent.hear().parse().unwrap();
        let watch = super::watch(child).unwrap();
        assert!(watch.is_alive());
        parent.kill();
        eventually("the child lives on", || !watch.is_alive());
    }
}

#[test]
fn a_parent_that_has_ended_is_named() {
    const TEST: &str = "a_parent_that_has_ended_is_named";
    if playing("watched").is_some() {
        say("here");
        return stay();
    }
    if let Some(parent) = playing("child") {
        return say(&die_with_parent(parent.parse().ok()).unwrap_err());
    }
    let mut other = Other::start(TEST, "watched", "");
    other.hear();
    let pid = other.child.id();
    let sentence = format!("dieWithParent: the parent, process {pid}, has ended already. Start this rank from a launcher that stays.");
    // Alive, but not the parent, is as good as ended: that one's id was taken over.
    assert_eq!(Other::start(TEST, "child", &pid.to_string()).hear(), sentence);
    other.kill();
    assert_eq!(Other::start(TEST, "child", &pid.to_string()).hear(), sentence);
}
