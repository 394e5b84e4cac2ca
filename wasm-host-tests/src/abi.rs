//! The numbers of the ABI: proxy-wasm 0.2.1 as proxy-wasm-cpp-host, and so Envoy, has them.

/// What a host function answers. The Rust SDK panics on a status that it does not expect of a function, and a panic is the end
/// of the whole VM, so it matters which is answered when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// It worked.
    Ok = 0,
    /// There is no such property, key, metric, function, or no stream to apply it to.
    NotFound = 1,
    /// An argument has a value that the function does not take.
    BadArgument = 2,
    /// The value has no form in which it could be handed over (a whole map of properties).
    SerializationFailure = 3,
    /// A pointer leads out of the module's memory.
    InvalidMemoryAccess = 6,
    /// Somebody else has written the shared data in between.
    CasMismatch = 8,
    /// What a function answers that the operator has not allowed (`capability_restriction_config`).
    InternalFailure = 10,
    /// Envoy knows the function but does nothing there.
    Unimplemented = 12,
}

/// What a stream callback answers: go on with the next filter of the chain.
pub const CONTINUE: u32 = 0;

/// What `proxy_continue_stream` and `proxy_close_stream` are about.
pub mod stream_type {
    /// The client's side.
    pub const DOWNSTREAM: u32 = 2;
    /// The server's side.
    pub const UPSTREAM: u32 = 3;
    /// The largest one there is; anything above is a bad argument.
    pub const MAX: u32 = 3;
}

/// What `proxy_get_buffer_bytes` reads.
pub mod buffer_type {
    /// What came from the client and is not yet passed on.
    pub const DOWNSTREAM_DATA: u32 = 2;
    /// What came from the server and is not yet passed on.
    pub const UPSTREAM_DATA: u32 = 3;
    /// The configuration that all plugins of a VM share.
    pub const VM_CONFIGURATION: u32 = 6;
    /// The plugin's configuration; there only while `proxy_on_configure` runs.
    pub const PLUGIN_CONFIGURATION: u32 = 7;
    /// The largest one there is.
    pub const MAX: u32 = 8;
}

/// Who closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseType {
    /// Nobody can say: what `proxy_on_upstream_connection_close` always gets.
    Unknown = 0,
    /// Envoy.
    Local = 1,
    /// The other end.
    Remote = 2,
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum LogLevel {
    /// Everything.
    Trace = 0,
    /// For those who look for a fault.
    Debug = 1,
    /// What an operator may want to know.
    Info = 2,
    /// What an operator should know.
    Warn = 3,
    /// Something does not work.
    Error = 4,
    /// The SDK's panic hook uses it.
    Critical = 5,
}

impl LogLevel {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Critical].get(number as usize).copied()
    }
}
