//! From an operation to a launch: arguments are held against the table of kernels, and the geometry follows from extents alone.

use crate::accelerator::{Accelerator, STREAM, told};
use cuda::Argument as Raw;
use kernels::cuda::{AttentionShape, Parameter, Walk};
use kernels::layout::Layout;
use std::sync::atomic::Ordering::Relaxed;

/// What a kernel is given, in the order of its parameters.
pub enum Argument {
    U32(u32),
    U64(u64),
    F32(f32),
    F64(f64),
    /// A number of the kernel's own wide type, as its bytes.
    Wide([u8; 8]),
    /// A [`Walk`], as its bytes.
    Walk(Box<[u8; Walk::BYTES]>),
    /// An [`AttentionShape`], as its bytes.
    Shape(Box<[u8; AttentionShape::BYTES]>),
    /// Memory of the device; 0 for none.
    Memory(u64),
}

impl Argument {
    /// Extents and places are whole numbers of the host.
    pub fn count(number: usize) -> Argument {
        Argument::U64(number as u64)
    }

    /// How a kernel walks through the operands of a layout.
    pub fn walk<const N: usize>(layout: &Layout<N>) -> Argument {
        Argument::Walk(Box::new(Walk::of(layout).to_bytes()))
    }

    /// What all kernels of an attention are told.
    pub fn shape(shape: &AttentionShape) -> Argument {
        Argument::Shape(Box::new(shape.to_bytes()))
    }

    fn raw(&self) -> Raw<'_> {
        match self {
            &Argument::U32(value) => Raw::U32(value),
            &Argument::U64(value) => Raw::U64(value),
            &Argument::F32(value) => Raw::F32(value),
            &Argument::F64(value) => Raw::F64(value),
            Argument::Wide(bytes) => Raw::Structure(bytes),
            Argument::Walk(bytes) => Raw::Structure(&**bytes),
            Argument::Shape(bytes) => Raw::Structure(&**bytes),
            &Argument::Memory(address) => Raw::Pointer(address),
        }
    }

    fn fits(&self, parameter: Parameter) -> bool {
        match self {
            Argument::U32(_) => parameter == Parameter::U32,
            Argument::U64(_) => parameter == Parameter::U64,
            Argument::F32(_) => parameter == Parameter::F32,
            Argument::F64(_) => parameter == Parameter::F64,
            Argument::Wide(_) => parameter == Parameter::Wide,
            Argument::Walk(_) => parameter == Parameter::Walk,
            Argument::Shape(_) => parameter == Parameter::Shape,
            Argument::Memory(_) => matches!(parameter, Parameter::In | Parameter::Out),
        }
    }
}

/// A kernel and what it is launched with.
pub struct Call<'a> {
    pub unit: &'static str,
    pub variant: &'a str,
    pub kernel: &'static str,
    /// What the kernel's geometry asks for.
    pub extents: &'a [usize],
    pub arguments: &'a [Argument],
}

impl Accelerator {
    /// Asks the compute stream for a kernel; one without elements asks for nothing.
    ///
    /// What the arguments point to are spans that the caller holds: blocks are freed in the order of the same stream, hence after it.
    pub(crate) fn launch(&self, call: &Call) -> Result<(), String> {
        let Call { unit, variant, kernel, extents, arguments } = *call;
        let loaded = self.loaded(unit, variant)?;
        let (listed, kernel) = loaded.kernel(kernel)?;
        let extents: Vec<u64> = extents.iter().map(|&extent| extent as u64).collect();
        let fits = arguments.len() == listed.parameters.len() && extents.len() == listed.extents.len();
        if !fits || !arguments.iter().zip(listed.parameters).all(|(argument, (_, parameter))| argument.fits(*parameter)) {
            return Err(format!("kernel {}: the arguments are not those of its list. Please report it.", listed.name));
        }
        let geometry = (listed.geometry)(&extents, loaded.variant)?;
        if geometry.grid == 0 {
            return Ok(());
        }
        let raw: Vec<Raw> = arguments.iter().map(Argument::raw).collect();
        let launch = cuda::Launch { grid: [geometry.grid, 1, 1], block: [geometry.block, 1, 1], shared: geometry.shared };
        // SAFETY: the arguments are those of the kernel's parameter list, and the callers' spans keep what they point to.
        unsafe { kernel.launch(STREAM, launch, &raw) }.map_err(told)?;
        self.launches.fetch_add(1, Relaxed);
        Ok(())
    }
}
