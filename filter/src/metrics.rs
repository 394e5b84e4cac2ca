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
//! outcome           ^wasmcustom\.fedgate\.(?:peer_)?connections\.(outcome\.(\w+)\.)
//! reason            ^wasmcustom\.fedgate\.connections\..*?(\.reason\.(\w+))$
//! peer              ^wasmcustom\.fedgate\.(?:peer_connections\..*?|callers)(\.peer\.(.+?))(?:\._namespace\..*)?$
//! caller_namespace  ^wasmcustom\.fedgate\.callers\.peer\..+?(\._namespace\.([^.]+))\._export\..+$
//! export            ^wasmcustom\.fedgate\.callers\.peer\..+?(\._export\.(.+))$
//! ```
//!
//! All plugins and VMs of a process count in the same metrics.
//!
//! | name | |
//! | --- | --- |
//! | `fedgate.connections.outcome.<outcome>.reason.<reason>` | counter: decided connections |
//! | `fedgate.peer_connections.outcome.<outcome>.peer.<peer>` | counter: decided connections whose peer was recognised |
//! | `fedgate.callers.peer.<peer>._namespace.<namespace>._export.<host:port>` | counter: connections that passed, by who called what; see `callers` |
//! | `fedgate.revoked_connections` | counter: connections that had passed and were closed by a new table |
//! | `fedgate.undecided_connections` | counter: connections that ended before their client had shown an identity |
//! | `fedgate.route_failures` | counter: allowed connections that were closed because the proxy did not accept their cluster |
//! | `fedgate.table.generation`, `fedgate.table.rows` | gauges: the table that the proxy has accepted |
//! | `fedgate.table.threads` | gauge: how many threads (the workers and the main one) have that table in force |

use crate::callers::Callers;
use crate::configuration::Configuration;
use crate::host::Host;
use fedgate_core::{Decision, Options, Outcome, PeerRow, Reason, ServiceName, Table};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

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

const REASONS: usize = Reason::ALL.len();
const OUTCOMES: [Outcome; 3] = [Outcome::Allowed, Outcome::Audited, Outcome::Refused];

/// The counters of one gateway in one thread. Each is defined at its first use, and found without a
/// search from then on.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    decisions: [[Counter; REASONS]; OUTCOMES.len()],
    events: [Counter; Event::ALL.len()],
    peers: RefCell<Peers>,
    callers: RefCell<Callers>,
}

/// The proxy's number for a counter, once it is defined.
#[derive(Debug, Default)]
pub(crate) struct Counter(Cell<Option<u32>>);

/// The counters of one peer, or of all that are not counted by name.
#[derive(Debug)]
struct Series {
    label: Box<str>,
    counters: [Counter; OUTCOMES.len()],
}

#[derive(Debug, Default)]
struct Peers {
    /// The peers of the table in force that are counted by name.
    named: BTreeSet<Box<str>>,
    /// The maximum number of peers that the VM names over its life.
    limit: usize,
    series: BTreeMap<Box<str>, Rc<Series>>,
    /// The series of each peer of the table in force that has been counted, by its position there.
    of_table: BTreeMap<usize, Rc<Series>>,
}

impl Metrics {
    /// Chooses what to count by name.
    pub(crate) fn choose_names(&self, table: &Table, options: &Options) {
        self.callers.borrow_mut().limit(options.named_callers);
        let named_peers = options.named_peers;
        let mut peers = self.peers.borrow_mut();
        peers.named = first_peers(table, named_peers).map(Box::from).collect();
        peers.limit = usize::try_from(named_peers).unwrap_or(usize::MAX).saturating_mul(LIFETIME);
        peers.of_table.clear();
    }

    /// Counts a connection that the table in force decided.
    pub(crate) fn decided(&self, host: &impl Host, decision: &Decision<'_>) {
        let Decision { outcome, reason, peer } = *decision;
        let reasons = self.decisions.get(outcome as usize);
        if let Some(counter) = reasons.and_then(|reasons| reasons.get(reason as usize)) {
            counter.increment(host, || decision_name(outcome, reason));
        }
        if let Some(peer) = peer {
            self.peers.borrow_mut().count(host, outcome, &peer);
        }
    }

    /// Counts a connection that passes, by who called what.
    pub(crate) fn passed(
        &self,
        host: &impl Host,
        decision: &Decision<'_>,
        uri_san: &str,
        service: &ServiceName,
    ) {
        let mut callers = self.callers.borrow_mut();
        let Some(peer) = decision.peer.filter(|_| !callers.is_off()) else { return };
        let series = self.peers.borrow_mut().series_of(&peer);
        callers.count(host, &series.label, uri_san, service);
    }

    /// Counts an event.
    pub(crate) fn happened(&self, host: &impl Host, event: Event) {
        if let Some(counter) = self.events.get(event as usize) {
            counter.increment(host, || event.name().to_owned());
        }
    }
}

impl Counter {
    /// Adds one. Defines the counter at its first use; the proxy never frees a definition.
    pub(crate) fn increment(&self, host: &impl Host, name: impl FnOnce() -> String) {
        if self.0.get().is_none() {
            self.0.set(host.define_counter(&name()));
        }
        if let Some(number) = self.0.get() {
            host.increment(number, 1);
        }
    }
}

impl Peers {
    fn count(&mut self, host: &impl Host, outcome: Outcome, peer: &PeerRow<'_>) {
        let series = self.series_of(peer);
        if let Some(counter) = series.counters.get(outcome as usize) {
            counter.increment(host, || peer_name(outcome, &series.label));
        }
    }

    fn series_of(&mut self, peer: &PeerRow<'_>) -> Rc<Series> {
        match self.of_table.get(&peer.index()) {
            Some(series) => Rc::clone(series),
            None => self.find(peer),
        }
    }

    /// The series for a peer's first connection under a table.
    fn find(&mut self, peer: &PeerRow<'_>) -> Rc<Series> {
        let known = self.series.contains_key(peer.name) || self.series.len() < self.limit;
        let label = if known && self.named.contains(peer.name) { peer.name } else { OVERFLOW };
        let new = || Rc::new(Series { label: label.into(), counters: Default::default() });
        let series = Rc::clone(self.series.entry(label.into()).or_insert_with(new));
        self.of_table.insert(peer.index(), Rc::clone(&series));
        series
    }
}

/// The names of all counters that connections can need under a configuration, or without one, for a
/// proxy on which metrics must be defined in advance.
pub fn counters(configuration: Option<&Configuration>) -> Vec<String> {
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
