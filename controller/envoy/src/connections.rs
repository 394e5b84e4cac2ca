//! What every connection of an Envoy has, whichever side opened it.

/// How much of a connection may wait in Envoy, in each direction, while one side does not read: Envoy's own advice for what
/// strangers reach. Its default is 1 MiB, so that some thousand connections would take all memory.
pub(super) const BUFFER: u32 = 32 * 1024;
/// After how many seconds without a packet the other side is asked whether it is still there, how often, and how many times:
/// a peer that vanished is noticed after 8 minutes, and addresses that are translated on the way stay so.
pub(super) const KEEPALIVE_IDLE: u32 = 300;
pub(super) const KEEPALIVE_INTERVAL: u32 = 60;
pub(super) const KEEPALIVE_PROBES: u32 = 3;
