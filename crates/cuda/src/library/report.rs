//! What became of the search for a library.

use super::places::VARIABLE;
use super::version::Version;
use std::path::PathBuf;

/// One library, found or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryReport {
    /// As people call it.
    pub name: &'static str,
    /// Its file.
    pub file: String,
    /// Whether nothing runs on a device without it.
    pub is_needed: bool,
    /// The oldest version that will do.
    pub least: Version,
    pub state: LibraryState,
    pub(crate) remedy: &'static str,
}

/// What became of the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LibraryState {
    Found {
        path: PathBuf,
        version: Version,
    },
    /// In none of these places.
    Missing {
        tried: Vec<String>,
    },
    /// Only one of another major version is there.
    WrongMajor {
        path: PathBuf,
    },
    TooOld {
        path: PathBuf,
        version: Version,
    },
    /// The loader refuses it, or it is not what its name says.
    Unusable {
        path: PathBuf,
        reason: String,
    },
}

impl LibraryReport {
    /// What is wrong and what to do; None when it was found.
    pub fn refusal(&self) -> Option<String> {
        let LibraryReport { name, file, least, remedy, .. } = self;
        let remedy = format!("{remedy}, or name its folder in {VARIABLE}.");
        Some(match &self.state {
            LibraryState::Found { .. } => return None,
            LibraryState::Missing { tried } if tried.is_empty() => format!("{name}: {file} is looked for on Linux only. Use device cpu."),
            LibraryState::Missing { tried } => format!("{name}: {file} was not found in {}. {remedy}", tried.join(", ")),
            LibraryState::WrongMajor { path } => {
                format!("{name}: {} is of another major version than {}. {remedy}", path.display(), least.major)
            }
            LibraryState::TooOld { path, version } => {
                format!("{name}: version {version} of {} is older than {least}. {remedy}", path.display())
            }
            LibraryState::Unusable { path, reason } => format!("{name}: {} cannot be used ({reason}). {remedy}", path.display()),
        })
    }
}
