//! Writes the CUDA text of every unit in every variant into a folder, with `index.tsv` beside: file, unit, variant, options, least
//! compute capability, kernels.
//!
//!     cargo run -p megatron-kernels --example cuda_sources -- build/cuda-sources

use megatron_kernels::cuda::OPTIONS;
use megatron_kernels::cuda::table::UNITS;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args().nth(1).map(PathBuf::from) else {
        eprintln!("cuda_sources: no folder is named. Give one.");
        std::process::exit(2);
    };
    std::fs::create_dir_all(&folder)?;
    let mut index = String::new();
    for unit in UNITS {
        let file = format!("{}.cu", unit.name);
        std::fs::write(folder.join(&file), unit.source())?;
        let kernels = unit.kernels.iter().map(|kernel| kernel.name).collect::<Vec<_>>().join(" ");
        for variant in unit.variants {
            let options = [&OPTIONS, variant.options].concat().join(" ");
            index += &[&file, unit.name, variant.name, &options, &unit.min_arch.to_string(), &kernels].map(String::from).join("\t");
            index.push('\n');
        }
    }
    std::fs::write(folder.join("index.tsv"), index)
}
