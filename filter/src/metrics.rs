//! Counters and gauges.
//!
//! proxy-wasm's metrics have no labels, so the labels are part of the names, in a form that stats
//! tags can extract. The proxy never forgets a name, so the number of names is bounded. Outcomes
//! and reasons are enumerations. Only the first peers of a table are counted by name; all others
//! are counted as [`OVERFLOW`]. Peers come and go during a VM's life. Once a VM has named
//! `LIFETIME` times as many peers as a table may name at a time, new peers count as [`OVERFLOW`],
//! too.
//!
//! The tags (Envoy: `stats_config.stats_tags`), tested with Envoy. A peer's name may contain dots,
//! so it comes last:
//!
//! ```text
//! outcome  ^wasmcustom\.fedgate\.(?:peer_)?connections\.(outcome\.(\w+)\.)
//! reason   ^wasmcustom\.fedgate\.connections\..*?(\.reason\.(\w+))$
//! peer     ^wasmcustom\.fedgate\.peer_connections\..*?(\.peer\.(.+))$
//! ```
//!
//! All plugins and VMs of a process count in the same metrics.
//!
//! | name | |
//! | --- | --- |
//! | `fedgate.connections.outcome.<outcome>.reason.<reason>` | counter: decided connections |
//! | `fedgate.peer_connections.outcome.<outcome>.peer.<peer>` | counter: decided connections whose peer was recognised |
//! | `fedgate.revoked_connections` | counter: connections that had passed and were closed by a new table |
//! | `fedgate.undecided_connections` | counter: connections that ended before their client had shown an identity |
//! | `fedgate.route_failures` | counter: allowed connections that were closed because the proxy did not accept their cluster |
//! | `fedgate.table.generation`, `fedgate.table.rows` | gauges: the table that the proxy has accepted |
//! | `fedgate.table.threads` | gauge: how many threads (the workers and the main one) have that table in force |

use crate::configuration::Configuration;
use crate::host::{Host, MetricKind};
use fedgate_core::{Outcome, Reason, Table};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// How many peers a VM names over its life, as a multiple of how many a table may name.
const LIFETIME: usize = 4;
/// The label for peers that are not counted by name. No peer can have this name, because object
/// names have no `_`.
pub const OVERFLOW: &str = "_other";

/// The gauge of the threads that have the table in force.
pub const THREADS: &str = "fedgate.table.threads";

/// Events that are counted in addition to decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Revoked,
    Undecided,
    RouteFailed,
}

impl Event {
    const ALL: [Self; 3] = [Self::Revoked, Self::Undecided, Self::RouteFailed];

    fn name(self) -> &'static str {
        match self {
            Self::Revoked => "fedgate.revoked_connections",
            Self::Undecided => "fedgate.undecided_connections",
            Self::RouteFailed => "fedgate.route_failures",
        }
    }
}

/// The metrics of one gateway in one thread: the proxy's numbers for the metrics used so far.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    decisions: RefCell<BTreeMap<(&'static str, Reason), u32>>,
    events: RefCell<BTreeMap<&'static str, u32>>,
    peers: RefCell<Peers>,
    gauges: RefCell<BTreeMap<&'static str, u32>>,
}

#[derive(Debug, Default)]
struct Peers {
    /// The peers of the table in force that are counted by name.
    named: BTreeSet<Box<str>>,
    /// The maximum number of peers that the VM names over its life.
    limit: usize,
    series: BTreeMap<Box<str>, BTreeMap<&'static str, u32>>,
}

impl Metrics {
    /// Chooses the peers to count by name.
    pub(crate) fn name_peers(&self, table: &Table, named_peers: u32) {
        let mut peers = self.peers.borrow_mut();
        peers.named = first_peers(table, named_peers).map(Box::from).collect();
        peers.limit = usize::try_from(named_peers).unwrap_or(usize::MAX).saturating_mul(LIFETIME);
    }

    /// Shows the table in force.
    pub(crate) fn show_table(&self, host: &impl Host, table: &Table) {
        for (gauge, value) in gauges(table) {
            self.show(host, gauge, value);
        }
    }

    /// Shows how many threads have the table in force.
    pub(crate) fn threads(&self, host: &impl Host, threads: u64) {
        self.show(host, THREADS, threads);
    }

    fn show(&self, host: &impl Host, gauge: &'static str, value: u64) {
        let mut gauges = self.gauges.borrow_mut();
        if let Some(number) =
            number(host, &mut gauges, gauge, MetricKind::Gauge, || gauge.to_owned())
        {
            host.record_metric(number, value);
        }
    }

    /// Counts a decided connection.
    pub(crate) fn decided(
        &self,
        host: &impl Host,
        outcome: Outcome,
        reason: Reason,
        peer: Option<&str>,
    ) {
        let name = || decision_name(outcome, reason);
        increment(host, &mut self.decisions.borrow_mut(), (outcome.word(), reason), name);
        if let Some(peer) = peer {
            self.peers.borrow_mut().count(host, outcome, peer);
        }
    }

    /// Counts an event.
    pub(crate) fn happened(&self, host: &impl Host, event: Event) {
        let name = event.name();
        increment(host, &mut self.events.borrow_mut(), name, || name.to_owned());
    }
}

impl Peers {
    fn count(&mut self, host: &impl Host, outcome: Outcome, peer: &str) {
        let known = self.series.contains_key(peer) || self.series.len() < self.limit;
        let label = if known && self.named.contains(peer) { peer } else { OVERFLOW };
        if !self.series.contains_key(label) {
            self.series.insert(label.into(), BTreeMap::new());
        }
        if let Some(numbers) = self.series.get_mut(label) {
            let name = || peer_name(outcome, label);
            increment(host, numbers, outcome.word(), name);
        }
    }
}

/// The names of all counters that connections can need under a configuration, or without one, for a
/// proxy on which metrics must be defined in advance.
pub fn counters(configuration: Option<&Configuration>) -> Vec<String> {
    const OUTCOMES: [Outcome; 3] = [Outcome::Allowed, Outcome::Audited, Outcome::Refused];
    let decisions = OUTCOMES
        .into_iter()
        .flat_map(|outcome| Reason::ALL.map(|reason| decision_name(outcome, reason)));
    let peers = configuration.into_iter().flat_map(|configuration| {
        first_peers(&configuration.table, configuration.options.named_peers)
    });
    let by_peer =
        peers.chain([OVERFLOW]).flat_map(|peer| OUTCOMES.map(|outcome| peer_name(outcome, peer)));
    let events = Event::ALL.map(|event| event.name().to_owned());
    decisions.chain(by_peer).chain(events).collect()
}

/// The gauges that describe a table, and their values.
pub fn gauges(table: &Table) -> [(&'static str, u64); 2] {
    [("fedgate.table.generation", table.generation()), ("fedgate.table.rows", table.rows().into())]
}

fn decision_name(outcome: Outcome, reason: Reason) -> String {
    format!("fedgate.connections.outcome.{}.reason.{reason}", outcome.word())
}

fn peer_name(outcome: Outcome, label: &str) -> String {
    format!("fedgate.peer_connections.outcome.{}.peer.{label}", outcome.word())
}

/// The peers of a table that are counted by name.
fn first_peers(table: &Table, named_peers: u32) -> impl Iterator<Item = &str> {
    let mut names: Vec<&str> = table.peers().map(|peer| peer.name).collect();
    names.sort_unstable();
    names.into_iter().take(usize::try_from(named_peers).unwrap_or(usize::MAX))
}

/// Adds one to a counter.
fn increment<K: Ord>(
    host: &impl Host,
    numbers: &mut BTreeMap<K, u32>,
    key: K,
    name: impl FnOnce() -> String,
) {
    if let Some(number) = number(host, numbers, key, MetricKind::Counter, name) {
        host.increment_metric(number, 1);
    }
}

/// Returns the proxy's number for a metric, and defines the metric at its first use. The proxy
/// never frees a definition.
fn number<K: Ord>(
    host: &impl Host,
    numbers: &mut BTreeMap<K, u32>,
    key: K,
    kind: MetricKind,
    name: impl FnOnce() -> String,
) -> Option<u32> {
    if let Some(&number) = numbers.get(&key) {
        return Some(number);
    }
    let number = host.define_metric(kind, &name())?;
    numbers.insert(key, number);
    Some(number)
}
