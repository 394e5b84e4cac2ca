//! Settings of all connections of an Envoy, whichever side opened them.

/// How many bytes Envoy buffers in each direction while one side does not read. This is Envoy's own
/// advice for listeners that strangers reach. With the default of 1 MiB, a few thousand connections
/// would use up all memory.
pub(super) const BUFFER: u32 = 32 * 1024;
/// TCP keepalive: the idle seconds before the first probe, the seconds between probes, and their
/// number. A vanished peer is noticed after 8 minutes, and address translations on the way stay
/// alive.
pub(super) const KEEPALIVE_IDLE: u32 = 300;
pub(super) const KEEPALIVE_INTERVAL: u32 = 60;
pub(super) const KEEPALIVE_PROBES: u32 = 3;
