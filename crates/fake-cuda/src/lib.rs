//! A CUDA driver and an NVRTC without a device, for tests: memory is that of the host, what was called is written down in order, and
//! errors come when they are asked for. Copies of the file under other names stand for the other libraries; each has a state of its own.
//!
//! `fake_cuda_control` takes words: `reset`, settings such as `devices=2`, `hold=3` and `release=3` for a stream whose events shall not
//! complete meanwhile. In NCCL `fail_rank=1` lets functions fail for that rank alone, `async=1:6` tells it of an error, `hang=1` keeps
//! collectives from ending. `arguments=1` writes down what kernels are launched with. Kernels are only written down, unless `run=FOLDER` tells NVRTC to compile them for the host. A process that cannot call it sets `MEGATRON_FAKE_CUDA` to the same words.

mod arguments;
mod control;
mod cublaslt;
mod device;
mod event;
mod graph;
#[cfg(target_os = "linux")]
mod host;
mod launch;
mod memory;
mod nccl;
mod nvrtc;
mod pinned;
mod settings;
mod state;
mod stream;
mod version;
