//! What the filter needs of the proxy that runs it.
//!
//! The calls follow proxy-wasm 0.2.1 one to one, with two differences: a status other than OK is a value, never a panic,
//! and properties are an enumeration, so that this page lists all that the filter reads.
//!
//! Every call acts for one *context*: the one that the host is calling, or the one that [`Host::act_for`] named since.
//! None of them calls back into the filter before it returns: the host puts off resuming and closing until the filter
//! has returned (cpp-host `addAfterVmCallAction`).

use std::time::Duration;

/// A context of the proxy: one for each connection (stream context), one for each configured plugin (root context).
pub type ContextId = u32;

/// What the filter asks about a connection or a plugin (Envoy: "Attributes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// The server name of the ClientHello; there before the handshake when the listener has `tls_inspector`.
    ServerName,
    /// Filter state that the listener sets when the handshake is finished: the URI SANs of the client's certificate, joined by
    /// commas; `-` when there is none. Its key says `handshake` since filters of an earlier version look for that.
    PeerUriSans,
    /// Filter state that a listener sets on the connections whose TLS it passes through; see [`Property::path`].
    PassedThrough,
    /// The first URI SAN of the client's certificate. Only the first, and there before the handshake is finished.
    FirstUriSan,
    /// The `root_id` of the plugin.
    RootId,
}

impl Property {
    /// The property's path in the form of the ABI: segments with a NUL between each two.
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

/// How loud a log line is (proxy-wasm `LogLevel`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// What happens to single connections.
    Debug = 1,
    /// What happens seldom and is right.
    Info = 2,
    /// What somebody should look at.
    Warn = 3,
    /// What somebody must repair.
    Error = 4,
}

/// What kind a metric is (proxy-wasm `MetricType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum MetricKind {
    /// It only grows.
    Counter = 0,
    /// It is set.
    Gauge = 1,
}

/// A host call's status other than OK, by its number in proxy-wasm (1 is "not found", 2 "bad argument").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// Another VM has written the shared data since it was read.
    pub const CAS_MISMATCH: Self = Self(8);
}

/// A value of the shared data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedValue {
    /// The value itself.
    pub bytes: Vec<u8>,
    /// The proxy's number of this value, never 0; each write gives the next one.
    pub cas: u32,
}

/// The number to write with where there is no value yet: should another VM create one first, the write fails.
///
/// The proxy takes any number for a key that is not there, and for a key that is there only the number of its value
/// (cpp-host `SharedData::set`). No value has this one before four billion writes.
pub const CREATE: u32 = u32::MAX;

/// Whether the proxy goes on to the next filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    /// It goes on.
    Continue = 0,
    /// It stops here until it is told to resume.
    Pause = 1,
}

/// The proxy, as the filter sees it.
pub trait Host {
    /// The plugin's configuration; empty when there is none. Only a root context has one.
    fn configuration(&self) -> Vec<u8>;

    /// A property of the context; `None` when the proxy doesn't know it (yet).
    fn property(&self, property: Property) -> Option<Vec<u8>>;

    /// Sets the filter state `wasm.<name>` of the connection, for access logs.
    fn set_property(&self, name: &str, value: &[u8]) -> Result<(), Status>;

    /// Calls a function of the proxy that is not part of the ABI.
    fn call_foreign_function(&self, name: &str, argument: &[u8]) -> Result<(), Status>;

    /// What any VM with our `vm_id` has stored under a key.
    fn shared_data(&self, key: &str) -> Option<SharedValue>;

    /// Stores a value for all VMs with our `vm_id`, in place of the one with the number `cas`, or of none ([`CREATE`]).
    /// [`Status::CAS_MISMATCH`] when there is another value by now.
    fn set_shared_data(&self, key: &str, value: &[u8], cas: u32) -> Result<(), Status>;

    /// The wall clock's time since 1970.
    fn now(&self) -> Duration;

    /// How often the root of the context is ticked, from now on; zero for never.
    fn set_tick_period(&self, period: Duration);

    /// Acts for another context until the filter returns; `false` when there is none with this number.
    fn act_for(&self, context: ContextId) -> bool;

    /// Resumes a paused connection, once the filter has returned.
    fn resume_downstream(&self) -> Result<(), Status>;

    /// Closes a connection, once the filter has returned.
    fn close_downstream(&self) -> Result<(), Status>;

    /// Defines a metric, or finds one that another VM defined; `None` when the proxy refuses.
    fn define_metric(&self, kind: MetricKind, name: &str) -> Option<u32>;

    /// Adds to a counter.
    fn increment_metric(&self, metric: u32, by: u64);

    /// Sets a gauge.
    fn record_metric(&self, metric: u32, value: u64);

    /// Whether lines of this level are printed; asked before a line for a single connection is put together.
    fn logs(&self, level: Level) -> bool;

    /// Writes a log line.
    fn log(&self, level: Level, line: &str);
}
