//! The kernels' CUDA text as data: what there is, how each text is compiled and how each kernel is launched. Nothing here needs CUDA.
//!
//! A unit is a text that is compiled as a whole, once for each of its variants; `table` lists them. `index` says in Rust which
//! elements a thread has, as the text does.

mod arguments;
pub mod geometry;
pub mod index;
pub mod table;
#[cfg(test)]
mod tests;

pub use arguments::{AttentionShape, Walk};
pub use geometry::Launch;

/// What every text begins with.
pub const PRELUDE: &str = include_str!("prelude.cuh");

/// Options of every compilation: products are contracted only where the text says so, and nothing is approximate.
pub const OPTIONS: [&str; 2] = ["--std=c++17", "--fmad=false"];

/// What a kernel takes, in the order of its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    U32,
    U64,
    F32,
    F64,
    /// A number in what the element type is computed in: f32 for the floats up to 32 bits, else the type itself.
    Wide,
    /// A [`Walk`].
    Walk,
    /// An [`AttentionShape`].
    Shape,
    /// Memory that is only read.
    In,
    /// Memory that is written.
    Out,
}

/// One kernel of a unit.
#[derive(Debug)]
pub struct Kernel {
    pub name: &'static str,
    pub parameters: &'static [(&'static str, Parameter)],
    /// What `geometry` asks for, in order.
    pub extents: &'static [&'static str],
    pub geometry: fn(extents: &[u64], variant: &Variant) -> Result<Launch, String>,
}

/// One way to compile a unit.
#[derive(Debug)]
pub struct Variant {
    /// Of the element type, and of what else differs.
    pub name: &'static str,
    pub options: &'static [&'static str],
    /// Elements in 16 bytes.
    pub width: u64,
    /// The most channels of a head; 0 where there are no heads.
    pub head: u64,
}

/// A text that is compiled as a whole.
#[derive(Debug)]
pub struct Unit {
    pub name: &'static str,
    /// The folder of its op.
    pub op: &'static str,
    /// What follows the prelude.
    pub texts: &'static [&'static str],
    pub variants: &'static [Variant],
    pub kernels: &'static [Kernel],
    /// The least compute capability, as 10 major + minor.
    pub min_arch: u32,
}

impl Unit {
    /// The whole text.
    pub fn source(&self) -> String {
        std::iter::once(&PRELUDE).chain(self.texts).copied().collect::<Vec<_>>().join("\n")
    }

    /// The variant of this name.
    pub fn variant(&self, name: &str) -> Option<&'static Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }

    /// The kernel of this name.
    pub fn kernel(&self, name: &str) -> Option<&'static Kernel> {
        self.kernels.iter().find(|kernel| kernel.name == name)
    }
}

/// The unit of this name.
pub fn unit(name: &str) -> Option<&'static Unit> {
    table::UNITS.iter().find(|unit| unit.name == name)
}
