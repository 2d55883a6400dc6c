//! The store and the control plane above it: threads as ranks, over loopback.

use megatron_comm::{
    Code, ControlPlane, Descriptor, Error, Failure, GroupName, Kind, Label, Presence, Signature, StoreClient, StoreServer, StoreSettings,
    TcpControl, Wait,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const TOKEN: &str = "a token that nobody may see";
/// For what is to succeed on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

/// Held by tests with hundreds of sockets: a process may have a thousand.
fn many_sockets() -> MutexGuard<'static, ()> {
    static HELD: Mutex<()> = Mutex::new(());
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn settings(size: u32) -> StoreSettings {
    StoreSettings::new("job", size, TOKEN)
}

fn start(settings: &StoreSettings) -> (StoreServer, String) {
    let server = StoreServer::start(None, settings).unwrap();
    let address = server.address().to_string();
    (server, address)
}

fn client(address: &str, rank: u32, settings: &StoreSettings) -> StoreClient {
    StoreClient::connect(address, rank, settings, LIMIT).unwrap_or_else(|error| panic!("{error}"))
}

/// All ranks of a world; rank 0 holds the store.
fn world(size: u32) -> Vec<TcpControl> {
    let settings = settings(size);
    let (server, address) = start(&settings);
    let mut server = Some(server);
    let control = |rank| TcpControl::new(client(&address, rank, &settings), server.take().filter(|_| rank == 0), Arc::new(|| ()));
    let all: Vec<TcpControl> = (0..size).map(control).collect();
    all.iter().for_each(|control| control.join(LIMIT).unwrap());
    all
}

fn failure(code: Code, culprits: &[u32], message: &str) -> Failure {
    Failure { code, culprits: culprits.to_vec(), message: message.into() }
}

fn failed<T>(code: Code, culprits: &[u32], message: &str) -> Result<T, Error> {
    Err(Error::Failed(failure(code, culprits, message)))
}

fn until(is_done: impl Fn() -> bool) {
    while !is_done() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn operation(sequence: u64) -> Descriptor {
    let signature = Signature { kind: Kind::Barrier, dtype: None, op: None, root: None, count: 0, on_device: false };
    Descriptor { group: GroupName::new("tp"), sequence, signature, label: Label::new("layers.1") }
}

/// The protocol as a stranger would write it.
mod raw {
    use super::*;

    pub fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
    }

    pub fn frame(parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        [&(body.len() as u32).to_le_bytes()[..], &body].concat()
    }

    /// A whole hello: version, token, job, size of the world, rank.
    pub fn hello(version: u32, token: &str, job: &str, size: u32, rank: u32) -> Vec<u8> {
        let numbers = [size, rank, 4711].map(u32::to_le_bytes).concat();
        frame(&[&[1], b"MGTNrank", &version.to_le_bytes(), &text(token), &text(job), &numbers, &text("elsewhere")])
    }

    /// Frames of a rank: a heartbeat, set, get, wait, add, compare and set, intern, barrier, table.
    pub fn session() -> Vec<Vec<u8>> {
        let (id, limit) = (&5u64.to_le_bytes()[..], &9u32.to_le_bytes()[..]);
        let (key, one) = (&text("key")[..], &1u32.to_le_bytes()[..]);
        vec![
            frame(&[&[2, 0]]),
            frame(&[&[3], id, &[1], key, &text("value")]),
            frame(&[&[3], id, &[2], key, limit]),
            frame(&[&[3], id, &[3], one, key, limit]),
            frame(&[&[3], id, &[4], &text("number"), id]),
            frame(&[&[3], id, &[5], key, &[0], key]),
            frame(&[&[3], id, &[7], key]),
            frame(&[&[3], id, &[8], key, one, one, limit]),
            frame(&[&[3], id, &[9]]),
        ]
    }

    pub fn open(address: &str, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        // The store may have closed it already.
        let _ = stream.write_all(bytes);
        stream
    }

    /// What comes until the store closes the connection.
    pub fn rest(mut stream: TcpStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    }

    /// Joins as `rank` and reads the welcome.
    pub fn join(address: &str, size: u32, rank: u32) -> TcpStream {
        let mut stream = open(address, &hello(1, TOKEN, "job", size, rank));
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut welcome = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut welcome).unwrap();
        assert_eq!(welcome[..9], *b"\x01MGTNmain");
        stream
    }
}

#[test]
fn every_refusal_tells_why_and_none_tells_the_token() {
    let (_server, address) = start(&settings(4));
    let _first = client(&address, 1, &settings(4));
    let refusal = |hello: Vec<u8>| {
        let answer = raw::rest(raw::open(&address, &hello));
        assert_eq!(answer.get(4), Some(&2), "{answer:?}");
        let sentence = String::from_utf8(answer[9..].to_vec()).unwrap();
        assert!(!sentence.contains(TOKEN), "{sentence}");
        sentence
    };
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let taken = format!("join: rank 1 is taken by process {} on {host}. Start each rank once.", std::process::id());
    for (hello, sentence) in [
        (
            raw::hello(2, TOKEN, "job", 4, 2),
            "join: this rank speaks version 2 of the protocol and rank 0 version 1. Use one version on all ranks.",
        ),
        (raw::hello(1, "guess", "job", 4, 2), "join: rank 2 brought another token than rank 0. Give all ranks of a job one token."),
        (raw::hello(1, "", "other", 5, 9), "join: rank 9 brought another token than rank 0. Give all ranks of a job one token."),
        (
            raw::hello(1, TOKEN, "other", 4, 2),
            "join: rank 2 belongs to job \"other\" and this store to job \"job\". Check the address of the store.",
        ),
        (raw::hello(1, TOKEN, "job", 8, 2), "join: rank 2 expects a world of 8 and rank 0 one of 4. Give all ranks one WORLD_SIZE."),
        (raw::hello(1, TOKEN, "job", 4, 4), "join: rank 4 is outside a world of 4. Check RANK and WORLD_SIZE."),
        (raw::hello(1, TOKEN, "job", 4, 1), &taken),
    ] {
        assert_eq!(refusal(hello), sentence);
    }
    let other = StoreClient::connect(&address, 2, &settings(8), LIMIT);
    let sentence = "join: rank 2 expects a world of 8 and rank 0 one of 4. Give all ranks one WORLD_SIZE.";
    assert_eq!(other.err(), Some(Error::Refused(sentence.into())));
    client(&address, 2, &settings(4)).set("still", b"here").unwrap();
}

#[test]
fn a_store_that_cannot_listen_or_is_of_no_size_says_so() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let error = StoreServer::start(Some(&address), &settings(2)).err().unwrap().to_string();
    assert!(error.starts_with(&format!("store: rank 0 cannot listen at {address}: ")), "{error}");
    let error = StoreServer::start(None, &settings(0)).err().unwrap().to_string();
    assert_eq!(error, "store: a world of 0 ranks is not between 1 and 65536. Check WORLD_SIZE.");
}

#[test]
fn a_rank_that_comes_before_the_store_waits_for_it() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    drop(held);
    let error = StoreClient::connect(&address, 1, &settings(2), SHORT).err().unwrap();
    let Error::Failed(Failure { code: Code::Timeout, culprits, message }) = error else { panic!("{error}") };
    assert_eq!(culprits, [0]);
    let start = format!("join: rank 1 did not reach the store of rank 0 at {address} within 200 ms: ");
    assert!(message.starts_with(&start) && message.ends_with(". Check that rank 0 runs, and the address."), "{message}");
    let waiting = std::thread::spawn({
        let address = address.clone();
        move || client(&address, 1, &settings(2)).set("key", b"value")
    });
    std::thread::sleep(SHORT);
    let _server = StoreServer::start(Some(&address), &settings(2)).unwrap();
    waiting.join().unwrap().unwrap();
}

#[test]
fn whoever_accepts_without_being_a_store_is_no_store() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let error = StoreClient::connect(&address, 1, &settings(2), SHORT).err().unwrap().to_string();
    assert!(error.contains(": it accepted the connection and did not answer."), "{error}");
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = (listener.accept().unwrap(), listener.accept().unwrap()).1;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = raw::rest(stream);
    });
    let error = StoreClient::connect(&address, 1, &settings(2), SHORT).err().unwrap().to_string();
    assert!(error.contains("within 200 ms: "), "{error}");
    serving.join().unwrap();
}

#[test]
fn random_truncated_and_mutated_bytes_harm_nobody() {
    let _alone = many_sockets();
    let size = 300;
    let (_server, address) = start(&settings(size));
    let witness = client(&address, 0, &settings(size));
    witness.set("witness", b"unharmed").unwrap();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let session = raw::session();
    for round in 0..3000 {
        let mut bytes: Vec<u8> = match round % 3 {
            0 => (0..1 + next(300)).map(|_| next(256) as u8).collect(),
            _ => raw::hello(1, TOKEN, "job", size, size + 1),
        };
        for _ in 0..round % 3 {
            let place = next(bytes.len());
            bytes[place] = next(256) as u8;
        }
        bytes.truncate(1 + next(bytes.len()));
        drop(raw::open(&address, &bytes));
    }
    for rank in 1..size {
        let mut stream = raw::join(&address, size, rank);
        for _ in 0..20 {
            let mut bytes = session[next(session.len())].clone();
            let place = next(bytes.len());
            if next(2) == 0 {
                bytes[place] = next(256) as u8;
            }
            if stream.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
        raw::rest(stream);
    }
    assert_eq!(witness.get("witness", LIMIT).unwrap(), b"unharmed");
    assert_eq!(witness.intern("fresh key").unwrap(), witness.intern("fresh key").unwrap());
}

#[test]
fn of_too_many_strangers_the_oldest_are_dropped() {
    let _alone = many_sockets();
    let (_server, address) = start(&settings(2));
    let mut strangers: Vec<TcpStream> = (0..300).map(|_| raw::open(&address, b"half")).collect();
    // The store has seen all of them once it has seen this one.
    client(&address, 0, &settings(2)).set("key", b"value").unwrap();
    let dropped = strangers.iter_mut().map(|stream| {
        stream.set_nonblocking(true).unwrap();
        stream.read(&mut [0]).map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |count| count == 0)
    });
    assert!(dropped.filter(|&is_dropped| is_dropped).count() > 30);
}

#[test]
fn half_open_and_slow_connections_end_while_others_are_served() {
    let (_server, address) = start(&settings(2));
    let silent = raw::open(&address, b"");
    let half = raw::open(&address, &raw::hello(1, TOKEN, "job", 2, 1)[..20]);
    let mut slow = raw::open(&address, b"");
    let dripping = std::thread::spawn(move || {
        let hello = raw::hello(1, TOKEN, "job", 2, 1);
        for byte in hello.iter().cycle() {
            if slow.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let served = client(&address, 0, &settings(2));
    for number in 1..=100 {
        assert_eq!(served.add("sum", 1).unwrap(), number);
    }
    assert!(raw::rest(silent).is_empty() && raw::rest(half).is_empty());
    dripping.join().unwrap();
    // The seat that the slow one wanted was never taken.
    client(&address, 1, &settings(2)).set("key", b"value").unwrap();
}

#[test]
fn messages_beyond_the_limits_end_a_connection() {
    let all = world(1);
    let (_server, address) = start(&settings(3));
    drop(all);
    let control = TcpControl::new(client(&address, 0, &settings(3)), None, Arc::new(|| ()));
    let greeting = raw::open(&address, &[(64 << 10) + 1_u32, 0].map(u32::to_le_bytes).concat());
    assert!(raw::rest(greeting).is_empty());
    let mut seated = raw::join(&address, 3, 1);
    seated.write_all(&((1 << 20) + 1_u32).to_le_bytes()).unwrap();
    raw::rest(seated);
    let mut babbling = raw::join(&address, 3, 2);
    babbling.write_all(&raw::frame(&[b"\xffnonsense"])).unwrap();
    raw::rest(babbling);
    until(|| control.presence(2) == Presence::Lost);
    assert_eq!(control.how_lost(1).unwrap(), "sent a message of 1048577 bytes where 1048576 are allowed");
    assert_eq!(control.how_lost(2).unwrap(), "sent bytes that are no message");
    assert_eq!((control.pid(1), control.host(1).as_deref()), (4711, Some("elsewhere")));
    let error = control.store().set("big", &vec![0; 1 << 20]).unwrap_err().to_string();
    assert!(error.starts_with("set \"big\": the request has ") && error.ends_with("more than 1048576. Store less at once."), "{error}");
}

#[test]
fn a_rank_without_heartbeat_is_lost_and_the_bell_rings() {
    let settings = settings(2).with_heartbeat(Duration::from_millis(100));
    let (_server, address) = start(&settings);
    let rings = Arc::new(AtomicUsize::new(0));
    let bell = Arc::clone(&rings);
    let control = TcpControl::new(
        client(&address, 0, &settings),
        None,
        Arc::new(move || {
            bell.fetch_add(1, Ordering::SeqCst);
        }),
    );
    assert_eq!(control.presence(1), Presence::Absent);
    let silent = raw::join(&address, 2, 1);
    control.join(LIMIT).unwrap();
    until(|| control.presence(1) == Presence::Lost);
    assert_eq!(control.how_lost(1).unwrap(), "has not been heard of for 0.3 s");
    until(|| rings.load(Ordering::SeqCst) >= 2);
    assert_eq!((control.presence(0), control.how_lost(0)), (Presence::Alive, None));
    drop(silent);
}

#[test]
fn a_store_that_falls_silent_is_lost() {
    let settings = settings(1).with_heartbeat(Duration::from_millis(100));
    let (server, address) = start(&settings);
    // A relay that stops relaying: the connection stays open and nothing comes.
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let front = relay.local_addr().unwrap().to_string();
    let relaying = std::thread::spawn(move || {
        let (mut near, mut far) = (relay.accept().unwrap().0, TcpStream::connect(address).unwrap());
        let mut chunk = [0; 4096];
        let count = near.read(&mut chunk).unwrap();
        far.write_all(&chunk[..count]).unwrap();
        let count = far.read(&mut chunk).unwrap();
        near.write_all(&chunk[..count]).unwrap();
        (near, far)
    });
    let control = TcpControl::new(client(&front, 0, &settings), None, Arc::new(|| ()));
    let held = relaying.join().unwrap();
    until(|| control.presence(0) == Presence::Lost);
    assert_eq!(control.how_lost(0).unwrap(), "has not been heard of for 0.3 s");
    drop((held, server));
}

#[test]
fn a_barrier_names_who_is_missing() {
    let size = 8;
    let (_server, address) = start(&settings(size));
    let ranks: Vec<u32> = (0..size).collect();
    let clients: Vec<StoreClient> = ranks.iter().map(|&rank| client(&address, rank, &settings(size))).collect();
    let expected = "store: 7 of 8 ranks arrived at barrier \"start\" within 1000 ms; missing: rank 3. \
                    Find what keeps them away, or raise the limit.";
    let ranks = &ranks;
    std::thread::scope(|scope| {
        let late = clients
            .iter()
            .enumerate()
            .filter(|(rank, _)| *rank != 3)
            .map(|(_, client)| scope.spawn(move || client.barrier("start", ranks, Duration::from_secs(1))));
        let ended: Vec<Result<(), Error>> = late.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect();
        ended.iter().for_each(|outcome| assert_eq!(*outcome, failed(Code::Timeout, &[3], expected)));
    });
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let waiting = clients.iter().map(|client| scope.spawn(move || client.barrier("start", ranks, LIMIT)));
            waiting.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        });
    }
}

#[test]
fn a_barrier_refuses_lists_that_make_no_sense() {
    let (_server, address) = start(&settings(3));
    let clients: Vec<StoreClient> = (0..2).map(|rank| client(&address, rank, &settings(3))).collect();
    let refusal = |ranks: &[u32]| clients[0].barrier("b", ranks, LIMIT).unwrap_err().to_string();
    assert_eq!(refusal(&[0, 9]), "barrier \"b\": rank 9 is outside a world of 3. Pass world ranks.");
    assert_eq!(refusal(&[1, 2]), "barrier \"b\": rank 0 passed ranks [1, 2]. Name this rank and the others, each once.");
    assert_eq!(refusal(&[0, 1, 0]), "barrier \"b\": rank 0 passed ranks [0, 1, 0]. Name this rank and the others, each once.");
    clients[0].barrier("b", &[0], LIMIT).unwrap();
    std::thread::scope(|scope| {
        // Whoever comes second is refused; rank 0 tries again until it is the first.
        let waiting = scope.spawn(|| {
            loop {
                match clients[0].barrier("b", &[0, 1], LIMIT) {
                    Err(Error::Refused(_)) => {}
                    outcome => break outcome,
                }
            }
        });
        let odd = loop {
            let outcome = clients[1].barrier("b", &[1, 2], Duration::ZERO).unwrap_err();
            if matches!(outcome, Error::Refused(_)) {
                break outcome.to_string();
            }
        };
        assert_eq!(
            odd,
            "barrier \"b\": rank 1 arrived for ranks [1, 2] while rank 0 waits for ranks [0, 1]. Use one name for one barrier at a time."
        );
        clients[1].barrier("b", &[0, 1], LIMIT).unwrap();
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn a_barrier_ends_at_once_for_a_rank_that_is_gone() {
    let (_server, address) = start(&settings(3));
    let first = client(&address, 0, &settings(3));
    let second = TcpControl::new(client(&address, 1, &settings(3)), None, Arc::new(|| ()));
    let third = raw::join(&address, 3, 2);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| first.barrier("end", &[0, 2], LIMIT));
        std::thread::sleep(SHORT);
        drop(third);
        let message = "store: rank 2 (pid 4711 on elsewhere) closed its connection without leaving and will not arrive at barrier \"end\". \
                       Look at the log of rank 2.";
        // With unread messages the system resets the connection instead.
        let error = waiting.join().unwrap().unwrap_err().to_string();
        let reset = error.contains("lost its connection (") && error.ends_with("Look at the log of rank 2.");
        assert!(error == message || reset, "{error}");
    });
    second.leave();
    let error = first.barrier("end", &[0, 1], LIMIT).unwrap_err().to_string();
    assert!(error.ends_with(" left the world without arriving at barrier \"end\". Leave after the last barrier."), "{error}");
}

#[test]
fn a_value_is_waited_for_and_a_wait_in_vain_names_the_keys() {
    let (_server, address) = start(&settings(4));
    let clients: Vec<StoreClient> = (0..2).map(|rank| client(&address, rank, &settings(4))).collect();
    drop(raw::join(&address, 4, 3));
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| clients[0].get("a", LIMIT));
        let waiting = scope.spawn(|| clients[0].wait(&["a", "b"], LIMIT));
        clients[1].set("a", b"1").unwrap();
        assert_eq!(reading.join().unwrap().unwrap(), b"1");
        clients[1].add("b", 5).unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(clients[0].get("b", LIMIT).unwrap(), b"5");
    let error = clients[0].wait(&["a", "x", "b", "y"], SHORT).unwrap_err();
    let Error::Failed(Failure { code: Code::Timeout, culprits, message }) = error else { panic!("{error}") };
    assert_eq!(culprits, [2, 3]);
    let start = "wait: 2 of 4 keys were set within 200 ms; missing: \"x\", \"y\". Check who is to set them. \
                 Not there: rank 2 has not joined, rank 3 (pid 4711 on elsewhere) ";
    assert!(message.starts_with(start), "{message}");
    let error = clients[0].get("x", Duration::ZERO).unwrap_err().to_string();
    assert!(error.starts_with("get: nobody set key \"x\" within 0 ms. Check who is to set it. Not there: rank 2 "), "{error}");
    assert!(clients[0].delete("a").unwrap());
    assert!(!clients[0].delete("a").unwrap());
    clients[0].set("word", b"one").unwrap();
    let error = clients[0].add("word", 1).unwrap_err().to_string();
    assert_eq!(error, "store: key \"word\" holds 3 bytes that are no whole number. Add only to keys that were made by adding.");
    clients[0].add("most", i64::MAX).unwrap();
    let error = clients[0].add("most", 1).unwrap_err().to_string();
    assert_eq!(error, format!("store: {} and 1 make no 64-bit number. Add less.", i64::MAX));
}

#[test]
fn sixteen_ranks_add_and_compare_without_losing_a_step() {
    let size = 16;
    let (_server, address) = start(&settings(size));
    let numbers: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let ranks = (0..size).map(|rank| {
            let address = &address;
            scope.spawn(move || {
                let client = client(address, rank, &settings(size));
                for _ in 0..100 {
                    client.add("sum", i64::from(rank)).unwrap();
                }
                for _ in 0..20 {
                    let mut held: Option<Vec<u8>> = None;
                    loop {
                        let before = held.as_deref().map_or(0, |held| u64::from_le_bytes(held.try_into().unwrap()));
                        let found = client.compare_set("steps", held.as_deref(), &(before + 1).to_le_bytes()).unwrap();
                        if found.set {
                            break;
                        }
                        held = found.value;
                    }
                }
                let numbers = (0..10).map(|key| client.intern(&format!("group {}", (key + rank) % 10)).unwrap());
                let mut numbers: Vec<u32> = numbers.collect();
                numbers.rotate_right(rank as usize % 10);
                client.barrier("end", &(0..size).collect::<Vec<_>>(), LIMIT).unwrap();
                assert_eq!(client.get("sum", LIMIT).unwrap(), (100 * 15 * 16 / 2).to_string().as_bytes());
                assert_eq!(client.get("steps", LIMIT).unwrap(), (20 * u64::from(size)).to_le_bytes());
                client.barrier("all have read", &(0..size).collect::<Vec<_>>(), LIMIT).unwrap();
                numbers
            })
        });
        ranks.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(numbers.iter().all(|list| *list == numbers[0]), "{numbers:?}");
    let mut sorted = numbers[0].clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=10).collect::<Vec<u32>>());
}

#[test]
fn of_failures_at_the_same_moment_one_stands_everywhere() {
    for _ in 0..10 {
        let all = world(8);
        let gate = Barrier::new(all.len());
        let records: Vec<Failure> = std::thread::scope(|scope| {
            let gate = &gate;
            let threads = all.iter().enumerate().map(|(rank, control)| {
                scope.spawn(move || {
                    gate.wait();
                    control.fail(failure(Code::Aborted, &[rank as u32], &format!("rank {rank} gave up")))
                })
            });
            threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().filter(|control| control.claim_report()).count(), 1);
        assert!(records.iter().all(|record| *record == records[0]), "{records:?}");
        assert!(all.iter().all(|control| control.failure().as_ref() == Some(&records[0])));
    }
}

#[test]
fn a_failure_reaches_everyone_and_ends_what_waits() {
    let all = world(3);
    let record = failure(Code::Timeout, &[2], "rank 2 is late");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| all[1].store().get("never", LIMIT));
        let meeting = scope.spawn(|| all[2].store().barrier("never", &[1, 2], LIMIT));
        std::thread::sleep(SHORT);
        assert_eq!(all[0].fail(record.clone()), record);
        assert_eq!(waiting.join().unwrap(), Err(Error::Failed(record.clone())));
        assert_eq!(meeting.join().unwrap(), Err(Error::Failed(record.clone())));
    });
    until(|| all.iter().all(|control| control.failure().as_ref() == Some(&record)));
    assert_eq!(all[1].fail(failure(Code::Aborted, &[1], "too late")), record);
    assert_eq!(all[1].store().barrier("later", &[1, 2], LIMIT), Err(Error::Failed(record)));
    let long = world(2);
    let told = long[1].fail(failure(Code::Aborted, &[1], &"ä".repeat(20_000)));
    assert!(told.message.len() < 17_000 && told.message.ends_with("ä…"), "{}", told.message.len());
}

#[test]
fn without_rank_0_the_others_know_who_it_was() {
    let mut all = world(3);
    let waiter = all.pop().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| waiter.store().get("never", LIMIT));
        std::thread::sleep(SHORT);
        drop(all.remove(0));
        let error = waiting.join().unwrap().unwrap_err();
        let Error::Failed(Failure { code: Code::PeerLost, culprits, message }) = error else { panic!("{error}") };
        assert_eq!(culprits, [0]);
        assert!(message.starts_with(&format!("get \"never\": rank 0 (pid {} on ", std::process::id())), "{message}");
    });
    let rest = &all[0];
    until(|| rest.presence(0) == Presence::Lost && waiter.presence(0) == Presence::Lost);
    assert_eq!(rest.pid(0), std::process::id());
    assert!(rest.host(0).is_some() && rest.how_lost(0).is_some());
    assert_eq!(rest.entered(0), None);
    let own = failure(Code::PeerLost, &[0], "rank 0 exited");
    assert_eq!((rest.fail(own.clone()), rest.failure()), (own.clone(), Some(own)));
    rest.leave();
}

#[test]
fn ranks_leave_in_any_order_and_nobody_counts_as_lost() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let all = world(3);
        std::thread::scope(|scope| {
            let mut gone = Vec::new();
            for rank in order {
                let control = &all[rank];
                for other in &gone {
                    until(|| control.presence(*other as u32) == Presence::Left);
                }
                assert_eq!(control.presence(rank as u32), Presence::Alive);
                scope.spawn(|| control.leave());
                gone.push(rank);
            }
        });
        for control in &all {
            assert!((0..3).all(|rank| control.presence(rank) != Presence::Lost), "{order:?}");
            assert_eq!(control.failure(), None);
        }
        let error = all[2].store().set("late", b"").unwrap_err().to_string();
        assert!(error.ends_with(" was closed. Use the store before leaving."), "{error}");
    }
}

#[test]
fn a_join_names_the_missing_rank_to_everyone() {
    let (_server, address) = start(&settings(3));
    let control = |rank| TcpControl::new(client(&address, rank, &settings(3)), None, Arc::new(|| ()));
    let (first, second) = (control(0), control(1));
    let message = "join: 2 of 3 ranks joined job job within 200 ms; missing: rank 2. Check that they were started.";
    assert_eq!(first.join(SHORT), failed(Code::Timeout, &[2], message));
    assert_eq!(second.join(LIMIT), failed(Code::Timeout, &[2], message));
    assert_eq!(control(2).failure(), Some(failure(Code::Timeout, &[2], message)));
}

#[test]
fn a_join_names_the_rank_that_ended_meanwhile() {
    let (_server, address) = start(&settings(3));
    let control = TcpControl::new(client(&address, 0, &settings(3)), None, Arc::new(|| ()));
    drop(raw::join(&address, 3, 1));
    let error = control.join(LIMIT).unwrap_err().to_string();
    assert!(error.starts_with("join: rank 1 (pid 4711 on elsewhere) "), "{error}");
    assert!(error.ends_with(" while the world of job job met. Look at the log of rank 1."), "{error}");
}

#[test]
fn what_a_rank_does_is_told_without_waiting_for_its_heartbeat() {
    let all = world(3);
    assert_eq!(all[0].entered(1), None);
    std::thread::sleep(2 * SHORT);
    all[1].enter(&operation(42));
    all[1].enter(&operation(43));
    assert_eq!(all[1].entered(1), Some(operation(43)));
    assert_eq!(all[0].entered(1), Some(operation(43)));
    let wait = Wait { operation: operation(43), rank: 2 };
    all[1].note_wait(Some(&wait));
    std::thread::sleep(SHORT);
    assert_eq!((all[2].wait_of(1), all[2].wait_of(0), all[1].wait_of(1)), (Some(wait), None, Some(wait)));
    assert_eq!((all[2].entered(1), all[2].entered(0), all[2].entered(9)), (Some(operation(43)), None, None));
}

#[test]
fn two_hundred_and_fifty_six_ranks_meet_work_and_leave() {
    let _alone = many_sockets();
    let size = 256;
    let settings = settings(size);
    let (server, address) = start(&settings);
    let everyone: Vec<u32> = (0..size).collect();
    let server = Mutex::new(Some(server));
    std::thread::scope(|scope| {
        for rank in 0..size {
            let (settings, address, everyone, server) = (&settings, &address, &everyone, &server);
            scope.spawn(move || {
                let client = client(address, rank, settings);
                let own = if rank == 0 { server.lock().unwrap().take() } else { None };
                let control = TcpControl::new(client, own, Arc::new(|| ()));
                control.join(LIMIT).unwrap();
                let store = control.store();
                store.set(&format!("rank {rank}"), &rank.to_le_bytes()).unwrap();
                let next = (rank + 1) % size;
                assert_eq!(store.get(&format!("rank {next}"), LIMIT).unwrap(), next.to_le_bytes());
                store.barrier("all have read", everyone, LIMIT).unwrap();
                control.leave();
                assert_eq!(control.failure(), None);
            });
        }
    });
}
