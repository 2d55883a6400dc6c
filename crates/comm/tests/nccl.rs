//! The contract of all backends on NCCL, over a fake that keeps a queue for each stream; what is asked of it, and what comes of its failures.
#![cfg(target_os = "linux")]

extern crate cuda as megatron_cuda;

#[path = "../../cuda/tests/fake/mod.rs"]
mod fake;
mod support;

use cuda::{Block, Config, Device, Environment, Part, Stream, Toolkit};
use fake::{DRIVER, Folder, NCCL, NEEDED, Ranks, control};
use megatron_comm::{Blocks, Carrier, Code, Failure, Group, Kind, Label, NcclBackend, ReduceOp, Request, Settings, SimBackend, Use, World};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::{DType, Span};
use support::contract::{HASHES, Pending, keep_by, on_host};
use support::{complete, complete_labelled, floats, number};

const LONG: Duration = Duration::from_secs(120);

fn ranks(size: usize, words: &str, driver: &str) -> Ranks {
    let ranks = Ranks::new(size, words);
    control(&ranks.folder.0.join(DRIVER), &format!("memory=1073741824 {driver}"));
    ranks
}

/// Runs `body` as every rank of a world on NCCL over threads; None for one that panics.
fn play<T: Send>(job: &str, ranks: &Ranks, timeout: Duration, body: impl Fn(&World, &NcclBackend, u32) -> T + Sync) -> Vec<Option<T>> {
    let size = ranks.devices.len() as u32;
    let settings = Settings { timeout, join_timeout: timeout, ..Settings::new(size as usize) };
    let rank = |rank: u32, device: &Device| {
        let base = SimBackend::join(job, rank, size, &settings).unwrap_or_else(|error| panic!("{error}"));
        let config = Config { limit: timeout, ..Config::default() };
        let backend = NcclBackend::over(base, device, config).unwrap_or_else(|error| panic!("{}", error.message));
        let world = World::over(job, Arc::clone(&backend) as _, rank, size, settings.clone());
        let result = body(&world, &backend, rank);
        world.leave();
        result
    };
    let rank = &rank;
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..).zip(&ranks.devices).map(|(index, device)| scope.spawn(move || rank(index, device))).collect();
        started.into_iter().map(|thread| thread.join().ok()).collect()
    })
}

fn all_reduce(group: &Group, count: usize) -> Result<(), Failure> {
    complete_labelled(group, Request::AllReduce { data: floats(&vec![1.0; count]), op: ReduceOp::Sum }, "layers.1.mlp.down")
}

/// The one failure that all ranks of these were told.
fn failure_of<T>(ends: &[Option<Result<T, Failure>>], told: &[usize]) -> Failure {
    let of = |rank: usize| match &ends[rank] {
        Some(Err(failure)) => failure.clone(),
        _ => panic!("rank {rank} did not fail"),
    };
    let first = of(told[0]);
    told.iter().for_each(|&rank| assert_eq!(of(rank), first));
    first
}

fn count(ranks: &Ranks, word: &str) -> usize {
    ranks.log().iter().filter(|line| line.contains(word)).count()
}

/// Puts the memory of a request onto the device, what lies within other memory within that, and submits it there.
fn on_device(device: &Device, group: &Group, request: Request) -> Pending {
    // Averages of bytes and barriers are the host's.
    if matches!(request, Request::Barrier) || is_average_of_bytes(&request) {
        return on_host(group, request);
    }
    let mut spans = Vec::new();
    let range = |span: &Span| (span.as_ptr() as usize, span.as_ptr() as usize + span.byte_len());
    let keep = |span: &Span, _: Use| {
        spans.push(span.clone());
        Ok::<_, ()>(())
    };
    request.on(group.rank(), keep).unwrap();
    let holds = |whole: &Span, part: &Span| range(whole).0 <= range(part).0 && range(part).1 <= range(whole).1;
    let is_whole = |span: &&Span| !spans.iter().any(|other| holds(other, span) && other.byte_len() > span.byte_len());
    let wholes = spans.iter().filter(is_whole).map(|span| {
        let block = Arc::new(Block::new(device, Stream::Compute, span.byte_len()).unwrap());
        block.write(Stream::Compute, 0, span.bytes()).unwrap();
        (span.clone(), Part::whole(&block, span.dtype()))
    });
    let wholes: Vec<(Span, Part)> = wholes.collect();
    let mut results = Vec::new();
    let moved = request.on(group.rank(), |span, what| {
        let (whole, part) = wholes.iter().find(|(whole, _)| holds(whole, span)).unwrap();
        let part = part.alias((range(span).0 - range(whole).0) / span.dtype().size(), span.len()).unwrap();
        if what.is_written {
            results.push((part.clone(), span.clone()));
        }
        Ok::<_, ()>(part)
    });
    let work = group.submit_on_device(moved.unwrap(), Label::EMPTY).unwrap_or_else(|error| panic!("{error}"));
    Box::new(move || {
        // Without a wait of this thread for the device, until the bytes are read.
        work.lead(Stream::Compute, None).unwrap_or_else(|failure| panic!("{failure}"));
        for (part, span) in results {
            let offset = (part.address() - part.block().address()) as usize;
            // SAFETY: nobody else uses it.
            part.block().read(Stream::Compute, offset, unsafe { span.bytes_mut() }).unwrap();
        }
    })
}

fn is_average_of_bytes(request: &Request) -> bool {
    match request {
        Request::AllReduce { data, op } | Request::Reduce { data, op, .. } => data.dtype() == DType::U8 && *op == ReduceOp::Avg,
        Request::ReduceScatter { source, op, .. } => source.dtype() == DType::U8 && *op == ReduceOp::Avg,
        _ => false,
    }
}

/// Whose memory requests name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Host,
    Device,
}

fn check_contract(job: &str, (size, of): (usize, Of), words: &str, driver: &str) {
    let ranks = ranks(size, words, driver);
    let hashes = play(job, &ranks, LONG, |world, _, rank| {
        let carry = |group: &Group, request: Request| on_device(&ranks.devices[rank as usize], group, request);
        keep_by((world, if of == Of::Host { &on_host } else { &carry }), rank, size as u32, 7)
    });
    let expected = HASHES.into_iter().find(|(known, _)| *known == size as u32).map(|(_, hash)| hash);
    assert!(hashes.iter().all(|&hash| hash == expected), "{hashes:x?}");
    for device in &ranks.devices {
        let stats = device.memory_stats().unwrap();
        assert_eq!((stats.live_blocks, stats.pending_blocks, stats.leaked_bytes), (0, 0, 0));
    }
    // Each communicator that was made has been ended in order.
    assert_eq!((count(&ranks, ": init "), count(&ranks, ": abort")), (count(&ranks, ": destroy"), 0));
}

#[test]
fn two_ranks_keep_the_contract() {
    check_contract("nccl-2", (2, Of::Host), "", "");
}

#[test]
fn three_ranks_keep_the_contract_where_nccl_takes_operations_late() {
    check_contract("nccl-3", (3, Of::Host), "defer=3", "");
}

#[test]
fn four_ranks_keep_the_contract_where_streams_go_on_only_for_who_asks() {
    check_contract("nccl-4", (4, Of::Host), "", "lazy=1");
}

#[test]
fn two_ranks_keep_the_contract_on_memory_of_their_devices() {
    check_contract("nccl-device-2", (2, Of::Device), "defer=2", "");
}

#[test]
fn three_ranks_keep_the_contract_on_memory_of_their_devices() {
    check_contract("nccl-device-3", (3, Of::Device), "", "");
}

#[test]
fn four_ranks_keep_the_contract_on_memory_of_their_devices_where_streams_go_on_only_for_who_asks() {
    check_contract("nccl-device-4", (4, Of::Device), "", "lazy=1");
}

/// The thread that goes on after `lead` has not waited for the device: what reads the result does, in its stream.
#[test]
fn a_stream_is_led_behind_a_collective_that_is_not_done() {
    let ranks = ranks(2, "hang=1", "");
    let ends = play("nccl-leads", &ranks, LONG, |world, _, rank| {
        let device = &ranks.devices[rank as usize];
        let group = world.open("dp", &[0, 1]).unwrap();
        let data = Part::whole(&Arc::new(Block::new(device, Stream::Compute, 4).unwrap()), DType::F32);
        let request = Request::AllReduce { data, op: ReduceOp::Sum };
        let work = group.submit_on_device(request, Label::EMPTY).unwrap_or_else(|error| panic!("{error}"));
        work.lead(Stream::Compute, None)?;
        let after = device.record(Stream::Compute).unwrap();
        let was_done = (work.is_done(), after.is_done().unwrap());
        if rank == 0 {
            ranks.tell("async=0:6");
        }
        let failure = work.wait(None).unwrap_err();
        assert!(after.synchronize().is_ok(), "an abort frees the stream");
        assert_eq!(was_done, (false, false));
        Err::<(), _>(failure)
    });
    assert_eq!(failure_of(&ends, &[0, 1]).culprits, [0]);
}

/// What is handed to a device is done there in order: the thread asks for the next one while none is done.
#[test]
fn collectives_follow_each_other_to_the_device_while_none_is_done() {
    let ranks = ranks(2, "hang=1", "");
    let ends = play("nccl-follow", &ranks, LONG, |world, _, rank| {
        let device = &ranks.devices[rank as usize];
        let group = world.open("dp", &[0, 1]).unwrap();
        let data = Part::whole(&Arc::new(Block::new(device, Stream::Compute, 4).unwrap()), DType::F32);
        let mut works = Vec::new();
        for _ in 0..3 {
            let request = Request::AllReduce { data: data.clone(), op: ReduceOp::Sum };
            works.push(group.submit_on_device(request, Label::EMPTY).unwrap_or_else(|error| panic!("{error}")));
            works.last().unwrap().lead(Stream::Compute, None)?;
        }
        assert!(works.iter().all(|work| !work.is_done()));
        complete_labelled(&group, Request::Barrier, "")?;
        assert_eq!(count(&ranks, "AllReduce"), 6);
        if rank == 0 {
            ranks.tell("async=0:6");
        }
        Err::<(), _>(works.pop().unwrap().wait(None).unwrap_err())
    });
    assert_eq!(failure_of(&ends, &[0, 1]).culprits, [0]);
}

#[test]
fn a_group_that_is_closed_lets_what_a_stream_waits_for_end() {
    let ranks = ranks(2, "", "lazy=1");
    let ends = play("nccl-close", &ranks, LONG, |world, _, rank| {
        let device = &ranks.devices[rank as usize];
        let group = world.open("dp", &[0, 1]).unwrap();
        let block = Arc::new(Block::new(device, Stream::Compute, 4).unwrap());
        block.write(Stream::Compute, 0, &1.5f32.to_le_bytes()).unwrap();
        let request = Request::AllReduce { data: Part::whole(&block, DType::F32), op: ReduceOp::Sum };
        group.submit_on_device(request, Label::EMPTY).unwrap_or_else(|error| panic!("{error}")).lead(Stream::Compute, None).unwrap();
        group.close();
        let mut bytes = [0; 4];
        block.read(Stream::Compute, 0, &mut bytes).unwrap();
        assert_eq!(f32::from_le_bytes(bytes), 3.0);
    });
    assert!(ends.iter().all(Option::is_some));
    assert_eq!(count(&ranks, ": abort"), 0);
}

/// A world that is joined with a device: what is short stays on the host, and where one kind of memory meets the other all are told.
#[test]
fn short_memory_of_the_host_does_not_go_by_way_of_the_device() {
    let ranks = ranks(2, "", "");
    let join = |rank: u32| {
        let device = &ranks.devices[rank as usize];
        let settings = Settings { carrier: Carrier::Sim, join_timeout: LONG, timeout: LONG, ..Settings::new(2) };
        let world = World::join_with_device("nccl-short", rank, 2, (settings, device)).unwrap_or_else(|error| panic!("{error}"));
        let group = world.open("dp", &[0, 1]).unwrap();
        all_reduce(&group, 16 << 10).unwrap();
        complete_labelled(&group, Request::Barrier, "").unwrap();
        let short = count(&ranks, "AllReduce");
        complete_labelled(&group, Request::Barrier, "").unwrap();
        all_reduce(&group, (16 << 10) + 1).unwrap();
        complete_labelled(&group, Request::Barrier, "").unwrap();
        assert_eq!((short, count(&ranks, "AllReduce")), (0, 2));
        let failure = if rank == 0 {
            all_reduce(&group, 4).unwrap_err()
        } else {
            let data = Part::whole(&Arc::new(Block::new(device, Stream::Compute, 16).unwrap()), DType::F32);
            let request = Request::AllReduce { data, op: ReduceOp::Sum };
            let label = Label::new("layers.1.mlp.down");
            let work = group.submit_on_device(request, label).unwrap_or_else(|error| panic!("{error}"));
            work.lead(Stream::Compute, None).unwrap_err()
        };
        world.leave();
        failure
    };
    let told = std::thread::scope(|scope| {
        let join = &join;
        [0, 1].map(|rank| scope.spawn(move || join(rank))).map(|thread| thread.join().unwrap())
    });
    assert_eq!((told[0].code, &told[0]), (Code::Mismatch, &told[1]));
    assert!(told[0].message.contains("sum on a device (layers.1.mlp.down) while rank 0 called"), "{}", told[0].message);
    assert!(
        told[0].message.ends_with("The ranks disagree on where the tensors lie: copy them to one kind of place."),
        "{}",
        told[0].message
    );
}

#[test]
fn memory_of_a_device_goes_to_its_own_groups_alone() {
    let ranks = ranks(2, "", "");
    let part = |rank: usize, dtype: DType| Part::whole(&Arc::new(Block::new(&ranks.devices[rank], Stream::Compute, 8).unwrap()), dtype);
    let sum = |rank: usize, dtype: DType, op: ReduceOp| Request::AllReduce { data: part(rank, dtype), op };
    let refusal = |group: &Group, request| match group.submit_on_device(request, Label::EMPTY) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was not refused"),
    };
    let ends = play("nccl-refuses", &ranks, LONG, |world, _, rank| {
        let group = world.open("tp", &[0, 1]).unwrap();
        let rank = rank as usize;
        let other = refusal(&group, sum(1 - rank, DType::F32, ReduceOp::Sum));
        assert_eq!(
            other,
            format!(
                "allReduce on group tp: the tensor is on device {}, and this rank's groups use device {rank}. Copy it there.",
                1 - rank
            )
        );
        let bytes = refusal(&group, sum(rank, DType::U8, ReduceOp::Avg));
        let wanted = "allReduce on group tp: NCCL adds bytes without room for their sum, so that the average would be wrong. Cast to i32.";
        assert_eq!(bytes, wanted);
        let none = refusal(&group, Request::Barrier);
        assert_eq!(none, "barrier on group tp: it has no memory on a device. Submit it as one on the host.");
        // A group of one moves nothing between devices.
        let alone = world.open("pp", &[rank as u32]).unwrap();
        let (source, target) = (part(rank, DType::F32), part(rank, DType::F32));
        source.block().fill(Stream::Compute, 3).unwrap();
        let request = Request::AllGather { source, target: target.clone(), blocks: Blocks::even(2, 1) };
        alone.submit_on_device(request, Label::EMPTY).unwrap_or_else(|error| panic!("{error}")).lead(Stream::Compute, None).unwrap();
        let mut bytes = [0; 8];
        target.block().read(Stream::Compute, 0, &mut bytes).unwrap();
        assert_eq!(bytes, [3; 8]);
    });
    assert!(ends.iter().all(Option::is_some));
    let settings = Settings::new(2);
    let join = |rank: u32| {
        let base = SimBackend::join("nccl-none", rank, 2, &settings).unwrap_or_else(|error| panic!("{error}"));
        let world = World::over("nccl-none", base, rank, 2, settings.clone());
        let told = refusal(&world.open("tp", &[0, 1]).unwrap(), sum(rank as usize, DType::F32, ReduceOp::Sum));
        world.leave();
        told
    };
    let told = std::thread::scope(|scope| {
        let join = &join;
        [0, 1].map(|rank| scope.spawn(move || join(rank))).map(|thread| thread.join().unwrap())
    });
    let wanted = "allReduce on group tp: the tensor is on a device, and backend sim moves those of the host. Use backend nccl, or copy it.";
    assert!(told.iter().all(|told| told == wanted), "{told:?}");
}

/// NCCL promises no order: each part of the data may begin with another rank, and 16 bits are rounded at each step.
#[test]
fn sums_in_the_order_of_rings_are_close_the_same_on_all_ranks_and_from_run_to_run() {
    let run = |job: &str| {
        let ranks = ranks(4, "ring=1", "");
        let ends = play(job, &ranks, LONG, |world, _, rank| {
            let group = world.open("dp", &[0, 1, 2, 3]).unwrap();
            let values: Vec<f32> = (0..1000).map(|place| number(rank, place) as f32).collect();
            let [sum, average] = [floats(&values), floats(&values)];
            complete(&group, Request::AllReduce { data: sum.clone(), op: ReduceOp::Sum }).unwrap();
            complete(&group, Request::AllReduce { data: average.clone(), op: ReduceOp::Avg }).unwrap();
            [sum, average].map(|span| span.f32s().unwrap().to_vec())
        });
        ends.into_iter().map(Option::unwrap).collect::<Vec<_>>()
    };
    let (first, second) = (run("nccl-ring-1"), run("nccl-ring-2"));
    assert!(first.iter().all(|result| *result == first[0]) && first == second);
    let exact = |place: usize| (0..4).map(|rank| f64::from(number(rank, place) as f32)).sum::<f64>();
    let in_order = |place: usize| (0..4).map(|rank| number(rank, place) as f32).fold(0.0, |sum, value| sum + value);
    for (place, (&sum, &average)) in first[0][0].iter().zip(&first[0][1]).enumerate() {
        assert!((f64::from(sum) - exact(place)).abs() < 4.0 * f64::from(f32::EPSILON), "{sum}");
        assert!((f64::from(average) - exact(place) / 4.0).abs() < 2.0 * f64::from(f32::EPSILON), "{average}");
    }
    assert!((0..1000).any(|place| first[0][0][place] != in_order(place)), "a ring does not add in the order of the ranks");
}

#[test]
fn groups_of_a_division_use_what_it_has_made_and_others_meet_by_an_id() {
    let ranks = ranks(4, "", "");
    let halves = [vec![0, 1], vec![2, 3]];
    // Backwards, and without rank 2.
    let some = [vec![3, 0]];
    let ends = play("nccl-divides", &ranks, LONG, |world, backend, rank| {
        backend.divide((rank, 4), &[("tp", &halves), ("embedding", &some)]).unwrap();
        let half = &halves[rank as usize / 2];
        let sum_over = |name: &str, list: &[u32]| {
            let data = floats(&[rank as f32 + 1.0]);
            complete(&world.open(name, list).unwrap(), Request::AllReduce { data: data.clone(), op: ReduceOp::Sum }).unwrap();
            data.f32s().unwrap()[0]
        };
        let tp = sum_over("tp", half);
        let gathered = if [0, 3].contains(&rank) { sum_over("embedding", &some[0]) } else { 0.0 };
        (tp, gathered, sum_over("tp", half), sum_over("all", &[0, 1, 2, 3]))
    });
    let ends: Vec<_> = ends.into_iter().map(Option::unwrap).collect();
    assert_eq!(ends, [(3.0, 5.0, 3.0, 10.0), (3.0, 0.0, 3.0, 10.0), (7.0, 0.0, 7.0, 10.0), (7.0, 5.0, 7.0, 10.0)]);
    // One world for the division and one group, and the second opening of each half.
    assert_eq!((count(&ranks, ": split color"), count(&ranks, ": init ")), (8, 12));
    assert_eq!(count(&ranks, ": abort"), 0);
}

#[test]
fn crossing_messages_and_collectives_of_other_groups_wait_for_nothing_but_their_own() {
    let ranks = ranks(2, "", "");
    let ends = play("nccl-crosses", &ranks, Duration::from_secs(20), |world, _, rank| {
        let (one, other) = (world.open("one", &[0, 1]).unwrap(), world.open("other", &[1, 0]).unwrap());
        let peer = |group: &Group| 1 - group.rank();
        let submit = |group: &Group, request| group.submit(request, Label::EMPTY).unwrap_or_else(|error| panic!("{error}"));
        let message = |group: &Group, count: usize, is_send: bool| {
            let (list, none) = (vec![(peer(group), floats(&vec![rank as f32; count]))], Vec::new());
            let (sends, receives) = if is_send { (list, none) } else { (none, list) };
            Request::Exchange { sends, receives, kind: if is_send { Kind::Send } else { Kind::Receive } }
        };
        // Both send first; each begins with another group; and a collective waits meanwhile on one of them only.
        let groups = if rank == 0 { [&one, &other] } else { [&other, &one] };
        let sums: Vec<_> = groups.map(|group| submit(group, Request::AllReduce { data: floats(&[1.0]), op: ReduceOp::Sum })).into();
        let sends = groups.map(|group| submit(group, message(group, 100_000, true)));
        let receives = groups.map(|group| submit(group, message(group, 100_000, false)));
        sums.iter().chain(&sends).chain(&receives).for_each(|work| work.wait(None).unwrap_or_else(|failure| panic!("{failure}")));
    });
    assert!(ends.iter().all(Option::is_some));
    // One for each group, and one for each direction in each.
    assert_eq!(count(&ranks, ": init "), 2 * (2 + 4));
}

#[test]
fn what_nccl_would_get_wrong_or_does_not_have_stays_on_the_host() {
    let ranks = ranks(2, "", "");
    let ends = play("nccl-stays", &ranks, LONG, |world, _, rank| {
        let group = world.open("tp", &[0, 1]).unwrap();
        let bytes = support::span(DType::U8, &[200u8 + rank as u8 * 2]);
        complete(&group, Request::Barrier).unwrap();
        complete(&group, Request::AllReduce { data: bytes.clone(), op: ReduceOp::Avg }).unwrap();
        bytes.bytes()[0]
    });
    assert_eq!(ends, [Some(201), Some(201)]);
    assert!(ranks.log().is_empty(), "{:?}", ranks.log());
}

#[test]
fn a_failure_on_one_rank_fails_the_world_with_its_sentence() {
    for function in ["ncclAllReduce", "ncclCommInitRankConfig"] {
        let ranks = ranks(3, "", "");
        let end = |job: &str| {
            let ends = play(job, &ranks, LONG, |world, _, _| {
                let group = world.open("tp", &[0, 1, 2]).unwrap();
                complete(&group, Request::Broadcast { data: floats(&[1.0; 4]), root: 0 })?;
                all_reduce(&group, 4)
            });
            failure_of(&ends, &[0, 1, 2])
        };
        let (words, culprits) = match function {
            "ncclAllReduce" => ("fail_rank=1 ", vec![vec![1]]),
            // Nobody knows the rank of who asks for it.
            _ => ("", vec![vec![0], vec![1], vec![2]]),
        };
        ranks.tell(&format!("{words}fail={function}:2:0"));
        let failure = end(&format!("nccl-fails-{function}"));
        assert!(failure.code == Code::Aborted && culprits.contains(&failure.culprits), "{failure:?}");
        let rank = failure.culprits[0];
        let told = format!(
            "on group tp: group tp: rank {rank} of 3: {function} fails (unhandled system error: the fake was told to fail). \
             Look at the first rank that failed, and run again with NCCL_DEBUG=WARN."
        );
        assert!(failure.message.starts_with(&format!("rank {rank} gave up in ")) && failure.message.ends_with(&told), "{failure}");
        if function == "ncclAllReduce" {
            assert_eq!(count(&ranks, ": abort"), 3, "{:?}", ranks.log());
        }
    }
}

#[test]
fn an_error_that_nccl_tells_meanwhile_fails_the_world_and_wakes_who_waits() {
    let ranks = ranks(2, "hang=1", "");
    let begin = Instant::now();
    let ends = play("nccl-async", &ranks, LONG, |world, _, rank| {
        let group = world.open("dp", &[0, 1]).unwrap();
        let work = group.submit(Request::AllReduce { data: floats(&[1.0; 4]), op: ReduceOp::Sum }, Label::EMPTY);
        let work = work.unwrap_or_else(|error| panic!("{error}"));
        std::thread::sleep(Duration::from_millis(200));
        if rank == 1 {
            ranks.tell("async=1:6");
        }
        work.wait(None)
    });
    let failure = failure_of(&ends, &[0, 1]);
    let told = "rank 1 gave up in allReduce#1 f32[4] on group dp: group dp: rank 1 of 2: an operation under way fails \
                (remote process exited or there was a network error: the fake was told to fail). \
                Look at the first rank that failed, and run again with NCCL_DEBUG=WARN.";
    assert_eq!((failure.culprits, failure.message.as_str()), (vec![1], told));
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(count(&ranks, ": abort"), 2);
}

/// The echo comes to rank 0 at once; that rank 1 has ended is what counts.
#[test]
fn a_rank_that_ends_is_named_and_not_who_hears_of_it_from_nccl() {
    let ranks = ranks(2, "", "");
    let ends = play("nccl-ends", &ranks, LONG, |world, _, rank| {
        let group = world.open("dp", &[0, 1]).unwrap();
        all_reduce(&group, 4)?;
        ranks.tell("hang=1");
        let work = group.submit(Request::AllReduce { data: floats(&[1.0; 4]), op: ReduceOp::Sum }, Label::EMPTY);
        std::thread::sleep(Duration::from_millis(200));
        if rank == 1 {
            // Without the words of a panic, which take their time.
            resume_unwind(Box::new("rank 1 ends"));
        }
        ranks.tell("async=0:6");
        work.unwrap_or_else(|error| panic!("{error}")).wait(None)
    });
    let failure = failure_of(&ends, &[0]);
    assert_eq!((failure.code, &failure.culprits), (Code::PeerLost, &vec![1]), "{failure}");
    assert!(failure.message.starts_with("rank 1 (pid ") && failure.message.contains("exited while rank 0 was in allReduce#2"), "{failure}");
}

#[test]
fn a_rank_that_never_arrives_is_named_by_the_deadline_in_collectives_and_messages() {
    let wanted = [
        "waited 300 ms in allReduce#2 f32[4] (layers.1.mlp.down) on group tp: rank 1 (pid",
        "waited 300 ms in send#1 f32[9] on group tp: rank 1 (pid",
    ];
    for (is_message, wanted) in [false, true].into_iter().zip(wanted) {
        let ranks = ranks(3, "", "");
        let ends = play(&format!("nccl-late-{is_message}"), &ranks, Duration::from_millis(300), |world, _, rank| {
            let group = world.open("tp", &[0, 1, 2]).unwrap();
            all_reduce(&group, 4)?;
            match (rank, is_message) {
                (1, _) | (2, true) => {
                    while world.failure().is_none() {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    Err(world.failure().unwrap())
                }
                (_, false) => all_reduce(&group, 4),
                (_, true) => {
                    let sends = vec![(1, floats(&[0.0; 9]))];
                    complete(&group, Request::Exchange { sends, receives: vec![], kind: Kind::Send })
                }
            }
        });
        let failure = failure_of(&ends, &[0, 1, 2]);
        assert_eq!((failure.code, &failure.culprits), (Code::Timeout, &vec![1]), "{failure}");
        assert!(failure.message.contains(wanted) && failure.message.contains("alive) never joined"), "{failure}");
    }
}

#[test]
fn a_collective_that_never_ends_on_the_devices_meets_the_deadline() {
    let ranks = ranks(2, "hang=1", "");
    let ends = play("nccl-hangs", &ranks, Duration::from_millis(500), |world, _, _| all_reduce(&world.open("tp", &[0, 1]).unwrap(), 4));
    let failure = failure_of(&ends, &[0, 1]);
    assert_eq!(failure.code, Code::Timeout);
    let told = "waited 500 ms in allReduce#1 f32[4] (layers.1.mlp.down) on group tp: no rank is missing, and nothing moves.";
    assert!(failure.message.contains(told), "{failure}");
    assert_eq!(count(&ranks, ": abort"), 2);
    // What was given up keeps no memory once its stream has come past it.
    for device in &ranks.devices {
        assert_eq!(device.memory_stats().unwrap().live_blocks, 0);
    }
}

#[test]
fn ranks_that_ask_for_different_things_are_told_which_before_nccl_is_asked() {
    let ranks = ranks(3, "", "");
    let ends = play("nccl-differs", &ranks, LONG, |world, _, rank| {
        let group = world.open("tp", &[0, 1, 2]).unwrap();
        all_reduce(&group, 4)?;
        ranks.tell("forget");
        let op = if rank == 2 { ReduceOp::Max } else { ReduceOp::Sum };
        complete(&group, Request::AllReduce { data: floats(&[1.0; 4]), op })
    });
    let failure = failure_of(&ends, &[0, 1, 2]);
    assert_eq!((failure.code, failure.culprits), (Code::Mismatch, vec![2]));
    assert!(failure.message.contains("rank 2 called allReduce#2 f32[4] max while rank 0 called allReduce#2 f32[4] sum"));
    assert!(ranks.log().iter().all(|line| !line.contains("AllReduce")), "{:?}", ranks.log());
}

#[test]
fn uneven_counts_and_messages_that_do_not_fit_are_told() {
    let ranks = ranks(2, "", "");
    let ends = play("nccl-uneven", &ranks, LONG, |world, _, rank| {
        let group = world.open("ep", &[0, 1]).unwrap();
        let blocks = |counts: [usize; 2]| Blocks::of_counts(&counts).unwrap();
        let (send, receive) = if rank == 0 { ([1, 5], [1, 2]) } else { ([2, 3], [4, 3]) };
        let (source, target) = (floats(&vec![0.0; send.iter().sum()]), floats(&vec![0.0; receive.iter().sum()]));
        complete(&group, Request::AllToAll { source, target, send: blocks(send), receive: blocks(receive) })
    });
    let failure = failure_of(&ends, &[0, 1]);
    assert_eq!(failure.culprits, [0, 1]);
    assert!(failure.message.contains("rank 0 sends 5 elements to rank 1 in allToAll#1 f32, which expects 4."), "{failure}");
    let ends = play("nccl-unexpected", &ranks, LONG, |world, _, rank| {
        let group = world.open("pp", &[0, 1]).unwrap();
        let (mut sends, mut receives) = (Vec::new(), Vec::new());
        if rank == 0 { &mut sends } else { &mut receives }.push((1 - rank as usize, floats(&vec![0.0; 3 + rank as usize])));
        complete(&group, Request::Exchange { sends, receives, kind: Kind::Exchange })
    });
    let failure = failure_of(&ends, &[0, 1]);
    let told = "rank 0 sent exchange#1 f32[3] while rank 1 was to receive exchange#1 f32[4].";
    assert!(failure.culprits == [0] && failure.message.contains(told), "{failure}");
}

#[test]
fn an_nccl_that_is_missing_or_too_old_is_refused_when_a_world_is_made() {
    let folder = Folder::new();
    NEEDED.iter().for_each(|name| _ = folder.install(name));
    let refusal = || {
        let toolkit = Toolkit::find(&Environment::only(&[("MEGATRON_CUDA_LIBS", folder.text())])).unwrap();
        let device = Device::open(&toolkit, 0).unwrap();
        let base = SimBackend::join("nccl-missing", 0, 1, &Settings::new(1)).unwrap_or_else(|error| panic!("{error}"));
        let error = NcclBackend::over(base, &device, Config::default()).err().unwrap();
        error.message.replace(folder.text(), "$LIBS")
    };
    let remedy = "Install the Python package nvidia-nccl-cu13, or name its folder in MEGATRON_CUDA_LIBS.";
    assert_eq!(refusal(), format!("NCCL: libnccl.so.2 was not found in $LIBS. {remedy}"));
    control(&folder.install(NCCL), "nccl=21805");
    assert_eq!(refusal(), format!("NCCL: version 2.18.5 of $LIBS/libnccl.so.2 is older than 2.19. {remedy}"));
}

#[test]
fn a_world_that_is_dropped_without_leaving_aborts_what_it_has() {
    let ranks = ranks(2, "", "");
    let ends = play("nccl-drops", &ranks, LONG, |world, _, rank| {
        let group = world.open("tp", &[0, 1]).unwrap();
        all_reduce(&group, 4).unwrap();
        if rank == 1 {
            resume_unwind(Box::new("rank 1 ends"));
        }
        all_reduce(&group, 4)
    });
    let failure = failure_of(&ends, &[0]);
    assert_eq!((failure.code, failure.culprits), (Code::PeerLost, vec![1]));
    assert_eq!((count(&ranks, ": abort"), count(&ranks, ": destroy")), (2, 0));
}
