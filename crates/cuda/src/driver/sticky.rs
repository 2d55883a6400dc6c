//! Results after which a context answers nothing else.

use super::calls::Calls;
use crate::error::{Code, Error};
use cudarc::driver::sys::CUresult;

/// The results that damage a context for good: errors of memory, of programs, and of the machine.
const STICKY: [CUresult; 15] = [
    CUresult::CUDA_ERROR_ECC_UNCORRECTABLE,
    CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE,
    CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
    CUresult::CUDA_ERROR_MISALIGNED_ADDRESS,
    CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE,
    CUresult::CUDA_ERROR_LAUNCH_TIMEOUT,
    CUresult::CUDA_ERROR_LAUNCH_FAILED,
    CUresult::CUDA_ERROR_ASSERT,
    CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR,
    CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION,
    CUresult::CUDA_ERROR_INVALID_PC,
    CUresult::CUDA_ERROR_TENSOR_MEMORY_LEAK,
    CUresult::CUDA_ERROR_CONTAINED,
    CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED,
    CUresult::CUDA_ERROR_EXTERNAL_DEVICE,
];

pub(crate) fn is_sticky(status: u32) -> bool {
    STICKY.iter().any(|&sticky| sticky as u32 == status)
}

/// The error of a device that is lost. What a kernel did is noticed by a later call: hence both are named.
pub(crate) fn poisoned(device: usize, call: &str, result: &str, last_kernel: Option<&str>) -> Error {
    let kernel = last_kernel.map_or_else(|| "no kernel was launched".into(), |name| format!("the kernel launched last is {name}"));
    let message = format!(
        "device {device}: {call} tells of {result}; {kernel}. Nothing more runs on the device: end this process, and run it again under compute-sanitizer."
    );
    Error::new(Code::Poisoned, message)
}

/// The error of a call that failed and did no harm.
pub(crate) fn failed(device: usize, call: &str, calls: &Calls, status: u32) -> Error {
    let result = calls.result_name(status);
    let remedy = match status {
        // What a capture refuses.
        900..=908 => {
            "A graph holds what begins with its first stream and is joined to it at the end: let other streams wait for it, and it for them."
        }
        _ => "See what nvidia-smi and the system's log tell.",
    };
    Error::new(Code::Driver, format!("device {device}: {call} fails with {result}. {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_breaks_is_lost_and_what_a_call_refuses_is_not() {
        for lost in [CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, CUresult::CUDA_ERROR_ASSERT, CUresult::CUDA_ERROR_ECC_UNCORRECTABLE] {
            assert!(is_sticky(lost as u32), "{lost:?}");
        }
        let harmless = [
            CUresult::CUDA_SUCCESS,
            CUresult::CUDA_ERROR_OUT_OF_MEMORY,
            CUresult::CUDA_ERROR_NOT_READY,
            CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
            CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
            CUresult::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
        ];
        assert!(harmless.into_iter().all(|result| !is_sticky(result as u32)));
    }
}
