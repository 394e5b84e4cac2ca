//! Envoy's numbers for the metrics.
//!
//! Envoy numbers the metrics of each configuration, and takes new ones only while it loads the
//! configuration. So all counters are defined then. A connection counts in those of its own
//! configuration; the same name is the same counter, whatever the configuration.

use crate::abi::Loading;
use fedgate_filter::Configuration;
use fedgate_filter::metrics::counters;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// All names that were ever defined, each with its number in the process.
static NAMES: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// The counters of one configuration: Envoy's numbers, by number in the process.
#[derive(Debug, Default)]
pub(crate) struct Counters(Vec<Option<usize>>);

impl Counters {
    pub(crate) fn define(loading: &Loading, configuration: Option<&Configuration>) -> Self {
        let mut numbers = Vec::new();
        for name in counters(configuration) {
            let Some(number) = number_of(&name).and_then(|number| usize::try_from(number).ok())
            else {
                continue;
            };
            numbers.resize(numbers.len().max(number.saturating_add(1)), None);
            if let Some(slot) = numbers.get_mut(number) {
                *slot = loading.define_counter(&name);
            }
        }
        Self(numbers)
    }

    /// Envoy's number for a counter. A counter for a peer that came with a later configuration does
    /// not exist in an earlier one.
    pub(crate) fn get(&self, number: u32) -> Option<usize> {
        self.0.get(usize::try_from(number).ok()?).copied().flatten()
    }
}

/// The number of a name in this process.
pub(crate) fn number_of(name: &str) -> Option<u32> {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&number) = names.get(name) {
        return Some(number);
    }
    let number = u32::try_from(names.len()).ok()?;
    names.insert(name.to_owned(), number);
    Some(number)
}
