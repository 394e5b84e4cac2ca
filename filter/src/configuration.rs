//! A table and its options as they are in force, and the name of that state.

use fedgate_core::{ConfigurationError, Options, Table, read_configuration};

/// A good configuration.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) table: Table,
    pub(crate) options: Options,
    /// Its name.
    pub(crate) version: String,
}

impl Configuration {
    /// Reads and checks a plugin's configuration.
    pub(crate) fn read(json: &[u8]) -> Result<Self, ConfigurationError> {
        let (table, options) = read_configuration(json)?;
        let version = version(&table, &options);
        Ok(Self { table, options, version })
    }

    /// What the versions of all configurations with this table begin with.
    pub(crate) fn table_version(&self) -> String {
        table_version(&self.table)
    }
}

fn table_version(table: &Table) -> String {
    format!("{} {} ", table.generation(), table.hash())
}

/// Says in one line all that distinguishes two configurations: the table by its generation and hash, the options in full.
/// VMs with a filter of an earlier version compare it with theirs during an upgrade, and say `paused` there.
fn version(table: &Table, options: &Options) -> String {
    let Options { identity_timeout_ms, named_peers } = options;
    format!("{}paused {identity_timeout_ms} {named_peers}", table_version(table))
}

/// The generation that a version begins with.
pub(crate) fn generation_of(version: &str) -> Option<u64> {
    version.split(' ').next()?.parse().ok()
}
