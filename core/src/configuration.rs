//! The plugin's configuration: a JSON object with a readable header and the table in base64.

use crate::table::{MAX_TABLE_BYTES, Table, TableError, is_known};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt::Display;

/// The maximum size of a configuration: the largest table in base64, plus its header.
pub const MAX_CONFIGURATION_BYTES: usize = MAX_TABLE_BYTES / 3 * 4 + (64 << 10);

/// The configuration that the filter receives. The header repeats the table's own numbers so that
/// `kubectl get` and `jq` can show them. A header that contradicts the table is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginConfiguration<'a> {
    /// The table's format version.
    pub format: u32,
    /// The generation: a number that grows with each published table.
    pub generation: u64,
    /// The table's hash: `sha256:` and hexadecimal digits.
    pub content_hash: Cow<'a, str>,
    /// The trust domain of the gateway's cluster.
    pub trust_domain: Cow<'a, str>,
    /// The number of exported services (`host:port`).
    pub exports: u32,
    /// The number of peers.
    pub peers: u32,
    /// The number of distinct grant sets that the exports share.
    pub grant_sets: u32,
    /// Settings of the filter.
    #[serde(default)]
    pub options: Options,
    /// The table in base64 (RFC 4648, section 4).
    #[serde(borrow)]
    pub table: Cow<'a, str>,
}

/// Settings of the filter that do not affect its decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "WrittenOptions")]
pub struct Options {
    /// How long an admitted connection may take to present its identity, in milliseconds (100 to
    /// 600,000). The default of 15,000 is the handshake timeout of Istio's gateways.
    pub identity_timeout_ms: u32,
    /// How many peers are counted by name (at most 1,000; default 100). All others are counted as
    /// `_other`.
    pub named_peers: u32,
    /// How many combinations of peer, caller's namespace and export are counted by name (at most
    /// 1,000; default 0, which counts none). Not written if it is 0, because earlier filters do not
    /// know it.
    #[serde(skip_serializing_if = "is_zero")]
    pub named_callers: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Options {
    /// The largest [`named_callers`](Self::named_callers).
    pub const MOST_NAMED_CALLERS: u32 = 1_000;
}

impl Default for Options {
    fn default() -> Self {
        Self { identity_timeout_ms: 15_000, named_peers: 100, named_callers: 0 }
    }
}

/// [`Options`], as this version or an earlier one writes them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WrittenOptions {
    /// Written by earlier versions, whose configurations this version reads during an upgrade.
    wait_for_identity: WaitForIdentity,
    identity_timeout_ms: u32,
    named_peers: u32,
    named_callers: u32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum WaitForIdentity {
    #[default]
    Paused,
}

impl Default for WrittenOptions {
    fn default() -> Self {
        let Options { identity_timeout_ms, named_peers, named_callers } = Options::default();
        let wait_for_identity = WaitForIdentity::Paused;
        Self { wait_for_identity, identity_timeout_ms, named_peers, named_callers }
    }
}

impl From<WrittenOptions> for Options {
    fn from(written: WrittenOptions) -> Self {
        let WrittenOptions {
            wait_for_identity: WaitForIdentity::Paused,
            identity_timeout_ms,
            named_peers,
            named_callers,
        } = written;
        Self { identity_timeout_ms, named_peers, named_callers }
    }
}

/// Why a configuration is refused. The last good configuration stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It is longer than [`MAX_CONFIGURATION_BYTES`].
    #[error("the configuration has {0} bytes, at most {MAX_CONFIGURATION_BYTES} are read")]
    TooLarge(usize),
    /// It is not a JSON object of the expected form.
    #[error("the configuration is not the JSON object that this filter expects: {0}")]
    Json(String),
    /// A number in the options is out of range.
    #[error("the configuration's options.{field} is {value}, expected {expected}")]
    Option {
        /// The field's name.
        field: &'static str,
        /// The value found.
        value: u32,
        /// The allowed values.
        expected: &'static str,
    },
    /// The table is not valid base64.
    #[error("the configuration's table is not base64")]
    Base64,
    /// The table itself is refused.
    #[error("the configuration's table is refused: {0}")]
    Table(#[from] TableError),
    /// The header contradicts the table.
    #[error(
        "the configuration's {field} is {found}, that of its table is {expected}: publish both together"
    )]
    Header {
        /// The field's name.
        field: &'static str,
        /// The header's value, shortened if it is long.
        found: String,
        /// The table's value.
        expected: String,
    },
}

/// Reads a configuration and checks all of it.
///
/// # Errors
/// [`ConfigurationError`] for bytes that are not a valid configuration. No input panics.
pub fn read_configuration(json: &[u8]) -> Result<(Table, Options), ConfigurationError> {
    read_with(json, Table::read)
}

/// Reads a configuration that has passed [`read_configuration`] before, in this or another VM; see
/// [`Table::read_checked`].
///
/// # Errors
/// [`ConfigurationError`] for most bytes that are not a valid configuration. No input panics.
pub fn read_checked_configuration(json: &[u8]) -> Result<(Table, Options), ConfigurationError> {
    read_with(json, Table::read_checked)
}

fn read_with(
    json: &[u8],
    read: fn(Vec<u8>) -> Result<Table, TableError>,
) -> Result<(Table, Options), ConfigurationError> {
    if json.len() > MAX_CONFIGURATION_BYTES {
        return Err(ConfigurationError::TooLarge(json.len()));
    }
    let configuration: PluginConfiguration<'_> =
        serde_json::from_slice(json).map_err(|error| unreadable(json, &error))?;
    if !is_known(configuration.format) {
        return Err(TableError::Version(configuration.format).into());
    }
    check_options(&configuration.options)?;
    let bytes = BASE64_STANDARD
        .decode(configuration.table.as_bytes())
        .map_err(|_| ConfigurationError::Base64)?;
    let table = read(bytes)?;
    check_header(&configuration, &table)?;
    Ok((table, configuration.options))
}

/// Explains why `json` could not be read. A newer format may have fields that are unknown here, so
/// its version is reported instead of the JSON error.
fn unreadable(json: &[u8], error: &serde_json::Error) -> ConfigurationError {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    match serde_json::from_slice(json) {
        Ok(Format { format }) if !is_known(format) => TableError::Version(format).into(),
        _ => ConfigurationError::Json(shortened(error)),
    }
}

/// Writes the configuration for a table.
pub fn write_configuration(table: &Table, options: Options) -> PluginConfiguration<'static> {
    PluginConfiguration {
        options,
        table: Cow::Owned(BASE64_STANDARD.encode(table.as_bytes())),
        ..header_of(table)
    }
}

fn header_of(table: &Table) -> PluginConfiguration<'static> {
    PluginConfiguration {
        format: table.format_version(),
        generation: table.generation(),
        content_hash: Cow::Owned(table.hash().to_string()),
        trust_domain: Cow::Owned(table.trust_domain().to_owned()),
        exports: table.rows(),
        peers: table.peer_count(),
        grant_sets: table.grant_set_count(),
        options: Options::default(),
        table: Cow::Borrowed(""),
    }
}

fn check_options(options: &Options) -> Result<(), ConfigurationError> {
    let Options { identity_timeout_ms, named_peers, named_callers } = *options;
    let refused =
        |field, value, expected| Err(ConfigurationError::Option { field, value, expected });
    if !(100..=600_000).contains(&identity_timeout_ms) {
        return refused("identityTimeoutMs", identity_timeout_ms, "100 to 600000");
    }
    if named_peers > 1_000 {
        return refused("namedPeers", named_peers, "0 to 1000");
    }
    if named_callers > Options::MOST_NAMED_CALLERS {
        return refused("namedCallers", named_callers, "0 to 1000");
    }
    Ok(())
}

fn check_header(
    configuration: &PluginConfiguration<'_>,
    table: &Table,
) -> Result<(), ConfigurationError> {
    let PluginConfiguration {
        format,
        generation,
        content_hash,
        trust_domain,
        exports,
        peers,
        grant_sets,
        options: _,
        table: _,
    } = header_of(table);
    let same = |field, found: &dyn Display, expected: &dyn Display| {
        let (found, expected) = (shortened(found), expected.to_string());
        match found == expected {
            true => Ok(()),
            false => Err(ConfigurationError::Header { field, found, expected }),
        }
    };
    same("format", &configuration.format, &format)?;
    same("generation", &configuration.generation, &generation)?;
    same("contentHash", &configuration.content_hash, &content_hash)?;
    same("trustDomain", &configuration.trust_domain, &trust_domain)?;
    same("exports", &configuration.exports, &exports)?;
    same("peers", &configuration.peers, &peers)?;
    same("grantSets", &configuration.grant_sets, &grant_sets)
}

/// Shortens a text for a message. A refused value can be as long as the whole configuration; valid
/// ones have at most 255 bytes.
fn shortened(text: &dyn Display) -> String {
    text.to_string().chars().take(256).collect()
}
