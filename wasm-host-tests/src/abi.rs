//! The numbers of the ABI: proxy-wasm 0.2.1 as implemented by proxy-wasm-cpp-host and therefore
//! Envoy.

/// The status that a host function returns. The Rust SDK panics on a status that it does not expect
/// from a function, and a panic ends the whole VM. So it matters which status is returned when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// The call succeeded.
    Ok = 0,
    /// There is no such property, key, metric or function, or no stream to apply it to.
    NotFound = 1,
    /// The function does not accept the value of an argument.
    BadArgument = 2,
    /// The value cannot be serialized (a whole map of properties).
    SerializationFailure = 3,
    /// A pointer points outside the module's memory.
    InvalidMemoryAccess = 6,
    /// The shared data has been written in the meantime.
    CasMismatch = 8,
    /// The operator has not allowed the function (`capability_restriction_config`).
    InternalFailure = 10,
    /// Envoy knows the function but does not implement it here.
    Unimplemented = 12,
}

/// The answer of a stream callback to continue with the next filter of the chain.
pub const CONTINUE: u32 = 0;

/// The stream that `proxy_continue_stream` and `proxy_close_stream` act on.
pub mod stream_type {
    /// The client's side.
    pub const DOWNSTREAM: u32 = 2;
    /// The server's side.
    pub const UPSTREAM: u32 = 3;
    /// The largest stream type; anything above is a bad argument.
    pub const MAX: u32 = 3;
}

/// The buffer that `proxy_get_buffer_bytes` reads.
pub mod buffer_type {
    /// Data from the client that has not been passed on yet.
    pub const DOWNSTREAM_DATA: u32 = 2;
    /// Data from the server that has not been passed on yet.
    pub const UPSTREAM_DATA: u32 = 3;
    /// The configuration shared by all plugins of a VM.
    pub const VM_CONFIGURATION: u32 = 6;
    /// The plugin's configuration; available only while `proxy_on_configure` runs.
    pub const PLUGIN_CONFIGURATION: u32 = 7;
    /// The largest buffer type.
    pub const MAX: u32 = 8;
}

/// Who closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseType {
    /// Unknown; `proxy_on_upstream_connection_close` always gets this.
    Unknown = 0,
    /// Envoy.
    Local = 1,
    /// The other end.
    Remote = 2,
}

/// The level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum LogLevel {
    /// Everything.
    Trace = 0,
    /// For troubleshooting.
    Debug = 1,
    /// What may interest an operator.
    Info = 2,
    /// What an operator should know about.
    Warn = 3,
    /// Something does not work.
    Error = 4,
    /// Used by the SDK's panic hook.
    Critical = 5,
}

impl LogLevel {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Critical]
            .get(number as usize)
            .copied()
    }
}
