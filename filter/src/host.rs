//! What the life cycle of a connection needs from the proxy that runs it.
//!
//! Every call acts on one connection: the one for which the host is calling the filter, or the one
//! last named with [`Host::act_for`]. No call calls back into the filter before it returns: the
//! host resumes and closes connections once the filter has returned.

/// A connection's number in its thread.
pub type ConnectionId = u32;

/// The level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// Events of single connections.
    Debug = 1,
    /// Rare events that are normal.
    Info = 2,
    /// Something to look into.
    Warn = 3,
    /// Something to repair.
    Error = 4,
}

/// The host's status of a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

/// Whether the proxy continues with the next filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    /// It continues.
    Continue = 0,
    /// It pauses until it is resumed.
    Pause = 1,
}

/// A client's identity, proven by a finished handshake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The certificate's URI SANs, joined by commas; `None` if there are none.
    ///
    /// A SPIFFE ID contains no comma. So two names, or one name with a comma in it, do not form a
    /// SPIFFE ID and are refused. A certificate with two URI SANs belongs to no SPIFFE workload
    /// (X509-SVID, section 2: exactly one).
    pub uri_san: Option<String>,
}

impl Identity {
    /// A name as text. A SPIFFE ID is ASCII only, so what is not UTF-8 is replaced by a text that
    /// is refused.
    pub fn text(name: Vec<u8>) -> String {
        String::from_utf8(name).unwrap_or_else(|_| "\u{fffd}".to_owned())
    }
}

/// The proxy, as a connection's life cycle sees it.
pub trait Host {
    /// Switches to another connection until the filter returns; `false` if it does not exist.
    fn act_for(&self, connection: ConnectionId) -> bool;

    /// The server name in the ClientHello. Available before the handshake.
    fn server_name(&self) -> Option<Vec<u8>>;

    /// Returns true if the listener passes this connection's TLS through.
    fn is_passed_through(&self) -> bool;

    /// The client's identity; `None` until the handshake is finished and verified.
    fn identity(&self) -> Option<Identity>;

    /// Sets the connection's filter state `key`, for access logs. A plugin may only set keys that
    /// begin with `wasm.`.
    fn set_filter_state(&self, key: &str, value: &[u8]) -> Result<(), Status>;

    /// Sets the cluster of the connection. Has no effect once tcp_proxy has started.
    ///
    /// # Errors
    /// The proxy's status. The caller must then close the connection, because tcp_proxy would send
    /// it to its default cluster.
    fn set_cluster(&self, cluster: &str) -> Result<(), Status>;

    /// Resumes a paused connection once the filter has returned.
    fn resume(&self) -> Result<(), Status>;

    /// Closes a connection once the filter has returned, for the given reason word.
    fn close(&self, reason: &str) -> Result<(), Status>;

    /// Defines a counter, or finds it if it is defined; `None` if the proxy refuses.
    fn define_counter(&self, name: &str) -> Option<u32>;

    /// Adds to a counter.
    fn increment(&self, counter: u32, by: u64);

    /// Returns true if lines of this level are printed. Check it before formatting a line for a
    /// single connection.
    fn logs(&self, level: Level) -> bool;

    /// Writes a log line.
    fn log(&self, level: Level, line: &str);
}
