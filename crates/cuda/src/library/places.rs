//! Where libraries are looked for, in this order: the folders of `MEGATRON_CUDA_LIBS`, the loader's own path, CUDA's own folder, and
//! what pip puts under the site-packages of each Python that the environment names.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The variable whose folders come first; a library that lies in one of them decides, whether it will do or not.
pub(crate) const VARIABLE: &str = "MEGATRON_CUDA_LIBS";

/// Folders under site-packages: those of CUDA 13, then those of CUDA 12, where only the wrong libraries are.
const IN_SITE_PACKAGES: [&str; 5] =
    ["nvidia/cu13/lib", "nvidia/cudnn/lib", "nvidia/nccl/lib", "nvidia/cuda_nvrtc/lib", "nvidia/cublas/lib"];

/// The variables that decide where to look.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: HashMap<String, String>,
    /// Whether the system's loader is asked as well.
    asks_loader: bool,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Environment {
        let readable = env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Environment { variables: readable.collect(), asks_loader: true }
    }

    /// These variables alone; the loader's own path is left out.
    pub fn only(variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Environment { variables, asks_loader: false }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// One place to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A folder that the user named for this.
    Named(PathBuf),
    /// The loader's own path.
    Loader,
    /// A folder that follows from the environment.
    Folder(PathBuf),
}

impl Place {
    pub fn describe(&self) -> String {
        match self {
            Place::Loader => "the loader's own path".into(),
            Place::Named(folder) | Place::Folder(folder) => folder.display().to_string(),
        }
    }
}

/// All places of an environment, best first, each once.
pub(crate) fn places(environment: &Environment) -> Vec<Place> {
    let mut found: Vec<Place> = folders(environment, VARIABLE).map(Place::Named).collect();
    if environment.asks_loader {
        found.push(Place::Loader);
    }
    let cuda = ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(|name| environment.get(name)).map(|top| Path::new(top).join("lib64"));
    let wheels = site_packages(environment).into_iter().flat_map(|site| IN_SITE_PACKAGES.map(|folder| site.join(folder)));
    for folder in cuda.chain(wheels) {
        let place = Place::Folder(folder);
        if !found.contains(&place) {
            found.push(place);
        }
    }
    found
}

fn folders<'a>(environment: &'a Environment, name: &str) -> impl Iterator<Item = PathBuf> + use<'a> {
    let list = environment.get(name).unwrap_or_default();
    env::split_paths(list).filter(|folder| !folder.as_os_str().is_empty())
}

/// The site-packages of the Pythons that the environment names.
fn site_packages(environment: &Environment) -> Vec<PathBuf> {
    // The interpreter of a virtual environment is a link to another one: its path is taken as it is written.
    let python = environment.get("MEGATRON_PYTHON").and_then(|path| Path::new(path).parent()?.parent());
    let tops = ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(|name| environment.get(name)).map(Path::new);
    let mut sites: Vec<PathBuf> = python.into_iter().chain(tops).flat_map(sites_below).collect();
    sites.extend(folders(environment, "PYTHONPATH"));
    sites
}

/// `lib/python3.x/site-packages` below the folder of a Python.
fn sites_below(top: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(top.join("lib")).into_iter().flatten().flatten();
    let mut pythons: Vec<PathBuf> =
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("python3")).map(|entry| entry.path()).collect();
    pythons.sort();
    pythons.into_iter().map(|python| python.join("site-packages")).filter(|site| site.is_dir()).collect()
}
