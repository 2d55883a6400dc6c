//! All-reduce over MPI beside MPI's own, in one run: `mpiexec -n 2 target/release/examples/mpi_peer [repetitions]`. Rank 0 prints one line
//! of JSON for each size and engine; times are microseconds.

use libloading::Library;
use megatron_comm::{Funnel, Group, Label, MpiBackend, ReduceOp, Request, Settings, World};
use std::error::Error;
use std::ffi::{c_int, c_void};
use std::ptr::without_provenance;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use storage::{DType, Span};

/// Bytes, and how often they are reduced.
const SIZES: [(usize, usize); 3] = [(1 << 10, 2000), (1 << 20, 100), (64 << 20, 7)];

/// Measured one by one: the best and the one in the middle.
struct Times {
    best: f64,
    middle: f64,
}

fn times(repetitions: usize, mut act: impl FnMut()) -> Times {
    act();
    let mut all: Vec<f64> = (0..repetitions)
        .map(|_| {
            let start = Instant::now();
            act();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    all.sort_by(f64::total_cmp);
    Times { best: all[0], middle: all[all.len() / 2] }
}

/// MPI_Allreduce of floats in place, with the constants of the three binary interfaces.
fn theirs(path: &str, repetitions: usize) -> Result<Vec<Times>, libloading::Error> {
    type Reduce<H> = unsafe extern "C" fn(*const c_void, *mut c_void, c_int, H, H, H) -> c_int;
    // SAFETY: the library is open already; the signatures are those of the MPI standard.
    unsafe {
        let library = Library::new(path)?;
        let address = |symbol: &str| library.get::<*const c_void>(symbol.as_bytes()).map(|found| *found as usize);
        let run = |reduce: &dyn Fn(*mut c_void, c_int) -> c_int| {
            let size = |&(bytes, count): &(usize, usize)| {
                let mut data = vec![0f32; bytes / size_of::<f32>()];
                times((count * repetitions).div_ceil(100), || assert_eq!(reduce(data.as_mut_ptr().cast(), data.len() as c_int), 0))
            };
            SIZES.iter().map(size).collect()
        };
        if let Ok(world) = address("ompi_mpi_comm_world") {
            let (float, sum) = (address("ompi_mpi_float")?, address("ompi_mpi_op_sum")?);
            let call = *library.get::<Reduce<usize>>(b"MPI_Allreduce")?;
            Ok(run(&|data, count| call(without_provenance(1), data, count, float, sum, world)))
        } else if path.contains("mpi_abi") {
            let call = *library.get::<Reduce<usize>>(b"MPI_Allreduce")?;
            Ok(run(&|data, count| call(without_provenance(1), data, count, 0x210, 0x21, 0x101)))
        } else {
            let call = *library.get::<Reduce<c_int>>(b"MPI_Allreduce")?;
            Ok(run(&|data, count| call(without_provenance(usize::MAX), data, count, 0x4c00_040a, 0x5800_0003, 0x4400_0000)))
        }
    }
}

fn ours(group: &Group, repetitions: usize) -> Result<Vec<Times>, Box<dyn Error>> {
    let mut results = Vec::new();
    for (bytes, count) in SIZES {
        let data = Span::from_slice(DType::F32, &vec![0f32; bytes / size_of::<f32>()])?;
        let request = || Request::AllReduce { data: data.clone(), op: ReduceOp::Sum };
        let mut failed = None;
        let times = times((count * repetitions).div_ceil(100), || {
            let outcome = group.submit(request(), Label::EMPTY).and_then(|work| work.wait(None).map_err(Into::into));
            failed = failed.take().or(outcome.err());
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        results.push(times);
    }
    Ok(results)
}

fn variable(names: [&str; 2]) -> Result<u32, Box<dyn Error>> {
    let value = names.iter().find_map(|name| std::env::var(name).ok());
    Ok(value.ok_or("no MPI launcher: run this under mpiexec")?.parse()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let repetitions = std::env::args().nth(1).map_or(Ok(100), |text| text.parse())?;
    let rank = variable(["OMPI_COMM_WORLD_RANK", "PMI_RANK"])?;
    let size = variable(["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])?;
    // As a training has it: threads that wait may call MPI.
    let settings = Settings { exit_grace: Some(Duration::from_secs(10)), ..Settings::new(size as usize) };
    let backend = MpiBackend::join("mpi-peer", rank, size, &settings)?;
    let path = backend.library().to_owned();
    // MPI is called on its own thread only.
    let (sender, receiver) = channel();
    let to_measure = path.clone();
    backend.run(Box::new(move || drop(sender.send(theirs(&to_measure, repetitions)))));
    let theirs = receiver.recv()??;
    let world = World::over("mpi-peer", backend, rank, size, settings);
    let everyone: Vec<u32> = (0..size).collect();
    let ours = ours(&world.open("peer", &everyone)?, repetitions)?;
    if rank == 0 {
        for (engine, results) in [("mpi", &theirs), ("megatron", &ours)] {
            for ((bytes, _), Times { best, middle }) in SIZES.iter().zip(results) {
                println!(
                    r#"{{"engine":"{engine}","ranks":{size},"bytes":{bytes},"best":{best:.1},"median":{middle:.1},"library":"{path}"}}"#
                );
            }
        }
    }
    world.leave();
    Ok(())
}
