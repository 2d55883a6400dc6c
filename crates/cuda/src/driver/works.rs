//! The works of a device that nobody has waited for yet.

use super::device::Device;
use crate::error::{Code, Error};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Numbers and names of works under way.
#[derive(Default)]
pub(crate) struct Works(Mutex<(u64, BTreeMap<u64, &'static str>)>);

impl Works {
    fn held(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, &'static str>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, name: &'static str) -> u64 {
        let (last, open) = &mut *self.held();
        *last += 1;
        open.insert(*last, name);
        *last
    }

    pub fn end(&self, number: u64) {
        self.held().1.remove(&number);
    }
}

impl Device {
    /// An error that names the works for which nobody has waited since the last step, if there are any: what they computed was used too
    /// early, or never.
    pub fn end_step(&self) -> Result<(), Error> {
        let open = std::mem::take(&mut self.works().held().1);
        let names: Vec<&str> = open.into_values().collect();
        if names.is_empty() {
            return Ok(());
        }
        let which = if names.len() == 1 { "work was begun" } else { "works were begun" };
        let message = format!(
            "device {}: {} {which} in this step and nobody has waited: {}. Wait for each.",
            self.report().index,
            names.len(),
            names.join(", ")
        );
        Err(Error::new(Code::Refused, message))
    }
}
