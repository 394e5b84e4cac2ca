//! How a table reaches VMs that are no longer configured.
//!
//! An update of a WasmPlugin creates new VMs. Open connections stay in the old VM, which never
//! receives the new configuration. proxy-wasm's *shared data* is one map for all VMs of a process
//! with the same `vm_id`. A VM that is configured stores the configuration there, and every VM
//! checks for a new one in its ticks.
//!
//! Each scope has one key. Its value holds everything: the version of the current configuration,
//! the versions that it replaced and when, and the configuration itself. So version and content
//! always belong together. The value is written only by compare-and-swap. If two workers write at
//! the same time, one of them fails, reads again, and decides anew.
//!
//! # Which of two tables is newer
//!
//! The one with the higher generation. A lower generation, or an equal one with other content,
//! means one of two things:
//!
//! - A worker is late. Workers are configured one after the other, and this one receives what the
//!   others had before. Its version is among the replaced ones, so it takes the current one
//!   instead.
//! - The controller has lost its state, and its clock went back. Its version is new and is
//!   accepted: otherwise the gateway would keep the old table until the clock had caught up. The
//!   same goes for a version that was replaced more than [`LATE`] ago, as after restoring a backup:
//!   no worker is that late.
//!
//! A worker may be so late that its versions have been forgotten. It then briefly puts them in
//! force, until it receives the newest, which has the highest generation and wins.

use super::host::{CREATE, Host, SharedValue};
use crate::configuration::{Configuration, generation_of};
use crate::host::Status;
use std::time::Duration;

/// The maximum number of replaced versions to remember.
const REPLACED: usize = 64;
/// How long to remember a replaced version.
pub const LATE: Duration = Duration::from_secs(120);
/// How often to retry a write that another VM pre-empted. Each such VM is then at least as up to
/// date as this one.
const ATTEMPTS: usize = 64;

/// The result of offering a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    /// It is now the current one.
    New,
    /// It already was the current one.
    Current,
    /// It had been replaced before this VM received it.
    Replaced,
    /// The proxy did not store it.
    Failed,
}

/// The key of the data that the VMs of a scope share.
pub fn key(scope: &str) -> String {
    format!("fedgate.table.{scope}")
}

/// The data stored for a scope.
#[derive(Debug)]
pub(crate) struct Stored {
    value: SharedValue,
    /// Where the configuration begins: after the first empty line.
    json_at: usize,
}

impl Stored {
    /// `None` for data of another form.
    fn parse(value: SharedValue) -> Option<Self> {
        let head = value.bytes.windows(2).position(|two| two == b"\n\n")?;
        Some(Self { value, json_at: head + 2 })
    }

    /// The proxy's number for this value, unique among the scope's values.
    pub(crate) fn cas(&self) -> u32 {
        self.value.cas
    }

    /// The version of the current configuration.
    pub(crate) fn version(&self) -> &str {
        self.lines().next().unwrap_or_default()
    }

    /// The current configuration as its VM received it. VMs store only what they have checked.
    pub(crate) fn json(&self) -> &[u8] {
        self.value.bytes.get(self.json_at..).unwrap_or_default()
    }

    /// The current configuration, if it has the stated version. It is not checked again, so that a
    /// large table does not hold up a worker. Only another plugin with our `vm_id` could store one
    /// that was not checked, and that plugin could as well store a valid table of its own.
    pub(crate) fn configuration(&self) -> Option<Configuration> {
        let configuration = Configuration::read_checked(self.json()).ok()?;
        (configuration.version == self.version()).then_some(configuration)
    }

    /// The current version, then one line per replaced version: the second at which it was
    /// replaced, and the version.
    fn lines(&self) -> std::str::Lines<'_> {
        let head = self.value.bytes.get(..self.json_at).unwrap_or_default();
        std::str::from_utf8(head).unwrap_or_default().trim_end().lines()
    }

    fn replaced(&self, now: Duration) -> impl Iterator<Item = (u64, &str)> {
        let entry = |line: &'_ str| line.split_once(' ').and_then(|(at, _)| at.parse().ok());
        let fresh = move |at: &u64| now.as_secs().abs_diff(*at) < LATE.as_secs();
        self.lines().skip(1).filter_map(move |line| {
            let at = entry(line).filter(fresh)?;
            Some((at, line.split_once(' ')?.1))
        })
    }

    /// Returns true if `offered` comes from a late worker.
    fn has_replaced(&self, offered: &Configuration, now: Duration) -> bool {
        let generation = offered.table.generation();
        let newer = generation_of(self.version()).is_none_or(|current| generation > current);
        // A change of options alone does not make a table outdated.
        let same_table = self.version().starts_with(&offered.table_version());
        !newer && !same_table && self.replaced(now).any(|(_, version)| version == offered.version)
    }
}

/// A look at the data of a scope. Each one copies the configuration, which may be large, in the
/// proxy and into the VM, while the worker's connections wait. So a look is handed on, and not
/// repeated.
#[derive(Debug)]
pub(crate) struct Found {
    cas: u32,
    pub(crate) stored: Option<Stored>,
}

impl Found {
    pub(crate) fn look(host: &impl Host, scope: &str) -> Self {
        let value = host.shared_data(&key(scope));
        let cas = value.as_ref().map_or(CREATE, |value| value.cas);
        Self { cas, stored: value.and_then(Stored::parse) }
    }
}

/// Publishes a valid configuration to all VMs, unless they already have it or a later one. `found`
/// is what the scope's data was a moment ago.
pub(crate) fn publish(
    host: &impl Host,
    scope: &str,
    mut found: Found,
    configuration: &Configuration,
    json: &[u8],
) -> Published {
    let now = host.now();
    for _ in 0..ATTEMPTS {
        match &found.stored {
            Some(stored) if stored.version() == configuration.version => return Published::Current,
            Some(stored) if stored.has_replaced(configuration, now) => return Published::Replaced,
            _ => {}
        }
        let value = value(found.stored.as_ref(), &configuration.version, json, now);
        match host.set_shared_data(&key(scope), &value, found.cas) {
            Ok(()) => return Published::New,
            Err(Status::CAS_MISMATCH) => found = Found::look(host, scope),
            Err(_) => return Published::Failed,
        }
    }
    Published::Failed
}

fn value(before: Option<&Stored>, version: &str, json: &[u8], now: Duration) -> Vec<u8> {
    let mut head = format!("{version}\n");
    let current = before.map(|stored| (now.as_secs(), stored.version()));
    let replaced = before.into_iter().flat_map(|stored| stored.replaced(now));
    let others = current.into_iter().chain(replaced).filter(|(_, replaced)| *replaced != version);
    for (at, version) in others.take(REPLACED) {
        head.push_str(&format!("{at} {version}\n"));
    }
    head.push('\n');
    let mut value = head.into_bytes();
    value.extend_from_slice(json);
    value
}
