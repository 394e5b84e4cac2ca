//! How much is measured, and the limits.

use fedgate_e2e::measure::number;
use std::time::Duration;

/// The environment variable that asks for the short form.
const SHORT: &str = "FLEET_SHORT";

/// The sizes of a measurement, and what must hold.
pub(crate) struct Scale {
    pub(crate) peers: usize,
    /// Services of each peer, and of this cluster.
    pub(crate) services: usize,
    /// The interval of polls in seconds.
    pub(crate) poll: u64,
    /// The time in which nothing changes.
    pub(crate) idle: Duration,
    /// Single changes of peers.
    pub(crate) changes: usize,
    /// Labels on Services of this cluster.
    pub(crate) labels: usize,
    pub(crate) load: Load,
    pub(crate) limits: Limits,
}

/// Many changes, each of which the controller sees.
pub(crate) struct Load {
    /// The interval of polls in seconds.
    pub(crate) poll: u64,
    pub(crate) a_second: usize,
    pub(crate) time: Duration,
}

/// What must hold. In the short form, on a busy machine and unoptimized, only that nothing stays
/// behind.
pub(crate) struct Limits {
    pub(crate) cold: Duration,
    /// The share of one core.
    pub(crate) idle: f64,
    /// The 99th percentile of one change.
    pub(crate) change: Duration,
    /// The 99th percentile of a peer's round with this cluster's metadata endpoint.
    pub(crate) round: Duration,
    /// Compilations for views of all peers that change at once.
    pub(crate) views: f64,
}

impl Scale {
    pub(crate) fn of_run() -> Self {
        match std::env::var_os(SHORT).is_some() {
            true => Self::short(),
            false => Self::full(),
        }
    }

    fn full() -> Self {
        Self {
            peers: number("FLEET_PEERS", 2_000),
            services: number("FLEET_SERVICES", 300),
            poll: number("FLEET_POLL", 30) as u64,
            idle: Duration::from_secs(number("FLEET_IDLE", 60) as u64),
            changes: 200,
            labels: 30,
            load: Load {
                poll: number("FLEET_LOAD_POLL", 3) as u64,
                a_second: number("FLEET_LOAD", 500),
                time: Duration::from_secs(30),
            },
            limits: Limits {
                cold: Duration::from_secs(60),
                idle: 0.05,
                change: Duration::from_secs(1),
                round: Duration::from_secs(1),
                views: 10.0,
            },
        }
    }

    fn short() -> Self {
        Self {
            peers: 200,
            services: 30,
            poll: 2,
            idle: Duration::from_secs(3),
            changes: 20,
            labels: 5,
            load: Load { poll: 2, a_second: 50, time: Duration::from_secs(5) },
            limits: Limits {
                cold: Duration::from_secs(60),
                idle: 2.0,
                change: Duration::from_secs(20),
                round: Duration::from_secs(10),
                views: 20.0,
            },
        }
    }
}
