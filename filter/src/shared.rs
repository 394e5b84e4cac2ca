//! How a table reaches the VMs that are no longer configured.
//!
//! An update of a WasmPlugin makes new VMs; connections that are open stay in the old one, which never hears of the new
//! configuration. proxy-wasm's *shared data* is one map for all VMs of a process that have the same `vm_id`: whoever is
//! configured stores the configuration there, and every VM looks for another one in its ticks.
//!
//! Each scope has one key, and one value holds everything: the version of the current configuration, the versions that
//! it has replaced with the time of that, and the configuration itself. So version and content always belong together.
//! The value is written by compare-and-swap only: of two workers that write at the same time one finds that it was too
//! late, reads again, and decides anew.
//!
//! # Which of two tables is newer
//!
//! The higher generation. A lower one (or an equal one with another content) is one of two things:
//!
//! - A worker is late. Workers are configured one after the other, and this one is given what the others have had. Its
//!   version is among the replaced ones, and it takes the current one instead.
//! - The controller has lost its state, and its clock went back. Its version is new, and is taken: a gateway that refused
//!   it would keep the old table until the clock had caught up. The same goes for a version that was replaced more than
//!   [`LATE`] ago, as after a restored backup: no worker is that late.
//!
//! Should a worker be so late that its versions are forgotten, it puts them in force for a moment, and then comes to the
//! newest, which has the highest generation and wins.

use crate::configuration::{Configuration, generation_of};
use crate::host::{CREATE, Host, SharedValue, Status};
use std::time::Duration;

/// How many replaced versions are remembered.
const REPLACED: usize = 64;
/// How long a replaced version is remembered.
pub const LATE: Duration = Duration::from_secs(120);
/// How often a write is tried anew because another VM was faster. Each of them is then at least as far as this one.
const ATTEMPTS: usize = 64;

/// What became of a configuration that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    /// It is the current one from now on.
    New,
    /// It is the current one already.
    Current,
    /// It had been replaced before this VM was configured with it.
    Replaced,
    /// The proxy does not store it.
    Failed,
}

/// The key of what the VMs of a scope share.
pub fn key(scope: &str) -> String {
    format!("fedgate.table.{scope}")
}

/// What is stored for a scope.
#[derive(Debug)]
pub(crate) struct Stored {
    value: SharedValue,
    /// Where the configuration begins: after the first empty line.
    json_at: usize,
}

impl Stored {
    /// Reads it; `None` when there is nothing, or nothing of this form.
    pub(crate) fn read(host: &impl Host, scope: &str) -> Option<Self> {
        let value = host.shared_data(&key(scope))?;
        Self::parse(value)
    }

    fn parse(value: SharedValue) -> Option<Self> {
        let head = value.bytes.windows(2).position(|two| two == b"\n\n")?;
        Some(Self { value, json_at: head + 2 })
    }

    /// The proxy's number of this value. Another value has another one.
    pub(crate) fn cas(&self) -> u32 {
        self.value.cas
    }

    /// The version of the current configuration.
    pub(crate) fn version(&self) -> &str {
        self.lines().next().unwrap_or_default()
    }

    /// The current configuration, if it is good and of the version that it is said to be.
    pub(crate) fn configuration(&self) -> Option<Configuration> {
        let configuration = Configuration::read(self.value.bytes.get(self.json_at..)?).ok()?;
        (configuration.version == self.version()).then_some(configuration)
    }

    /// The current version, then a line for each that was replaced: the second of that, and the version.
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

    /// Whether `offered` is what a worker that is late comes with.
    fn has_replaced(&self, offered: &Configuration, now: Duration) -> bool {
        let generation = offered.table.generation();
        let newer = generation_of(self.version()).is_none_or(|current| generation > current);
        // Other options for the same table are no other table.
        let same_table = self.version().starts_with(&offered.table_version());
        !newer && !same_table && self.replaced(now).any(|(_, version)| version == offered.version)
    }
}

/// Makes a good configuration known to all VMs, unless they know it or a later one.
pub(crate) fn publish(host: &impl Host, scope: &str, configuration: &Configuration, json: &[u8]) -> Published {
    let now = host.now();
    for _ in 0..ATTEMPTS {
        let found = host.shared_data(&key(scope));
        let cas = found.as_ref().map_or(CREATE, |value| value.cas);
        let stored = found.and_then(Stored::parse);
        match &stored {
            Some(stored) if stored.version() == configuration.version => return Published::Current,
            Some(stored) if stored.has_replaced(configuration, now) => return Published::Replaced,
            _ => {}
        }
        let value = value(stored.as_ref(), &configuration.version, json, now);
        match host.set_shared_data(&key(scope), &value, cas) {
            Ok(()) => return Published::New,
            Err(Status::CAS_MISMATCH) => {}
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
