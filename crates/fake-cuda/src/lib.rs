//! A CUDA driver and an NVRTC without a device, for tests: memory is that of the host, what was called is written down in order, and
//! errors come when they are asked for. Copies of the file under other names stand for the other libraries; each has a state of its own.
//!
//! Each stream is a queue. What is asked of it is done in order, on the thread of whoever calls the driver next, and not before other streams
//! have come to the points that it was told to wait for; what NCCL is asked for waits in it until all ranks have come so far.
//!
//! `fake_cuda_control` takes words: `reset`, settings such as `devices=2`, `hold=3` and `release=3` for a stream that shall stand still
//! until somebody waits for it, `lazy=1` for streams that go on only when somebody asks for what is in them. In NCCL `fail_rank=1` lets
//! functions fail for that rank alone, `async=1:6` tells it of an error, `hang=1` keeps collectives from ending, `defer=3` lets NCCL take
//! operations only when it was asked three times how it is getting on, `ring=1` combines in the order of rings, `meet=FOLDER` lets ranks of
//! several processes meet.
//! `arguments=1` writes down what kernels are launched with. Kernels are only written down, unless `run=FOLDER` tells NVRTC to compile them
//! for the host. A process that cannot call it sets `MEGATRON_FAKE_CUDA` to the same words.

mod arguments;
mod control;
mod cublaslt;
mod cudnn;
mod device;
mod event;
mod graph;
mod half;
#[cfg(target_os = "linux")]
mod host;
mod launch;
mod memory;
mod nccl;
mod neighbour;
mod nvrtc;
mod pinned;
mod queue;
mod settings;
mod state;
mod stream;
mod version;
