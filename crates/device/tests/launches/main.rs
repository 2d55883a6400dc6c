//! How operations are asked of a device: geometry, arguments, order and memory, as a fake driver writes them down. The numbers that the
//! kernels compute are proven where they run, on a host by `cuda_on_cpu` and by the full tests.
#![cfg(target_os = "linux")]

extern crate megatron_device as device;

mod attention;
mod attention_by_cudnn;
mod elements;
mod machine;
mod memory;
mod products;
mod rows;
mod training;
