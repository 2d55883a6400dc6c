//! Versions of libraries, and the functions that tell them.

use super::open::Shared;
use std::ffi::c_int;
use std::fmt;

/// A version; libraries that tell no patch level have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: Option<u32>,
}

impl Version {
    pub(crate) const fn new(major: u32, minor: u32) -> Version {
        Version { major, minor, patch: None }
    }

    /// 12080 and 13000, as the driver counts.
    fn of_driver(number: c_int) -> Version {
        let number = number.unsigned_abs();
        Version::new(number / 1000, number % 1000 / 10)
    }

    /// 130100, 91900 and 22809, as the libraries count now; 8907 and 2708, as some once did.
    fn of_library(number: u32) -> Version {
        let (major, rest) = if number < 10_000 { (number / 1000, number % 1000) } else { (number / 10_000, number % 10_000) };
        Version { major, minor: rest / 100, patch: Some(rest % 100) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)?;
        self.patch.map_or(Ok(()), |patch| write!(formatter, ".{patch}"))
    }
}

/// The function that tells a library's version.
#[derive(Clone, Copy)]
pub(crate) enum VersionCall {
    Driver,
    Nvrtc,
    /// The library has none; its file name carries this version.
    Named(Version),
    /// Returns the number.
    Returned(&'static str),
    /// Writes the number.
    Written(&'static str),
    /// Writes one of three numbers.
    Property(&'static str),
}

impl VersionCall {
    /// The version, or what is wrong with the library.
    pub fn ask(self, shared: &Shared) -> Result<Version, String> {
        match self {
            VersionCall::Named(version) => Ok(version),
            VersionCall::Driver => written(shared, "cuDriverGetVersion").map(Version::of_driver),
            VersionCall::Written(name) => written(shared, name).map(|number| Version::of_library(number.unsigned_abs())),
            VersionCall::Nvrtc => {
                let (mut major, mut minor) = (0, 0);
                // SAFETY: the function has this type, and writes two numbers.
                let status = unsafe {
                    let ask: unsafe extern "C" fn(*mut c_int, *mut c_int) -> u32 = shared.function("nvrtcVersion")?;
                    ask(&mut major, &mut minor)
                };
                answered("nvrtcVersion", status).map(|()| Version::new(major.unsigned_abs(), minor.unsigned_abs()))
            }
            VersionCall::Returned(name) => {
                // SAFETY: the function has this type.
                let number = unsafe {
                    let ask: unsafe extern "C" fn() -> usize = shared.function(name)?;
                    ask()
                };
                Ok(Version::of_library(u32::try_from(number).unwrap_or(0)))
            }
            VersionCall::Property(name) => {
                let numbers = [property(shared, name, 0)?, property(shared, name, 1)?, property(shared, name, 2)?];
                Ok(Version { major: numbers[0], minor: numbers[1], patch: Some(numbers[2]) })
            }
        }
    }
}

fn written(shared: &Shared, name: &str) -> Result<c_int, String> {
    let mut number = 0;
    // SAFETY: the function has this type, and writes one number.
    let status = unsafe {
        let ask: unsafe extern "C" fn(*mut c_int) -> u32 = shared.function(name)?;
        ask(&mut number)
    };
    answered(name, status).map(|()| number)
}

fn property(shared: &Shared, name: &str, which: u32) -> Result<u32, String> {
    let mut number: c_int = 0;
    // SAFETY: the function has this type, and writes one number.
    let status = unsafe {
        let ask: unsafe extern "C" fn(u32, *mut c_int) -> u32 = shared.function(name)?;
        ask(which, &mut number)
    };
    answered(name, status).map(|()| number.unsigned_abs())
}

fn answered(name: &str, status: u32) -> Result<(), String> {
    if status == 0 { Ok(()) } else { Err(format!("{name} fails with status {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_counting_is_read() {
        let texts = [Version::of_driver(12080), Version::of_driver(13000)].map(|version| version.to_string());
        assert_eq!(texts, ["12.8", "13.0"]);
        let texts = [130_100, 120_805, 91_900, 8907, 22_809, 2708].map(|number| Version::of_library(number).to_string());
        assert_eq!(texts, ["13.1.0", "12.8.5", "9.19.0", "8.9.7", "2.28.9", "2.7.8"]);
        assert!(Version::new(13, 0) < Version::of_library(130_000) && Version::of_library(22_809) < Version::new(2, 29));
    }
}
