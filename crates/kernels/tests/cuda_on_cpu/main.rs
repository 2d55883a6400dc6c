//! The CUDA text of every kernel, compiled as C++ and run on the CPU thread after thread, against the CPU's kernels: the proof of their
//! numbers where there is no GPU. What is not in it: the instructions that only a GPU has (conversions of 16-bit floats, mma, ldmatrix),
//! whose meaning `host.hpp` and the prelude restate.
//!
//! Where the order of the sums is that of the CPU, results are compared bit for bit; elsewhere within the units in the last place that
//! the test says. 16-bit results are compared with the f32 result, rounded once.
#![cfg(target_os = "linux")]

extern crate megatron_kernels as kernels;

mod attention;
mod device;
mod elements;
mod memory;
mod places;
mod rows;
mod training;
