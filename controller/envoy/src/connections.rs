//! Settings of the connections of an Envoy.

/// How many bytes Envoy buffers in each direction while one side does not read. This is Envoy's own
/// advice for listeners that strangers reach. With the default of 1 MiB, a few thousand connections
/// would use up all memory.
pub(super) const BUFFER: u32 = 32 * 1024;
/// How many bytes of a client Envoy takes on before the back end is connected. Below this limit,
/// nothing has to stop and start reading from the client again, which costs some 3 % of the CPU time
/// of a new connection (Envoy 1.40). Nothing is read into tcp_proxy before the filter has let the
/// connection pass.
pub const EARLY_DATA: u32 = BUFFER;
/// TCP keepalive: the idle seconds before the first probe, the seconds between probes, and their
/// number. A vanished peer is noticed after 8 minutes, and address translations on the way stay
/// alive.
pub(super) const KEEPALIVE_IDLE: u32 = 300;
pub(super) const KEEPALIVE_INTERVAL: u32 = 60;
pub(super) const KEEPALIVE_PROBES: u32 = 3;
