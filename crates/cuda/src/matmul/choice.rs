//! Which of the proposed algorithms is taken.

use super::descriptor::Failure;
use super::plan::{Plan, Runner};
use super::product::Product;
use crate::driver::{Device, Stream};
use crate::error::Error;
use crate::memory::Block;
use std::ptr;

/// Runs of each algorithm that are timed, after one that is not.
const TURNS: u32 = 3;

/// Which algorithm is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The one that the library proposes first: the same wherever the shapes and the device are.
    #[default]
    First,
    /// The fastest of so many, each tried on the device the first time. Two runs may then differ in the last bits.
    Timed(u8),
}

impl Choice {
    pub(super) fn candidates(self) -> usize {
        match self {
            Choice::First => 1,
            Choice::Timed(count) => count.max(1).into(),
        }
    }
}

/// What goes wrong while algorithms are tried.
pub(super) enum Trouble {
    Device(Error),
    Library(Failure),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Device(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Library(failure)
    }
}

/// Puts the fastest algorithm first. They write to memory of their own, so that the target is what it was.
pub(super) fn sort_by_time(plan: &mut Plan, runner: Runner, product: &Product, (device, stream): (&Device, Stream)) -> Result<(), Trouble> {
    if plan.algorithms.len() < 2 {
        return Ok(());
    }
    let scratch = Block::new(device, stream, product.target.part.len() * product.target.part.dtype().size())?;
    let place = ptr::without_provenance_mut(scratch.address() as usize);
    let mut times = Vec::with_capacity(plan.algorithms.len());
    for algorithm in &plan.algorithms {
        // Refused when it is run after all: it is out.
        if plan.run(runner, product, algorithm, place).is_err() {
            times.push(f32::INFINITY);
            continue;
        }
        let begin = device.record_timed(stream)?;
        for _ in 0..TURNS {
            plan.run(runner, product, algorithm, place)?;
        }
        let end = device.record_timed(stream)?;
        times.push(begin.milliseconds_to(&end)?);
    }
    let mut order: Vec<usize> = (0..times.len()).collect();
    order.sort_by(|&a, &b| times[a].total_cmp(&times[b]));
    plan.algorithms = order.into_iter().map(|at| plan.algorithms[at]).collect();
    Ok(())
}
