//! NCCL as the fake saw it: what is asked of it and in which order, what comes out, and a sentence for everything that goes wrong.
#![cfg(target_os = "linux")]

mod fake;

use fake::{Folder, NCCL, NEEDED, Ranks, control};
use megatron_cuda::{
    Batch, Block, Code, Communicator, Config, Device, Environment, Error, Part, Reduction, Stream, Toolkit, UniqueId, Work,
};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use storage::DType;

/// Long enough for anything that ends.
const LONG: Duration = Duration::from_secs(60);
/// For what never ends.
const SHORT: Duration = Duration::from_millis(20);

/// The communicators of all ranks, which have met.
fn meet(ranks: &Ranks, config: Config) -> Vec<Communicator> {
    let id = ranks.toolkit.nccl().unwrap().unique_id().unwrap();
    let size = ranks.devices.len();
    each(ranks, |rank, device| {
        let made = Communicator::init(device, "tp", id, (rank, size), config).unwrap();
        made.ready().unwrap();
        made
    })
}

/// Runs the ranks side by side.
fn each<T: Send>(ranks: &Ranks, body: impl Fn(usize, &Device) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let body = &body;
        let started: Vec<_> = ranks.devices.iter().enumerate().map(|(rank, device)| scope.spawn(move || body(rank, device))).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn part(device: &Device, values: &[f32]) -> Part {
    let block = Block::new(device, Stream::Compute, values.len() * 4).unwrap();
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    block.write(Stream::Compute, 0, &bytes).unwrap();
    Part::whole(&Arc::new(block), DType::F32)
}

fn values(part: &Part) -> Vec<f32> {
    let mut bytes = vec![0; part.block().len()];
    part.block().read(Stream::Compute, 0, &mut bytes).unwrap();
    bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

/// What a target holds once the work is done.
fn result(communicator: &Communicator, work: &Work, target: &Part) -> Vec<f32> {
    communicator.finish(work, LONG).unwrap();
    work.wait(Stream::Compute).unwrap();
    values(target)
}

fn sentence<T>(result: Result<T, Error>) -> String {
    result.err().unwrap().message
}

#[test]
fn every_collective_of_three_ranks_gives_what_its_name_says() {
    let ranks = Ranks::new(3, "");
    let all = meet(&ranks, Config::default());
    let seen = each(&ranks, |rank, device| {
        let (own, after) = (&all[rank], Stream::Compute);
        let base = rank as f32 * 10.0;
        let data = |count: usize| part(device, &(0..count).map(|at| base + at as f32).collect::<Vec<_>>());
        let sum = data(2);
        let sum_of = own.all_reduce(after, &sum, &sum, Reduction::Sum).unwrap();
        let most = data(2);
        let most_of = own.all_reduce(after, &most, &most, Reduction::Maximum).unwrap();
        let gathered = part(device, &[0.0; 6]);
        let gather = own.all_gather(after, &data(2), &gathered).unwrap();
        let scattered = part(device, &[0.0]);
        let scatter = own.reduce_scatter(after, &data(3), &scattered, Reduction::Average).unwrap();
        let spread = data(2);
        let spread_of = own.broadcast(after, &spread, 1).unwrap();
        let rooted = part(device, &[-1.0; 2]);
        let rooted_of = own.reduce(after, (&data(2), &rooted), Reduction::Product, 2).unwrap();
        [(sum_of, sum), (most_of, most), (gather, gathered), (scatter, scattered), (spread_of, spread), (rooted_of, rooted)]
            .map(|(work, target)| result(own, &work, &target))
    });
    for (rank, found) in seen.into_iter().enumerate() {
        let rooted = if rank == 2 { vec![0.0, 1.0 * 11.0 * 21.0] } else { vec![-1.0; 2] };
        let wanted = [
            vec![30.0, 33.0],
            vec![20.0, 21.0],
            vec![0.0, 1.0, 10.0, 11.0, 20.0, 21.0],
            vec![10.0 + rank as f32],
            vec![10.0, 11.0],
            rooted,
        ];
        assert_eq!(found, wanted, "rank {rank}");
    }
}

#[test]
fn messages_of_a_group_may_cross_and_all_to_all_takes_uneven_counts() {
    let ranks = Ranks::new(3, "");
    let all = meet(&ranks, Config::default());
    // Row: from; column: to.
    let counts = [[1, 2, 0], [0, 1, 1], [2, 0, 1]];
    let seen = each(&ranks, |rank, device| {
        let own = &all[rank];
        let received: Vec<usize> = counts.iter().map(|row| row[rank]).collect();
        let filled = |value: f32, counts: &[usize]| part(device, &vec![value; counts.iter().sum()]);
        let (source, target) = (filled(rank as f32, &counts[rank]), filled(-1.0, &received));
        let work = own.all_to_all(Stream::Compute, &source, &target, (&counts[rank], &received)).unwrap();
        let exchanged = result(own, &work, &target);
        let (mine, theirs) = (part(device, &[rank as f32]), part(device, &[-1.0]));
        let around = |batch: &Batch| batch.send(&mine, (rank + 1) % 3).and_then(|()| batch.receive(&theirs, (rank + 2) % 3));
        let work = own.together("exchange", Stream::Compute, around).unwrap();
        (exchanged, result(own, &work, &theirs))
    });
    let wanted = [(vec![0.0, 2.0, 2.0], vec![2.0]), (vec![0.0, 0.0, 1.0], vec![0.0]), (vec![1.0, 2.0], vec![1.0])];
    assert_eq!(seen, wanted);
}

#[test]
fn half_precision_and_integers_keep_their_types() {
    let ranks = Ranks::new(1, "");
    let all = meet(&ranks, Config::default());
    let block = Arc::new(Block::new(&ranks.devices[0], Stream::Compute, 16).unwrap());
    let types = [(DType::BF16, 9), (DType::F16, 6), (DType::F64, 8), (DType::I32, 2), (DType::I64, 4), (DType::U8, 1)];
    ranks.tell("forget");
    for (dtype, _) in types {
        let data = Part::whole(&block, dtype);
        all[0].all_gather(Stream::Compute, &data, &data).unwrap().wait(Stream::Compute).unwrap();
    }
    let wanted = types.map(|(dtype, code)| format!("rank 0 of 1: AllGather {} of type {code} op 0 root 0 in stream 2", 16 / dtype.size()));
    assert_eq!(ranks.log(), wanted);
}

#[test]
fn an_operation_begins_after_what_it_reads_is_made_and_its_readers_wait_for_it() {
    let ranks = Ranks::new(1, "");
    let all = meet(&ranks, Config::default());
    let data = part(&ranks.devices[0], &[1.0]);
    control(&ranks.folder.0.join(fake::DRIVER), "forget");
    let work = all[0].all_reduce(Stream::Compute, &data, &data, Reduction::Sum).unwrap();
    work.wait(Stream::Compute).unwrap();
    let wanted = ["event 1 in stream 1", "stream 2 waits for event 1", "event 2 in stream 2", "stream 1 waits for event 2"];
    assert_eq!(ranks.driver_log(), wanted);
    assert_eq!(ranks.log().last().unwrap(), "rank 0 of 1: AllReduce 1 of type 7 op 0 root 0 in stream 2");
    assert_eq!(ranks.devices[0].end_step(), Ok(()));
}

#[test]
fn the_configuration_reaches_nccl_and_a_blocking_one_waits_for_all_ranks() {
    let ranks = Ranks::new(2, "");
    let config = Config { shares_on_split: true, most_blocks: Some(4), ..Config::default() };
    meet(&ranks, config);
    meet(&ranks, Config { is_blocking: true, ..Config::default() });
    let mut inits: Vec<String> = ranks.log().into_iter().filter(|line| line.contains("init")).collect();
    inits.sort();
    let unset = i32::MIN;
    let wanted = [
        "rank 0 of 2: init blocking 0 split share 1 max ctas 4 version 21900".to_string(),
        format!("rank 0 of 2: init blocking 1 split share 0 max ctas {unset} version 21900"),
        "rank 1 of 2: init blocking 0 split share 1 max ctas 4 version 21900".to_string(),
        format!("rank 1 of 2: init blocking 1 split share 0 max ctas {unset} version 21900"),
    ];
    assert_eq!(inits, wanted);
}

#[test]
fn an_id_travels_as_bytes() {
    let ranks = Ranks::new(1, "");
    let nccl = ranks.toolkit.nccl().unwrap();
    let (one, other) = (nccl.unique_id().unwrap(), nccl.unique_id().unwrap());
    assert!(one != other && UniqueId::from_bytes(*one.bytes()) == one);
    assert_eq!((nccl.version().to_string().as_str(), nccl.has_memory(), nccl.has_registration()), ("2.28.9", true, true));
    ranks.tell("fail=ncclGetUniqueId:2:0");
    assert_eq!(
        sentence(nccl.unique_id()),
        "NCCL: ncclGetUniqueId fails (unhandled system error: the fake was told to fail). \
         Name an interface that the ranks reach each other by in NCCL_SOCKET_IFNAME."
    );
}

#[test]
fn a_split_makes_groups_by_color_in_the_order_of_the_keys() {
    let ranks = Ranks::new(4, "");
    let all = meet(&ranks, Config::default());
    let seen = each(&ranks, |rank, device| {
        let color = [Some(0), Some(1), None, Some(0)][rank];
        let child = all[rank].split("pp", color, 9 - rank, Config::default()).unwrap()?;
        child.ready().unwrap();
        let data = part(device, &[rank as f32 + 1.0]);
        let work = child.all_reduce(Stream::Compute, &data, &data, Reduction::Sum).unwrap();
        Some((child.rank(), child.size(), result(&child, &work, &data)[0]))
    });
    assert_eq!(seen, [Some((1, 2, 5.0)), Some((0, 1, 2.0)), None, Some((0, 2, 5.0))]);
}

#[test]
fn a_group_is_ended_in_order_and_answers_nothing_afterwards() {
    let ranks = Ranks::new(2, "");
    let all = meet(&ranks, Config::default());
    ranks.tell("forget");
    all[0].destroy().unwrap();
    all[0].destroy().unwrap_err();
    let data = part(&ranks.devices[0], &[1.0]);
    let error = all[0].broadcast(Stream::Compute, &data, 0).err().unwrap();
    let wanted = "group tp: rank 0 of 2: it was destroyed. Make another one.";
    assert_eq!((error.code, error.message.as_str()), (Code::Refused, wanted));
    all[0].abort("too late").unwrap();
    drop(all);
    assert_eq!(ranks.log(), ["rank 0 of 2: finalize", "rank 0 of 2: destroy", "rank 1 of 2: abort"]);
}

#[test]
fn a_failure_on_one_rank_is_told_there_and_to_the_others_by_nccl_and_stays() {
    let ranks = Ranks::new(2, "");
    let all = meet(&ranks, Config::default());
    ranks.tell("fail=ncclAllReduce:2:0 fail_rank=1");
    let data = [0, 1].map(|rank| part(&ranks.devices[rank], &[1.0]));
    let error = all[1].all_reduce(Stream::Compute, &data[1], &data[1], Reduction::Sum).err().unwrap();
    let wanted = "group tp: rank 1 of 2: ncclAllReduce fails (unhandled system error: the fake was told to fail). \
                  Look at the first rank that failed, and run again with NCCL_DEBUG=WARN.";
    assert_eq!((error.code, error.message.as_str()), (Code::Collective, wanted));
    // What worked would no longer mean anything.
    assert_eq!(sentence(all[1].broadcast(Stream::Compute, &data[1], 0)), wanted);
    let work = all[0].all_reduce(Stream::Compute, &data[0], &data[0], Reduction::Sum).unwrap();
    assert!(!work.is_done().unwrap());
    ranks.tell("async=0:6 silent=1");
    let told = "group tp: rank 0 of 2: an operation under way fails (remote process exited or there was a network error). \
                Look at the first rank that failed, and run again with NCCL_DEBUG=WARN.";
    assert_eq!(sentence(all[0].finish(&work, LONG)), told);
    assert_eq!(sentence(all[0].poll()), told);
    all[0].abort("rank 1 failed").unwrap();
    assert!(work.is_done().unwrap());
}

#[test]
fn a_rank_that_does_not_come_is_told_and_an_abort_wakes_who_waits() {
    let ranks = Ranks::new(2, "");
    let nccl = ranks.toolkit.nccl().unwrap();
    let config = Config { limit: SHORT, ..Config::default() };
    let alone = Communicator::init(&ranks.devices[0], "dp", nccl.unique_id().unwrap(), (0, 2), config).unwrap();
    let wanted = "group dp: rank 0 of 2: ncclCommInitRankConfig is not done after 0.02 s: not all ranks have come to it. \
                  See what the others do, or allow more time.";
    assert_eq!(sentence(alone.ready()), wanted);
    let patient = Communicator::init(&ranks.devices[1], "dp", nccl.unique_id().unwrap(), (1, 2), Config::default()).unwrap();
    thread::scope(|scope| {
        let waits = scope.spawn(|| patient.ready());
        patient.abort("rank 0 has ended. See its output.").unwrap();
        let told = sentence(waits.join().unwrap());
        assert_eq!(told, "group dp: rank 1 of 2: it was given up: rank 0 has ended. See its output.");
    });
}

#[test]
fn an_abort_unblocks_who_waits_for_a_collective_that_never_ends() {
    let ranks = Ranks::new(2, "hang=1");
    let all = meet(&ranks, Config::default());
    let data = part(&ranks.devices[0], &[1.0]);
    let work = all[0].all_reduce(Stream::Compute, &data, &data, Reduction::Sum).unwrap();
    let slow = sentence(all[0].finish(&work, SHORT));
    assert!(slow.starts_with("group tp: rank 0 of 2: all-reduce is not done after 0.02 s: "), "{slow}");
    thread::scope(|scope| {
        let waits = scope.spawn(|| all[0].finish(&work, LONG));
        // On a device the stream waits too: both must end.
        let synchronizes = scope.spawn(|| ranks.devices[0].synchronize(Stream::Communication));
        all[0].abort("the program ends.").unwrap();
        assert_eq!(sentence(waits.join().unwrap()), "group tp: rank 0 of 2: it was given up: the program ends.");
        synchronizes.join().unwrap().unwrap();
    });
    assert!(ranks.log().contains(&"rank 0 of 2: abort".into()));
}

#[test]
fn a_group_of_operations_ends_also_when_one_of_them_is_refused() {
    let ranks = Ranks::new(1, "");
    let all = meet(&ranks, Config::default());
    let data = part(&ranks.devices[0], &[1.0, 2.0]);
    ranks.tell("forget");
    let refused = all[0].together("exchange", Stream::Compute, |batch| batch.send(&data, 1));
    assert_eq!(sentence(refused), "group tp: rank 0 of 1: send: peer 1 is outside the group. Use a rank from 0 to 0.");
    assert_eq!(ranks.log(), ["group start", "group end"]);
    let work = all[0].all_reduce(Stream::Compute, &data, &data, Reduction::Sum).unwrap();
    assert_eq!(result(&all[0], &work, &data), [1.0, 2.0]);
}

#[test]
fn memory_that_does_not_fit_is_refused_before_nccl_sees_it() {
    let ranks = Ranks::new(2, "");
    let all = meet(&ranks, Config::default());
    ranks.tell("forget");
    let [two, three] = [2, 3].map(|count| part(&ranks.devices[0], &vec![0.0; count]));
    let halves = Part::of(two.block(), DType::BF16, 1, 3).unwrap();
    let elsewhere = part(&ranks.devices[1], &[0.0; 2]);
    let after = Stream::Compute;
    let found = [
        sentence(all[0].all_reduce(after, &two, &three, Reduction::Sum)),
        sentence(all[0].all_gather(after, &two, &three)),
        sentence(all[0].reduce_scatter(after, &three, &two, Reduction::Sum)),
        sentence(all[0].all_reduce(after, &halves, &three, Reduction::Sum)),
        sentence(all[0].reduce(after, (&two, &two), Reduction::Sum, 2)),
        sentence(all[0].all_to_all(after, &two, &two, (&[2], &[1, 1]))),
        sentence(all[0].broadcast(after, &elsewhere, 0)),
        sentence(Part::of(two.block(), DType::F32, 1, 2)),
    ];
    let wanted = [
        "group tp: rank 0 of 2: all-reduce: the target has 3 elements where 2 are needed. Pass memory of that size.",
        "group tp: rank 0 of 2: all-gather: the target has 3 elements where 4 are needed. Pass memory of that size.",
        "group tp: rank 0 of 2: reduce-scatter: the source has 3 elements where 4 are needed. Pass memory of that size.",
        "group tp: rank 0 of 2: all-reduce: the source is bf16 and the target f32. Cast one of them.",
        "group tp: rank 0 of 2: reduce: root 2 is outside the group. Use a rank from 0 to 1.",
        "group tp: rank 0 of 2: all-to-all: 1 and 2 counts for 2 ranks. Pass one for each.",
        "group tp: rank 0 of 2: the memory is on another device. Use that of the group.",
        "elements 1..1+2 are outside a part of 2. Stay within it.",
    ];
    assert_eq!(found, wanted);
    assert!(ranks.log().iter().all(|line| line.starts_with("group")), "{:?}", ranks.log());
    let id = ranks.toolkit.nccl().unwrap().unique_id().unwrap();
    let none = Communicator::init(&ranks.devices[0], "ep", id, (2, 2), Config::default());
    let wanted = "group ep: rank 2 of 2: there is no such rank. Use ranks from 0 to the size of the group less one.";
    assert_eq!(sentence(none), wanted);
}

#[test]
fn memory_of_its_own_is_registered_and_given_back_once_its_streams_have_passed() {
    let ranks = Ranks::new(1, "");
    let (all, device) = (meet(&ranks, Config::default()), &ranks.devices[0]);
    ranks.tell("forget");
    let bucket = Arc::new(ranks.toolkit.nccl().unwrap().block(device, Stream::Compute, 64).unwrap());
    let registered = all[0].register(&bucket).unwrap();
    assert!(registered.is_some());
    bucket.record_stream(Stream::Communication);
    assert_eq!(device.memory_stats().unwrap().all.live, 64);
    drop(registered);
    drop(bucket);
    assert_eq!(ranks.log(), ["memory of 64", "register 64", "deregister 64", "free memory of 64"]);
    assert!(ranks.driver_log().ends_with(&["synchronize stream 2".into(), "synchronize stream 1".into()]), "{:?}", ranks.driver_log());
    assert_eq!((device.memory_stats().unwrap().all.live, device.memory_stats().unwrap().live_blocks), (0, 0));
    ranks.tell("fail=ncclMemAlloc:1:0");
    let error = ranks.toolkit.nccl().unwrap().block(device, Stream::Compute, 64).err().unwrap();
    let wanted =
        "NCCL: ncclMemAlloc of 64 bytes fails (unhandled cuda error: the fake was told to fail). Free memory, or use smaller buckets.";
    assert_eq!((error.code, error.message.as_str()), (Code::OutOfMemory, wanted));
}

#[test]
fn what_an_nccl_does_not_have_is_done_without_or_told() {
    for function in ["ncclMemAlloc", "ncclCommRegister"] {
        let ranks = Ranks::without(1, "", function);
        let nccl = ranks.toolkit.nccl().unwrap();
        assert_eq!((nccl.has_memory(), nccl.has_registration()), (function != "ncclMemAlloc", function != "ncclCommRegister"));
        let all = meet(&ranks, Config::default());
        let block = Arc::new(nccl.block(&ranks.devices[0], Stream::Compute, 64).unwrap());
        assert_eq!(all[0].register(&block).unwrap().is_some(), nccl.has_registration());
        let from_pool = ranks.driver_log().iter().any(|line| line.starts_with("allocate"));
        assert_eq!(from_pool, !nccl.has_memory());
    }
    let ranks = Ranks::without(1, "", "ncclCommSplit");
    let error = ranks.toolkit.nccl().err().unwrap();
    let wanted = "NCCL: $LIBS/libnccl.so.2 cannot be used (it has no function ncclCommSplit). Install the Python package nvidia-nccl-cu13.";
    assert_eq!((error.code, error.message.replace(ranks.folder.text(), "$LIBS").as_str()), (Code::Library, wanted));
}

#[test]
fn an_nccl_that_is_missing_or_too_old_is_told_when_a_group_is_made() {
    let folder = Folder::new();
    NEEDED.iter().for_each(|name| _ = folder.install(name));
    let first_refusal = || {
        let toolkit = Toolkit::find(&Environment::only(&[("MEGATRON_CUDA_LIBS", folder.text())])).unwrap();
        let device = Device::open(&toolkit, 0).unwrap();
        let made = Communicator::init(&device, "dp", UniqueId::from_bytes([0; 128]), (0, 1), Config::default());
        sentence(made).replace(folder.text(), "$LIBS")
    };
    let remedy = "Install the Python package nvidia-nccl-cu13, or name its folder in MEGATRON_CUDA_LIBS.";
    assert_eq!(first_refusal(), format!("NCCL: libnccl.so.2 was not found in $LIBS. {remedy}"));
    control(&folder.install(NCCL), "nccl=21805");
    assert_eq!(first_refusal(), format!("NCCL: version 2.18.5 of $LIBS/libnccl.so.2 is older than 2.19. {remedy}"));
}
