//! A unit of kernels on a device, in one of its variants.

use crate::accelerator::told;
use cuda::{Compiler, Device, Kernel, Module, Source};
use kernels::cuda::{OPTIONS, Unit, Variant};

/// Kernels that were compiled together, each beside its place in the table.
pub struct Loaded {
    pub variant: &'static Variant,
    kernels: Vec<(&'static kernels::cuda::Kernel, Kernel)>,
}

impl Loaded {
    pub fn new(device: &Device, compiler: &Compiler, unit: &'static Unit, variant: &'static Variant) -> Result<Loaded, String> {
        let (major, minor) = device.report().compute_capability;
        if 10 * major + minor < unit.min_arch {
            let least = (unit.min_arch / 10, unit.min_arch % 10);
            return Err(format!(
                "kernels {}: the device has compute capability {major}.{minor}, and {}.{} is needed. Use a newer one.",
                unit.name, least.0, least.1
            ));
        }
        let (name, text) = (format!("{}-{}", unit.name, variant.name), unit.source());
        let options: Vec<&str> = OPTIONS.iter().chain(variant.options).copied().collect();
        let compiled = compiler.compile(Source { name: &name, text: &text, options: &options }).map_err(told)?;
        let module = Module::load(device, &compiled.cubin).map_err(told)?;
        let find = |kernel: &'static kernels::cuda::Kernel| Ok((kernel, module.kernel(kernel.name).map_err(told)?));
        Ok(Loaded { variant, kernels: unit.kernels.iter().map(find).collect::<Result<_, String>>()? })
    }

    /// A kernel with its place in the table.
    pub fn kernel(&self, name: &str) -> Result<&(&'static kernels::cuda::Kernel, Kernel), String> {
        let found = self.kernels.iter().find(|(kernel, _)| kernel.name == name);
        found.ok_or_else(|| format!("kernel {name} is not among those of its unit. Please report it."))
    }
}
