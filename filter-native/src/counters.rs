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

/// All names that were ever defined. A name's position is its number in the process.
static NAMES: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// The counters of one configuration: a number of the process to one of Envoy's.
#[derive(Debug, Default)]
pub(crate) struct Counters(BTreeMap<u32, usize>);

impl Counters {
    pub(crate) fn define(loading: &Loading, configuration: Option<&Configuration>) -> Self {
        let names = counters(configuration).into_iter();
        let defined =
            names.filter_map(|name| Some((number_of(&name)?, loading.define_counter(&name)?)));
        Self(defined.collect())
    }

    /// Envoy's number for a counter. A counter for a peer that came with a later configuration does
    /// not exist in an earlier one.
    pub(crate) fn get(&self, number: u32) -> Option<usize> {
        self.0.get(&number).copied()
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
