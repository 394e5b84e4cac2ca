//! What the counters of all Envoys come to, by peer, service and reason.

use super::gather::{Look, Role};
use fedgate_core::ServiceName;
use fedgate_engine::status::Status;
use fedgate_envoy::metric_name;
use fedgate_page::counters::{Counters, Traffic};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// The counters of all Envoys, since each started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) at: Timestamp,
    pub(super) envoys: Vec<Envoy>,
    pub(super) gateway: Gateway,
    pub(super) refusals: Vec<Refusal>,
    pub(super) peers: Vec<Peer>,
    /// `None` if the gateway does not count by service.
    pub(super) exports: Option<Vec<Service>>,
    /// `None` if there is no egress Envoy to ask.
    pub(super) imports: Option<Vec<Service>>,
    /// The names of `FederatedService`s. A call to one is also one to the member that took it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) federated_services: Vec<Service>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envoy {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// Connections from peers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Gateway {
    pub(super) open: Option<u64>,
    pub(super) allowed: u64,
    pub(super) audited: u64,
    pub(super) refused: u64,
    pub(super) undecided: u64,
    pub(super) revoked: u64,
    pub(super) route_failures: u64,
}

/// Connections that were refused, or would be in Enforce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) outcome: String,
    pub(super) connections: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) allowed: u64,
    pub(super) audited: u64,
    pub(super) refused: u64,
    /// Calls from here to its services; zero where no egress Envoy can be asked.
    pub(super) calls: u64,
    /// Attempts to connect to its gateways from here that failed.
    pub(super) failures: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    pub(super) service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<String>,
    pub(super) open: u64,
    pub(super) connections: u64,
    pub(super) failures: u64,
    pub(super) to_service: u64,
    pub(super) from_service: u64,
}

impl Report {
    pub(super) fn of(look: &Look) -> Self {
        let of_role = |role: Role| {
            let envoys = look.envoys.iter().filter(move |(_, is, _)| *is == role);
            envoys.filter_map(|(_, _, counters)| counters.as_ref().ok()).collect::<Vec<_>>()
        };
        let (gateways, egresses) = (of_role(Role::Gateway), of_role(Role::Egress));
        let clusters = sum(gateways.iter().map(|counters| &counters.clusters));
        let mut listeners = sum(egresses.iter().map(|counters| &counters.listeners));
        let status = look.status.as_ref();
        let exports = services(clusters, |_| None, status.map(exported));
        let exports = with_health_name(exports, status);
        let federated_services = match egresses.is_empty() {
            true => Vec::new(),
            false => known(&mut listeners, |_| None, status.map(federated)),
        };
        let imports = services(listeners, |name| owner(status, name), status.map(imported));
        let has_egress = look.envoys.iter().any(|(_, role, _)| *role == Role::Egress);
        // Istio's proxies leave the clusters' counters out unless they are told not to.
        let counts_services = has_egress || !exports.is_empty();
        let imports = (!egresses.is_empty()).then_some(imports);
        Self {
            at: Timestamp::now(),
            envoys: look
                .envoys
                .iter()
                .map(|(name, _, answer)| Envoy {
                    name: name.clone(),
                    error: answer.as_ref().err().cloned(),
                })
                .collect(),
            gateway: gateway(&gateways),
            refusals: refusals(&gateways),
            peers: peers((&gateways, &egresses), imports.as_deref().unwrap_or_default(), status),
            exports: counts_services.then_some(exports),
            imports,
            federated_services,
        }
    }

    /// Returns true if every Envoy has answered.
    pub(super) fn is_complete(&self) -> bool {
        self.envoys.iter().all(|envoy| envoy.error.is_none())
    }
}

fn sum<'a>(all: impl Iterator<Item = &'a BTreeMap<String, Traffic>>) -> BTreeMap<String, Traffic> {
    let mut sums: BTreeMap<String, Traffic> = BTreeMap::new();
    for (name, traffic) in all.flatten() {
        sums.entry(name.clone()).or_default().add(traffic);
    }
    sums
}

fn exported(status: &Status) -> Vec<&ServiceName> {
    status.exports.iter().map(|export| &export.service).collect()
}

fn imported(status: &Status) -> Vec<&ServiceName> {
    status.imports.iter().map(|import| &import.service).collect()
}

fn federated(status: &Status) -> Vec<&ServiceName> {
    status.federated_services.iter().map(|name| &name.service).collect()
}

fn owner(status: Option<&Status>, service: &str) -> Option<String> {
    let imports = status.into_iter().flat_map(|status| &status.imports);
    let mut owner = imports.filter(|import| import.service.to_string() == service);
    owner.next().map(|import| import.peer.clone())
}

/// Traffic by service. A service that is in force and was never called has a row of zeros; one that
/// is not any more has the name of its metrics.
fn services(
    mut traffic: BTreeMap<String, Traffic>,
    peer: impl Fn(&str) -> Option<String>,
    names: Option<Vec<&ServiceName>>,
) -> Vec<Service> {
    traffic.retain(|name, _| name.starts_with("outbound|"));
    let mut rows = known(&mut traffic, peer, names);
    rows.extend(traffic.into_iter().map(|(name, traffic)| row(name, None, traffic)));
    rows
}

/// Takes the traffic of services that are in force.
fn known(
    traffic: &mut BTreeMap<String, Traffic>,
    peer: impl Fn(&str) -> Option<String>,
    names: Option<Vec<&ServiceName>>,
) -> Vec<Service> {
    let row = |service: &ServiceName| {
        let cluster = service.cluster();
        let counted = traffic.remove(&metric_name(&cluster)).or_else(|| traffic.remove(&cluster));
        row(service.to_string(), peer(&service.to_string()), counted.unwrap_or_default())
    };
    names.unwrap_or_default().into_iter().map(row).collect()
}

/// Peers' probes call the health name, which is no export of anyone's.
fn with_health_name(mut rows: Vec<Service>, status: Option<&Status>) -> Vec<Service> {
    let Some(cluster) = status.map(|status| &status.cluster) else { return rows };
    let host = format!(
        "alliance-healthcheck-{}.d8-istio.svc.{}",
        cluster.cluster_uuid, cluster.trust_domain
    );
    let name = metric_name(&format!("outbound|80||{host}"));
    for row in rows.iter_mut().filter(|row| row.service == name) {
        row.service = "(peers' probes)".to_owned();
    }
    rows
}

fn row(service: String, peer: Option<String>, traffic: Traffic) -> Service {
    let Traffic { open, connections, failures, to_service, from_service } = traffic;
    Service { service, peer, open, connections, failures, to_service, from_service }
}

fn gateway(gateways: &[&Counters]) -> Gateway {
    let outcome = |wanted: &str| {
        let decisions = gateways.iter().flat_map(|counters| &counters.decisions);
        decisions.filter(|((outcome, _), _)| outcome == wanted).map(|(_, count)| count).sum()
    };
    let sum = |of: fn(&Counters) -> u64| gateways.iter().map(|counters| of(counters)).sum();
    let open: Vec<_> = gateways.iter().filter_map(|counters| counters.open).collect();
    Gateway {
        open: (!open.is_empty()).then(|| open.iter().sum()),
        allowed: outcome("allowed"),
        audited: outcome("audited"),
        refused: outcome("refused"),
        undecided: sum(|counters| counters.undecided),
        revoked: sum(|counters| counters.revoked),
        route_failures: sum(|counters| counters.route_failures),
    }
}

fn refusals(gateways: &[&Counters]) -> Vec<Refusal> {
    let mut sums: BTreeMap<&(String, String), u64> = BTreeMap::new();
    for (labels, count) in gateways.iter().flat_map(|counters| &counters.decisions) {
        *sums.entry(labels).or_default() += count;
    }
    let refused = sums.into_iter().filter(|((outcome, _), _)| outcome != "allowed");
    let mut refused: Vec<_> = refused
        .map(|((outcome, reason), connections)| Refusal {
            reason: reason.clone(),
            outcome: outcome.clone(),
            connections,
        })
        .collect();
    refused.sort_by(|a, b| b.connections.cmp(&a.connections).then(a.reason.cmp(&b.reason)));
    refused
}

fn peers(
    (gateways, egresses): (&[&Counters], &[&Counters]),
    imports: &[Service],
    status: Option<&Status>,
) -> Vec<Peer> {
    let known = status.into_iter().flat_map(|status| &status.peers).map(|peer| peer.name.clone());
    let mut peers: BTreeMap<String, Peer> =
        known.map(|name| (name.clone(), Peer { name, ..Peer::default() })).collect();
    fn of<'p>(peers: &'p mut BTreeMap<String, Peer>, name: &str) -> &'p mut Peer {
        let new = || Peer { name: name.to_owned(), ..Peer::default() };
        peers.entry(name.to_owned()).or_insert_with(new)
    }
    for ((name, outcome), count) in gateways.iter().flat_map(|counters| &counters.peers) {
        let peer = of(&mut peers, name);
        match outcome.as_str() {
            "allowed" => peer.allowed += count,
            "audited" => peer.audited += count,
            _ => peer.refused += count,
        }
    }
    for import in imports {
        let Some(name) = &import.peer else { continue };
        let peer = of(&mut peers, name);
        peer.calls += import.connections;
        peer.sent += import.to_service;
        peer.received += import.from_service;
    }
    // Calls to federated names are not among those to the imports' own names.
    for import in status.into_iter().flat_map(|status| &status.imports) {
        let peer = of(&mut peers, &import.peer);
        let name = metric_name(&import.service.to_string());
        for traffic in egresses.iter().map(|egress| egress.of_member(&name)) {
            peer.calls += traffic.connections;
            peer.failures += traffic.failures;
            peer.sent += traffic.to_service;
            peer.received += traffic.from_service;
        }
    }
    for known in status.into_iter().flat_map(|status| &status.peers) {
        let name = metric_name(&known.trust_domain);
        let failures: u64 = egresses.iter().map(|egress| egress.failures_of(&name)).sum();
        of(&mut peers, &known.name).failures += failures;
    }
    peers.into_values().collect()
}
