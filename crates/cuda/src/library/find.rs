//! The search itself: what is found first and will do is taken; where nothing will do, the first that would not is reported.

use super::open::{Refusal, Shared};
use super::places::{Environment, Place, places};
use super::report::{LibraryReport, LibraryState};
use super::specification::{Kind, ORDER, Specification, specification};
use super::version::Version;
use std::path::PathBuf;

/// All libraries: a report of each, and those that are open.
pub(crate) struct Scan {
    pub reports: Vec<LibraryReport>,
    open: Vec<(Kind, Shared)>,
}

impl Scan {
    /// A library that was found.
    pub fn get(&self, kind: Kind) -> Option<&Shared> {
        self.open.iter().find(|(found, _)| *found == kind).map(|(_, shared)| shared)
    }

    /// A library with its version, or why it was not found.
    pub fn with_version(&self, kind: Kind) -> Result<(&Shared, Version), String> {
        let report = ORDER.iter().zip(&self.reports).find_map(|(&other, report)| (other == kind).then_some(report));
        match (self.get(kind), report.map(|report| &report.state)) {
            (Some(shared), Some(LibraryState::Found { version, .. })) => Ok((shared, *version)),
            _ => Err(report.and_then(LibraryReport::refusal).unwrap_or_default()),
        }
    }

    /// The sentence about the first library that is needed and was not found.
    pub fn refusal(&self) -> Option<String> {
        self.reports.iter().filter(|report| report.is_needed).find_map(LibraryReport::refusal)
    }
}

/// Looks for all libraries and opens those that will do.
pub(crate) fn scan(environment: &Environment) -> Scan {
    let mut found = Scan { reports: Vec::new(), open: Vec::new() };
    let places = if cfg!(target_os = "linux") { places(environment) } else { Vec::new() };
    let mut nvrtc = None;
    for kind in ORDER {
        let wanted = specification(kind, nvrtc);
        let beside = found.get(Kind::Nvrtc).and_then(|shared| shared.path.parent()).filter(|_| kind == Kind::NvrtcBuiltins);
        let first = beside.map(|folder| Place::Folder(folder.to_owned()));
        let all: Vec<Place> = first.into_iter().chain(places.iter().cloned()).collect();
        let (state, shared) = find(&wanted, &all);
        if let (Kind::Nvrtc, LibraryState::Found { version, .. }) = (kind, &state) {
            nvrtc = Some(*version);
        }
        found.open.extend(shared.map(|shared| (kind, shared)));
        let Specification { name, least, is_needed, remedy, .. } = wanted;
        found.reports.push(LibraryReport { name, file: wanted.file(), is_needed, least, state, remedy });
    }
    found
}

fn find(wanted: &Specification, places: &[Place]) -> (LibraryState, Option<Shared>) {
    let mut unfit = None;
    for place in places {
        match look(wanted, place) {
            None => {}
            Some((state, Some(shared))) => return (state, Some(shared)),
            Some((state, None)) if matches!(place, Place::Named(_)) => return (state, None),
            Some((state, None)) => unfit = unfit.or(Some(state)),
        }
    }
    let unfit = unfit.or_else(|| places.iter().find_map(|place| other_major(wanted, place)));
    (unfit.unwrap_or_else(|| LibraryState::Missing { tried: places.iter().map(Place::describe).collect() }), None)
}

/// What lies in one place; None when nothing does.
fn look(wanted: &Specification, place: &Place) -> Option<(LibraryState, Option<Shared>)> {
    let file = wanted.file();
    let opened = match place {
        Place::Loader => Shared::named(&file),
        Place::Named(folder) | Place::Folder(folder) => Shared::at(&folder.join(&file)),
    };
    let shared = match (opened, place) {
        (Ok(shared), _) => shared,
        (Err(Refusal::NotThere), Place::Named(_)) => return other_major(wanted, place).map(|state| (state, None)),
        (Err(Refusal::NotThere), _) => return None,
        (Err(Refusal::Broken(reason)), Place::Loader) => return Some((LibraryState::Unusable { path: file.into(), reason }, None)),
        (Err(Refusal::Broken(reason)), Place::Named(folder) | Place::Folder(folder)) => {
            return Some((LibraryState::Unusable { path: folder.join(file), reason }, None));
        }
    };
    let path = shared.path.clone();
    let state = match wanted.version.ask(&shared) {
        Err(reason) => LibraryState::Unusable { path, reason },
        Ok(version) => judge(wanted, version, path),
    };
    if let LibraryState::Found { .. } = state {
        return Some((state, Some(shared)));
    }
    shared.close();
    Some((state, None))
}

fn judge(wanted: &Specification, version: Version, path: PathBuf) -> LibraryState {
    if version < wanted.least {
        return LibraryState::TooOld { path, version };
    }
    // A newer driver serves programs of an older CUDA; the other libraries do not.
    if version.major != wanted.least.major && wanted.kind != Kind::Driver {
        return LibraryState::WrongMajor { path };
    }
    LibraryState::Found { path, version }
}

/// A library of another major version in this place.
fn other_major(wanted: &Specification, place: &Place) -> Option<LibraryState> {
    wanted.others.iter().find_map(|suffix| {
        let file = format!("{}.{suffix}", wanted.stem);
        let path = match place {
            Place::Loader => {
                let shared = Shared::named(&file).ok()?;
                let path = shared.path.clone();
                shared.close();
                path
            }
            Place::Named(folder) | Place::Folder(folder) => Some(folder.join(&file)).filter(|path| path.is_file())?,
        };
        Some(LibraryState::WrongMajor { path })
    })
}
