//! The host calls of proxy-wasm that the filter uses.
//!
//! The calls follow proxy-wasm 0.2.1 one to one, with two differences. A status other than OK is a
//! value, never a panic. Properties are an enumeration, so this module lists everything that the
//! filter reads.
//!
//! Every call acts on one *context*: the one that the host is calling, or the one last named with
//! [`Host::act_for`]. No call calls back into the filter before it returns: the host defers
//! resuming and closing until the filter has returned (cpp-host `addAfterVmCallAction`).

use crate::host::{Level, Status};
use std::time::Duration;

/// A context of the proxy. Each connection has a stream context, and each configured plugin a root
/// context.
pub type ContextId = u32;

/// A property of a connection or plugin that the filter reads (Envoy: "Attributes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// The server name in the ClientHello. Available before the handshake if the listener has
    /// `tls_inspector`.
    ServerName,
    /// Filter state that the listener sets once the handshake is finished: the URI SANs of the
    /// client's certificate, joined by commas, or `-` if there are none. Its key contains
    /// `handshake` because earlier filters look for that.
    PeerUriSans,
    /// Filter state that the listener sets on connections whose TLS it passes through; see
    /// [`Property::path`].
    PassedThrough,
    /// The first URI SAN of the client's certificate. It is available before the handshake is
    /// finished, and omits any further SANs.
    FirstUriSan,
    /// The plugin's `root_id`.
    RootId,
}

impl Property {
    /// The property's path as the ABI expects it: segments separated by NUL.
    pub fn path(self) -> &'static str {
        match self {
            Self::ServerName => "connection\0requested_server_name",
            Self::PeerUriSans => "filter_state\0fedgate.handshake",
            Self::PassedThrough => "filter_state\0fedgate.passthrough",
            Self::FirstUriSan => "connection\0uri_san_peer_certificate",
            Self::RootId => "plugin_root_id",
        }
    }
}

impl Status {
    /// Another VM has written the shared data since it was read.
    pub const CAS_MISMATCH: Self = Self(8);
}

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum MetricKind {
    /// A value that only grows.
    Counter = 0,
    /// A value that is set.
    Gauge = 1,
}

/// A value in the shared data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedValue {
    /// The value's bytes.
    pub bytes: Vec<u8>,
    /// The proxy's number for this value, never 0. Each write gives the value a new number.
    pub cas: u32,
}

/// The number to write with if no value exists yet. The write fails if another VM creates one
/// first.
///
/// For a missing key, the proxy accepts any number; for an existing key, only the number of its
/// value (cpp-host `SharedData::set`). No value reaches this number before four billion writes.
pub const CREATE: u32 = u32::MAX;

/// The proxy, as a VM sees it.
pub trait Host {
    /// The plugin's configuration, or empty if there is none. Only a root context has one.
    fn configuration(&self) -> Vec<u8>;

    /// A property of the context; `None` if the proxy does not know it (yet).
    fn property(&self, property: Property) -> Option<Vec<u8>>;

    /// Sets the connection's filter state `wasm.<name>`, for access logs.
    fn set_property(&self, name: &str, value: &[u8]) -> Result<(), Status>;

    /// Calls a function of the proxy outside the ABI.
    fn call_foreign_function(&self, name: &str, argument: &[u8]) -> Result<(), Status>;

    /// Reads what any VM with our `vm_id` has stored under `key`.
    fn shared_data(&self, key: &str) -> Option<SharedValue>;

    /// Stores a value for all VMs with our `vm_id`. It replaces the value with the number `cas`, or
    /// creates it ([`CREATE`]). Fails with [`Status::CAS_MISMATCH`] if the value has changed since.
    fn set_shared_data(&self, key: &str, value: &[u8], cas: u32) -> Result<(), Status>;

    /// The wall-clock time since 1970.
    fn now(&self) -> Duration;

    /// Sets how often the context's root is ticked; zero stops it.
    fn set_tick_period(&self, period: Duration);

    /// Switches to another context until the filter returns; `false` if it does not exist.
    fn act_for(&self, context: ContextId) -> bool;

    /// Resumes a paused connection once the filter has returned.
    fn resume_downstream(&self) -> Result<(), Status>;

    /// Closes a connection once the filter has returned.
    fn close_downstream(&self) -> Result<(), Status>;

    /// Defines a metric, or finds one that another VM defined; `None` if the proxy refuses.
    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<u32>;

    /// Adds to a counter.
    fn increment_metric(&self, metric: u32, by: u64);

    /// Sets a gauge.
    fn record_metric(&self, metric: u32, value: u64);

    /// Returns true if lines of this level are printed. Check it before formatting a line for a
    /// single connection.
    fn logs(&self, level: Level) -> bool;

    /// Writes a log line.
    fn log(&self, level: Level, line: &str);
}
