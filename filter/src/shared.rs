//! How a table reaches the VMs that are no longer configured.
//!
//! An update of a WasmPlugin makes new VMs; connections that are open stay in the old one, which never hears of the new
//! configuration. proxy-wasm's *shared data* is one map for all VMs of a process that have the same `vm_id`: whoever is
//! configured stores the configuration there, and every VM looks for a newer one at each tick.
//!
//! Two keys for each scope. The small one has one line with the version of the current configuration, and below it the
//! last few that it has replaced. The large one has the configuration itself, as the plugin got it. The large one is
//! written first, and a reader adopts it only when it is, after all checks, the version that the small one names: a pair
//! of which only one half was written is never adopted.
//!
//! Workers are configured one after the other, so one of them can be late with a configuration that is replaced already.
//! It finds its version among the replaced ones and takes the current one instead of putting the old one back. A lower
//! generation alone doesn't make a configuration old: a controller that lost its state begins to count anew. (Hence one
//! rule for whoever writes configurations by hand: going back to an old table takes a new generation.)

use crate::configuration::{Configuration, generation_of};
use crate::host::Host;

/// How many replaced versions are remembered. A worker is late by one or two.
const REPLACED: usize = 8;

/// What became of a configuration that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    /// It is the current one, now or already.
    Current,
    /// It has been replaced before this VM was configured with it.
    Replaced,
}

/// The key of the version that is current in a scope, and of those that it has replaced.
pub fn version_key(scope: &str) -> String {
    format!("fedgate.table.{scope}.version")
}

/// The key of a scope's current configuration.
pub fn configuration_key(scope: &str) -> String {
    format!("fedgate.table.{scope}.configuration")
}

/// Makes a good configuration known to all VMs, unless they know it or a later one.
pub(crate) fn publish(host: &impl Host, scope: &str, configuration: &Configuration, json: &[u8]) -> Published {
    let known = versions(host, scope);
    let mut lines = known.lines();
    let current = lines.next().unwrap_or_default();
    if current == configuration.version {
        return Published::Current;
    }
    let older = generation_of(current).is_some_and(|current| configuration.table.generation() < current);
    if older && lines.any(|replaced| replaced == configuration.version) {
        return Published::Replaced;
    }
    let replaced = known.lines().filter(|&line| line != configuration.version).take(REPLACED);
    let lines: Vec<&str> = std::iter::once(configuration.version.as_str()).chain(replaced).collect();
    // A VM that cannot store still decides by its own configuration; the small key must not name what is not there.
    if host.set_shared_data(&configuration_key(scope), json).is_ok() {
        let _ = host.set_shared_data(&version_key(scope), lines.join("\n").as_bytes());
    }
    Published::Current
}

/// The version that is current for all VMs; empty when none is known.
pub(crate) fn current_version(host: &impl Host, scope: &str) -> String {
    let mut versions = versions(host, scope);
    versions.truncate(versions.find('\n').unwrap_or(versions.len()));
    versions
}

/// The configuration that is current for all VMs, if it is whole and good and of this version.
pub(crate) fn current(host: &impl Host, scope: &str, version: &str) -> Option<Configuration> {
    let json = host.shared_data(&configuration_key(scope))?;
    Configuration::read(&json).ok().filter(|configuration| configuration.version == version)
}

fn versions(host: &impl Host, scope: &str) -> String {
    host.shared_data(&version_key(scope)).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}
