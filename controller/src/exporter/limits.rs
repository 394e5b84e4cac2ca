//! How much a stranger may take of the exporter.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The exporter's limits. Each bounds what somebody without any right can hold or spend here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; further ones wait in the kernel's queue until one closes.
    pub connections: usize,
    /// Open connections of one source (an IPv4 address or an IPv6 /64); further ones are closed at once.
    /// `None` behind a proxy, where all connections come from the same place.
    pub connections_per_source: Option<usize>,
    /// The time for a TLS handshake.
    pub handshake: Duration,
    /// The time for the head of one request, the wait for its first byte included: so an idle connection closes after it too.
    pub request_head: Duration,
    /// The life of a connection, whatever happens on it.
    pub connection_life: Duration,
    /// Requests on one connection.
    pub requests_per_connection: u32,
    /// The bytes of one request's head; at least 8192.
    pub request_head_bytes: usize,
    /// How long open connections may go on after the order to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_per_source: Some(64),
            handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(10),
            connection_life: Duration::from_secs(60),
            requests_per_connection: 32,
            request_head_bytes: 16 * 1024,
            drain: Duration::from_secs(3),
        }
    }
}

/// Counts open connections by source. It holds no more entries than there are connections.
#[derive(Debug)]
pub(super) struct Sources {
    most: Option<usize>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place in the count; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct SourceSlot {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Sources {
    pub(super) fn new(most: Option<usize>) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// A place for one more connection of `address`, unless its source has as many as it may.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<SourceSlot> {
        let source = source_of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(source).or_insert(0);
        if self.most.is_some_and(|most| *count >= most) {
            return None;
        }
        *count += 1;
        Some(SourceSlot { sources: self.clone(), source })
    }
}

impl Drop for SourceSlot {
    fn drop(&mut self) {
        let mut open = self.sources.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.source);
            }
        }
    }
}

/// One IPv6 site owns 2^64 addresses and more, so they count together.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_has_its_share_and_gets_it_back() {
        let sources = Sources::new(Some(2));
        let first = sources.admit(ip("192.0.2.1"));
        let second = sources.admit(ip("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(sources.admit(ip("192.0.2.1")).is_none());
        assert!(sources.admit(ip("192.0.2.2")).is_some());
        drop(first);
        assert!(sources.admit(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn an_ipv6_site_is_one_source() {
        let sources = Sources::new(Some(1));
        let _first = sources.admit(ip("2001:db8::1"));
        assert!(sources.admit(ip("2001:db8::ffff:2")).is_none());
        assert!(sources.admit(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn nothing_stays_of_closed_connections() {
        let sources = Sources::new(None);
        drop((0..9).map(|n| sources.admit(ip(&format!("192.0.2.{n}")))).collect::<Vec<_>>());
        assert!(sources.open.lock().unwrap().is_empty());
    }
}
