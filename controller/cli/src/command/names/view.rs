//! What is known of the names of imports and of `FederatedService`s.

use fedgate_core::ServiceName;
use fedgate_engine::status::Status;
use fedgate_federation::federate::ConditionStatus;
use fedgate_kubernetes::inspect::names::{NameService, Server};
use fedgate_process::listen::is_privileged;
use fedgate_process::words::counted;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The names of a cluster's imports and `FederatedService`s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    pub(super) names: Vec<Name>,
    /// The zones of the peers and of federated names, in which no other name exists.
    pub(super) zones: BTreeSet<String>,
    /// The address of `fedgate dns`. `None` in files mode, or if it does not run.
    pub(super) server: Option<IpAddr>,
    /// The folder with files that the controller keeps up to date, in files mode.
    pub(super) folder: Option<PathBuf>,
    /// The setting that gives addresses.
    #[serde(skip)]
    pub(super) setting: &'static str,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Name {
    pub(super) host: String,
    /// The peer that offers it; `None` for the name of a `FederatedService`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<String>,
    pub(super) ports: BTreeSet<u16>,
    pub(super) addresses: Vec<IpAddr>,
    /// The ports at which the egress does not listen, in files mode.
    pub(super) silent: BTreeSet<u16>,
    /// Whether only a program with a capability may listen at one of them.
    #[serde(skip)]
    pub(super) needs_capability: bool,
}

impl View {
    /// The names of a site: addresses of its egress.
    pub(super) fn of_site(
        status: &Status,
        folder: &Path,
        listening: &BTreeSet<SocketAddr>,
    ) -> Self {
        let addresses = |port: &Port<'_>| port.named.map(|to| to.ip()).into_iter().collect();
        let silent =
            |port: &Port<'_>| port.named.is_some_and(|address| !listening.contains(&address));
        Self {
            names: names(status, addresses, silent),
            zones: zones(status),
            server: None,
            folder: Some(folder.join("names")),
            setting: "egress.addresses in fedgate.yaml",
        }
    }

    /// The names in a mesh.
    pub(super) fn of_mesh(status: &Status, service: NameService) -> Self {
        let addresses = |port: &Port<'_>| {
            service.addresses.get(port.service.host.as_str()).cloned().unwrap_or_default()
        };
        Self {
            names: names(status, addresses, |_| false),
            zones: zones(status),
            server: service.server.map(|Server { address, ready: _ }| address),
            folder: None,
            setting: "the chart's imports.addresses (--import-addresses)",
        }
    }

    /// What to do about a name without an address.
    pub(super) fn advice(&self) -> String {
        match self.names.iter().all(|name| name.addresses.is_empty()) {
            true => format!("set {}", self.setting),
            false => "see the findings of `fedgate status`".to_owned(),
        }
    }

    /// Says how many names have no address, and what to do.
    pub(super) fn unnamed(&self) -> Option<String> {
        let count = self.names.iter().filter(|name| name.addresses.is_empty()).count();
        let names = counted(count, "name");
        (count > 0).then(|| format!("{names} without an address: {}", self.advice()))
    }

    /// Returns true if each name has an address, and something listens there.
    pub(super) fn is_well(&self) -> bool {
        self.names.iter().all(|name| !name.addresses.is_empty() && name.silent.is_empty())
    }
}

/// A port of a host.
struct Port<'a> {
    service: &'a ServiceName,
    peer: Option<&'a String>,
    /// The address of its host, at this port, in files mode.
    named: Option<SocketAddr>,
}

fn ports(status: &Status) -> impl Iterator<Item = Port<'_>> {
    let imports = status.imports.iter().map(|import| Port {
        service: &import.service,
        peer: Some(&import.peer),
        named: import.named,
    });
    let federated = status.federated_services.iter().map(|name| Port {
        service: &name.service,
        peer: None,
        named: name.named,
    });
    imports.chain(federated)
}

fn names(
    status: &Status,
    addresses: impl Fn(&Port<'_>) -> Vec<IpAddr>,
    silent: impl Fn(&Port<'_>) -> bool,
) -> Vec<Name> {
    let mut names: BTreeMap<&str, Name> = BTreeMap::new();
    for port in ports(status) {
        let host = port.service.host.as_str();
        let name = names.entry(host).or_insert_with(|| Name {
            host: host.to_owned(),
            peer: port.peer.cloned(),
            ports: BTreeSet::new(),
            addresses: addresses(&port),
            silent: BTreeSet::new(),
            needs_capability: false,
        });
        name.ports.insert(port.service.port.get());
        if silent(&port) {
            name.silent.insert(port.service.port.get());
            name.needs_capability |= is_privileged(port.service.port.get());
        }
    }
    names.into_values().collect()
}

/// The zones of all peers, also of those without imports, and the suffix of federated names if there
/// are any. A trust domain that is refused is no
/// peer's, and least of all our own.
fn zones(status: &Status) -> BTreeSet<String> {
    let accepted = status.peers.iter().filter(|peer| {
        let mut conditions = peer.conditions.iter();
        !conditions.any(|condition| {
            condition.kind == fedgate_federation::federate::ConditionType::Accepted
                && condition.status == ConditionStatus::False
        })
    });
    let zones = accepted.map(|peer| format!("svc.{}", peer.trust_domain));
    let own = format!("svc.{}", status.cluster.trust_domain);
    let federated = status.federated_services.first();
    let suffix = federated.map(|_| status.cluster.federated_suffix.to_string());
    zones.filter(|zone| *zone != own).chain(suffix).collect()
}
