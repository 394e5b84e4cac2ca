//! Names, the compiled table and the decision: what the gateway filter and the controller share.
//!
//! Everything here is a pure function of its arguments. Nothing uses a clock, randomness, files,
//! sockets, threads or logging, and nothing depends on proxy-wasm. So the same code runs in the
//! controller, in the filter and in tests.
//!
//! Untrusted bytes are parsed into a [`Sni`] and a [`SpiffeId`], or refused. A [`TableBuilder`]
//! builds a [`Table`], which is read in place. [`decide`] returns an outcome and exactly one
//! [`Reason`].
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod callers;
mod configuration;
mod decision;
mod hex;
mod name;
mod table;

pub use callers::{CallerPattern, Callers, InvalidPattern, Pattern};
pub use configuration::{
    ConfigurationError, MAX_CONFIGURATION_BYTES, Options, PluginConfiguration,
    read_checked_configuration, read_configuration, write_configuration,
};
pub use decision::{
    Admission, Decision, Outcome, Reason, admit, admit_service, decide, decide_passthrough, judge,
    pass_service_through,
};
pub use hex::Hex;
pub use name::{
    Hostname, InvalidName, MeshHost, PeerName, ServiceName, ServicePort, Sni, SniError, SpiffeId,
    TrustDomain,
};
pub use table::{
    BuildError, ContentHash, Export, FORMAT_VERSIONS, Grant, GrantSet, MAX_CALLER_PATTERNS,
    MAX_TABLE_BYTES, Mode, Peer, PeerIndex, PeerRow, Table, TableBuilder, TableError,
};
