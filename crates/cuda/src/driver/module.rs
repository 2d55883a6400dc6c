//! Compiled kernels on a device, and their launch.

use super::calls::SUCCESS;
use super::device::Device;
use super::stream::Stream;
use crate::error::{Code, Error};
use cudarc::driver::sys::{CUfunction, CUfunction_attribute, CUmodule};
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Bytes of shared memory that a block may have without asking for more.
const USUAL_SHARED: u32 = 48 * 1024;
/// Threads that a block may have.
const MOST_THREADS: u64 = 1024;

/// Kernels that were compiled together.
#[derive(Clone)]
pub struct Module(Arc<Loaded>);

struct Loaded {
    device: Device,
    raw: CUmodule,
}

// SAFETY: the driver's handles may be used on any thread.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Module {
    /// Brings what the compiler made to a device.
    pub fn load(device: &Device, cubin: &[u8]) -> Result<Module, Error> {
        let mut raw = ptr::null_mut();
        // SAFETY: the compiler made the image, and the cache has proved that it is whole.
        device.run("cuModuleLoadData", |calls| unsafe { (calls.cuModuleLoadData)(&mut raw, cubin.as_ptr().cast()) })?;
        Ok(Module(Arc::new(Loaded { device: device.clone(), raw })))
    }

    /// The kernel of this name.
    pub fn kernel(&self, name: &str) -> Result<Kernel, Error> {
        let missing =
            || Error::new(Code::Refused, format!("kernel {name:?}: it has no name that the driver takes. Use letters and digits."));
        let text = CString::new(name).map_err(|_| missing())?;
        let mut raw = ptr::null_mut();
        // SAFETY: the module lives, the name ends with a zero, and one handle is written.
        self.0.device.run("cuModuleGetFunction", |calls| unsafe { (calls.cuModuleGetFunction)(&mut raw, self.0.raw, text.as_ptr()) })?;
        Ok(Kernel { module: self.clone(), raw, name: name.into(), shared: AtomicU32::new(USUAL_SHARED) })
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: the module lives, and its kernels keep it.
        _ = self.device.run("cuModuleUnload", |calls| unsafe { (calls.cuModuleUnload)(self.raw) });
    }
}

/// A function that runs on the device.
pub struct Kernel {
    module: Module,
    raw: CUfunction,
    name: Arc<str>,
    /// Bytes of shared memory that were asked for so far.
    shared: AtomicU32,
}

// SAFETY: as for modules.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

/// How many threads run a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of a block.
    pub shared: u32,
}

/// What a kernel is given, as it stands in its parameter list.
#[derive(Clone, Copy, Debug)]
pub enum Argument<'a> {
    /// An address on the device.
    Pointer(u64),
    /// A structure, which is as long as the kernel declares it.
    Structure(&'a [u8]),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
}

impl Argument<'_> {
    fn place(&self) -> *mut c_void {
        let place: *const c_void = match self {
            Argument::Pointer(value) | Argument::U64(value) => ptr::from_ref(value).cast(),
            Argument::Structure(bytes) => bytes.as_ptr().cast(),
            Argument::U32(value) => ptr::from_ref(value).cast(),
            Argument::I32(value) => ptr::from_ref(value).cast(),
            Argument::I64(value) => ptr::from_ref(value).cast(),
            Argument::F32(value) => ptr::from_ref(value).cast(),
            Argument::F64(value) => ptr::from_ref(value).cast(),
        };
        place.cast_mut()
    }
}

impl Kernel {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks a stream to run it; an empty grid asks for nothing.
    ///
    /// # Safety
    /// The arguments are those of the kernel's parameter list, and what they point to lies within blocks that live until then.
    pub unsafe fn launch(&self, stream: Stream, launch: Launch, arguments: &[Argument]) -> Result<(), Error> {
        let Launch { grid, block, shared } = launch;
        if grid.contains(&0) {
            return Ok(());
        }
        let threads: u64 = block.iter().map(|&extent| u64::from(extent)).product();
        if threads == 0 || threads > MOST_THREADS {
            let [x, y, z] = block;
            let message = format!("kernel {}: a block of {x} x {y} x {z} threads cannot run. Use 1 to {MOST_THREADS}.", self.name);
            return Err(Error::new(Code::Refused, message));
        }
        let device = &self.module.0.device;
        self.reserve_shared(shared)?;
        let mut places: Vec<*mut c_void> = arguments.iter().map(Argument::place).collect();
        device.remember_kernel(&self.name);
        let ([gx, gy, gz], [bx, by, bz], on) = (grid, block, device.raw(stream));
        device.run("cuLaunchKernel", |calls| {
            // SAFETY: the caller's promise; the driver copies the arguments before it returns.
            unsafe { (calls.cuLaunchKernel)(self.raw, gx, gy, gz, bx, by, bz, shared, on, places.as_mut_ptr(), ptr::null_mut()) }
        })
    }

    fn reserve_shared(&self, bytes: u32) -> Result<(), Error> {
        if bytes <= self.shared.load(Relaxed) {
            return Ok(());
        }
        let device = &self.module.0.device;
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let value = i32::try_from(bytes).unwrap_or(i32::MAX);
        // SAFETY: the function lives as long as its module.
        let status = device.status(|calls| unsafe { (calls.cuFuncSetAttribute)(self.raw, attribute, value) })?;
        if status != SUCCESS {
            return Err(device.error("cuFuncSetAttribute", status));
        }
        self.shared.store(bytes, Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_pointed_to_each_argument() {
        let structure = [1u8, 2, 3];
        let (pointer, number, real) = (Argument::Pointer(1 << 40), Argument::I32(-7), Argument::F64(0.5));
        // SAFETY: the places are those of the values above, which live.
        unsafe {
            assert_eq!(*pointer.place().cast::<u64>(), 1 << 40);
            assert_eq!(*number.place().cast::<i32>(), -7);
            assert_eq!(*real.place().cast::<f64>(), 0.5);
            assert_eq!(*Argument::Structure(&structure).place().cast::<[u8; 3]>(), structure);
        }
    }
}
