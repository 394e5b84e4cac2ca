//! How many connections an Envoy may have, given its limit of file descriptors.
//!
//! Envoy crashes with SIGSEGV when it gets no descriptor for an upstream connection, and aborts
//! when it gets none for a listener. So it is told to accept no more connections than it has
//! descriptors for. Further ones are closed at once and counted ([`limits`](super::limits)).

use super::Connections;

/// What Envoy always opens: 34 with two workers, plus some for its files and for clients of its
/// admin address.
const BASE: u64 = 64;
/// What each worker opens: 5, plus a reserve of about twice as many.
const PER_WORKER: u64 = 16;
/// A connection and its upstream connection.
const PER_CONNECTION: u64 = 2;
/// The most connections by default. No site needs more.
const MOST: u64 = 50_000;

/// The file descriptors of one Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// How many it may open: its hard limit, because Envoy itself raises the soft one.
    pub limit: u64,
    /// How many workers it has. Each opens its own listeners.
    pub workers: u64,
}

impl Descriptors {
    /// The descriptors left for connections and ports.
    fn spare(self) -> u64 {
        self.limit.saturating_sub(BASE.saturating_add(PER_WORKER.saturating_mul(self.workers)))
    }

    /// How many connections a gateway may have, at least one: see [`Self::are_enough`].
    pub fn gateway(self) -> Connections {
        connections(self.spare())
    }

    /// How many ports an egress may open: half of the descriptors, because each port takes one for
    /// each worker.
    pub fn egress_ports(self, range: usize) -> usize {
        let most = self.spare() / 2 / self.workers.max(1);
        usize::try_from(most).unwrap_or(usize::MAX).min(range)
    }

    /// How many connections an egress with this range of ports may have, at least one.
    pub fn egress(self, range: usize) -> Connections {
        let ports = u64::try_from(self.egress_ports(range)).unwrap_or(u64::MAX);
        connections(self.spare().saturating_sub(ports.saturating_mul(self.workers)))
    }

    /// Returns true if there are enough descriptors for any connections.
    pub fn are_enough(self) -> bool {
        self.spare() >= 16 * PER_CONNECTION
    }
}

/// Envoy does not accept a limit of 0.
fn connections(descriptors: u64) -> Connections {
    let count = (descriptors / PER_CONNECTION).clamp(1, MOST);
    Connections(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptors(limit: u64, workers: u64) -> Descriptors {
        Descriptors { limit, workers }
    }

    #[test]
    fn two_descriptors_for_each_connection_and_a_reserve() {
        let of = |limit| descriptors(limit, 2).gateway().0;
        assert_eq!([256, 1024, 20_000].map(of), [80, 464, 9_952]);
        assert_eq!(of(1 << 20), 50_000);
        assert_eq!(descriptors(u64::MAX, u64::MAX).gateway().0, 1);
    }

    #[test]
    fn an_egress_keeps_half_for_its_ports() {
        let of =
            |limit| (descriptors(limit, 2).egress_ports(900), descriptors(limit, 2).egress(900).0);
        assert_eq!([256, 1024, 524_288].map(of), [(40, 40), (232, 232), (900, 50_000)]);
        assert_eq!(descriptors(20_000, 2).egress(900).0, 9_052);
        assert_eq!(descriptors(524_288, 0).egress_ports(10), 10);
    }

    #[test]
    fn too_few_descriptors_are_detected() {
        assert!(!descriptors(64, 2).are_enough() && !descriptors(127, 2).are_enough());
        assert_eq!(descriptors(64, 2).gateway().0, 1);
        assert!(descriptors(256, 2).are_enough());
    }

    /// What may be open together never exceeds the limit.
    #[test]
    fn the_limit_is_never_reached() {
        for (limit, workers, range) in
            [(256, 2, 900), (300, 8, 50), (1024, 4, 10), (65_536, 64, 65_535)]
        {
            let it = descriptors(limit, workers);
            let ports = it.egress_ports(range) as u64 * workers;
            assert!(
                BASE + PER_WORKER * workers
                    + ports
                    + PER_CONNECTION * u64::from(it.egress(range).0)
                    <= limit
            );
            assert!(
                BASE + PER_WORKER * workers + PER_CONNECTION * u64::from(it.gateway().0) <= limit
            );
        }
    }
}
