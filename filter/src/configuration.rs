//! A table with its options, and the version that identifies them.

use crate::host::Level;
use fedgate_core::{
    ConfigurationError, Options, Table, read_checked_configuration, read_configuration,
};

/// A valid configuration.
#[derive(Debug)]
pub struct Configuration {
    pub(crate) table: Table,
    pub(crate) options: Options,
    /// Identifies the table and the options; see [`version`].
    pub(crate) version: String,
}

impl Configuration {
    /// Reads and checks a plugin's configuration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(json: &[u8]) -> Result<Self, ConfigurationError> {
        read_configuration(json).map(Self::new)
    }

    /// Like [`Self::read`], but logs what is wrong.
    pub fn read_or_log(json: &[u8], log: impl FnOnce(Level, &str)) -> Option<Self> {
        let refused = |error| {
            log(Level::Error, &format!("{error}; refused, the last good table stays in force"));
        };
        Self::read(json).map_err(refused).ok()
    }

    /// Reads a configuration that has passed the check before.
    pub(crate) fn read_checked(json: &[u8]) -> Result<Self, ConfigurationError> {
        read_checked_configuration(json).map(Self::new)
    }

    fn new((table, options): (Table, Options)) -> Self {
        let version = version(&table, &options);
        Self { table, options, version }
    }

    /// Logs that a configuration is empty. `known`: there has been a table before.
    pub fn log_empty(known: bool, log: impl FnOnce(Level, &str)) {
        let line = match known {
            true => {
                "the configuration is empty, expected a JSON object with a table; the last good table stays in force"
            }
            false => {
                "the configuration is empty: there is no table yet, and every connection is refused as no_table"
            }
        };
        log(Level::Warn, line);
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The common beginning of the versions of all configurations with this table.
    pub(crate) fn table_version(&self) -> String {
        table_version(&self.table)
    }
}

fn table_version(table: &Table) -> String {
    format!("{} {} ", table.generation(), table.hash())
}

/// Identifies a configuration in one line: the table by generation and hash, the options in full.
/// During an upgrade, VMs with an earlier filter compare it with theirs, which contains `paused`.
fn version(table: &Table, options: &Options) -> String {
    let Options { identity_timeout_ms, named_peers, named_callers } = options;
    let callers = match named_callers {
        // As an earlier filter writes it, which has no such option.
        0 => String::new(),
        callers => format!(" {callers}"),
    };
    format!("{}paused {identity_timeout_ms} {named_peers}{callers}", table_version(table))
}

/// The generation at the beginning of a version.
pub(crate) fn generation_of(version: &str) -> Option<u64> {
    version.split(' ').next()?.parse().ok()
}
