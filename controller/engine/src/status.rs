//! The state of the federation as values: what `/status` serves and `fedgate status` prints.

use crate::federated::FederatedServiceStatus;
use fedgate_core::{Mode, ServiceName, Table};
use fedgate_federation::document::{Advertised, GatewayAddress, LocatedGateway, PrivateDocument};
use fedgate_federation::federate::{
    Condition, ConditionStatus, ConditionType, Export, FarSide, Import, PeerReport,
};
use fedgate_federation::grant::PeerGrant;
use fedgate_federation::knowledge::{AtExpiry, HeldTrust};
use fedgate_federation::object::FederatedSuffix;
use fedgate_federation::{Federation, Finding, LocalCluster};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The state of the federation, as this cluster sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// This cluster.
    pub cluster: ClusterStatus,
    /// The table in force.
    pub table: TableStatus,
    /// The peers, by name.
    pub peers: Vec<PeerStatus>,
    /// What peers may reach here.
    pub exports: Vec<ExportStatus>,
    /// What can be reached at the peers, in order of service.
    pub imports: Vec<ImportStatus>,
    /// The federated names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub federated_services: Vec<FederatedServiceStatus>,
    /// What an operator should know.
    pub findings: Vec<Finding>,
}

/// This cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Its trust domain.
    pub trust_domain: String,
    /// Its UUID.
    pub cluster_uuid: String,
    /// The addresses of its gateways for peers, each with `@REGION/ZONE` if that is known.
    pub gateways: Vec<String>,
    /// The suffix of the names of `FederatedService`s.
    #[serde(default)]
    pub federated_suffix: FederatedSuffix,
}

/// The table in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableStatus {
    /// A number that grows with each published table.
    pub generation: u64,
    /// `sha256:` and the hash of its bytes.
    pub content_hash: String,
    /// How many services it lists.
    pub exports: u32,
    /// Its size in bytes.
    pub bytes: usize,
    /// True if it differs from what the objects compile to: the last table could not be built, or
    /// was not written where the gateway reads it.
    pub outdated: bool,
    /// Whether every gateway has it in force. Known only on Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Condition>,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// The name of its `IstioFederation`.
    pub name: String,
    /// The file that its object comes from, in files mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its trust domain.
    pub trust_domain: String,
    /// Its metadata endpoint.
    pub metadata_endpoint: String,
    /// The UUID that it claims.
    pub cluster_uuid: Option<String>,
    /// Whether refusals take effect for it.
    pub mode: Mode,
    /// Whether a call to it would get through: the peer is accepted, both its documents are present
    /// and fresh, and one of its gateways answers.
    pub ready: bool,
    /// What stops every call to it in this cluster, before it reaches the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// The SHA-256 fingerprints of its roots.
    pub roots: Vec<String>,
    /// The announced roots, key and UUID, if they have not taken effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_trust: Option<HeldTrust>,
    /// When its public document was last confirmed.
    pub public_confirmed: Option<Timestamp>,
    /// When its private document was last confirmed.
    pub private_confirmed: Option<Timestamp>,
    /// From which age on its documents are stale, in seconds.
    #[serde(default)]
    pub stale_after_seconds: u64,
    /// From which age on they are expired, in seconds.
    #[serde(default)]
    pub staleness_limit_seconds: u64,
    /// What happens then: `Keep`, `Drain` or `Drop`.
    #[serde(default)]
    pub at_expiry: AtExpiry,
    /// How many of our exports it may reach.
    pub granted_exports: usize,
    /// How many of its services can be reached from here.
    pub imports: usize,
    /// The addresses of this cluster's gateways that it is told, as in [`ClusterStatus`].
    #[serde(default)]
    pub told: Vec<String>,
    /// Whether these are others than all peers are told.
    #[serde(default)]
    pub told_others: bool,
    /// What it says it sees of this cluster. `None` if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub far_side: Option<FarSide>,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// One export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportStatus {
    /// `host:port`.
    pub service: ServiceName,
    /// The server name that clients send for it.
    pub sni: String,
    /// The peers that may reach it, at least with some callers.
    pub granted_to: Vec<String>,
    /// The peers that no policy grants it, and that reach it because they are in audit mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audited: Vec<String>,
}

/// One import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportStatus {
    /// `host:port`.
    pub service: ServiceName,
    /// The name of the peer that offers it.
    pub peer: String,
    /// When the peer last confirmed that it offers it: with its private document.
    #[serde(default)]
    pub confirmed: Option<Timestamp>,
    /// The protocol.
    pub protocol: String,
    /// The peer's gateways.
    pub gateways: Vec<String>,
    /// Where programs of this site reach it: a port of the egress Envoy. `None` if no port is left,
    /// and in a mesh.
    pub address: Option<SocketAddr>,
    /// Where programs of this site reach it under its own name and port, if `egress.addresses` is
    /// set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<SocketAddr>,
    /// Whether it is a name in this cluster's mesh, so that it needs no port.
    #[serde(default)]
    pub in_mesh: bool,
}

impl Status {
    /// The status of what is in force. `egress` has the local port of each import, and is `None` if
    /// imports are names in the mesh.
    pub fn new(
        local: &LocalCluster,
        federation: &Federation,
        table: &Table,
        egress: Option<&BTreeMap<ServiceName, SocketAddr>>,
    ) -> Self {
        let mut imports: Vec<_> = federation.imports.iter().collect();
        imports.sort_by(|a, b| a.service.cmp(&b.service));
        Self {
            cluster: ClusterStatus {
                trust_domain: local.trust_domain.to_string(),
                cluster_uuid: local.cluster_uuid.to_string(),
                gateways: advertised(&local.gateways, &local.reach.localities),
                federated_suffix: local.federated_suffix.clone(),
            },
            table: TableStatus {
                generation: table.generation(),
                content_hash: table.hash().to_string(),
                exports: table.rows(),
                bytes: table.as_bytes().len(),
                outdated: federation
                    .table
                    .as_ref()
                    .map_or(true, |made| made.hash() != table.hash()),
                loaded: None,
            },
            peers: federation
                .peers
                .iter()
                .map(|report| PeerStatus::new(report, federation))
                .collect(),
            exports: federation.exports.iter().map(ExportStatus::new).collect(),
            imports: imports.into_iter().map(|import| ImportStatus::new(import, egress)).collect(),
            federated_services: Vec::new(),
            findings: federation.findings.clone(),
        }
    }
}

impl PeerStatus {
    fn new(report: &PeerReport, federation: &Federation) -> Self {
        let document = federation.private_documents.get(&report.peer.name);
        Self {
            told: document.map(|document| told(document)).unwrap_or_default(),
            told_others: federation.told_others.contains(&report.peer.name),
            name: report.peer.name.to_string(),
            source: report.peer.source.clone(),
            trust_domain: report.peer.trust_domain.to_string(),
            metadata_endpoint: report.peer.endpoint.to_string(),
            cluster_uuid: report.cluster_uuid.as_ref().map(ToString::to_string),
            mode: report.mode,
            ready: is_ready(&report.conditions),
            obstacle: None,
            roots: report.roots.iter().map(ToString::to_string).collect(),
            held_trust: report.held_trust.clone(),
            public_confirmed: report.public_confirmed,
            private_confirmed: report.private_confirmed,
            stale_after_seconds: report.times.stale_after.as_secs(),
            staleness_limit_seconds: report.times.staleness_limit.as_secs(),
            at_expiry: report.times.at_expiry,
            granted_exports: report.granted_exports,
            imports: report.imports,
            far_side: report.far_side.clone(),
            conditions: report.conditions.clone(),
        }
    }
}

/// The addresses of our gateways that a document tells its reader.
pub(crate) fn told(document: &PrivateDocument) -> Vec<String> {
    let extension = document.extension.as_ref();
    let localities = extension.map(|extension| extension.gateway_localities.as_slice());
    advertised(&document.gateways, localities.unwrap_or_default())
}

fn advertised(gateways: &[GatewayAddress], localities: &[LocatedGateway]) -> Vec<String> {
    let text = |gateway: &GatewayAddress| {
        let located = localities.iter().find(|located| located.gateway == *gateway);
        let locality = located.map(|located| located.locality.clone());
        Advertised { gateway: gateway.clone(), locality }.to_string()
    };
    gateways.iter().map(text).collect()
}

/// The conditions that must be True for a call to a peer to get through.
pub const MUST_HOLD: [ConditionType; 4] = [
    ConditionType::Accepted,
    ConditionType::PublicMetadataExchangeReady,
    ConditionType::PrivateMetadataExchangeReady,
    ConditionType::DataplaneConnectionReady,
];

/// Returns true if a call to a peer would get through, judged by its conditions. Unknown means not
/// ready.
pub(crate) fn is_ready(conditions: &[Condition]) -> bool {
    let has = |kind, status| {
        conditions.iter().any(|condition| condition.kind == kind && condition.status == status)
    };
    MUST_HOLD.into_iter().all(|kind| has(kind, ConditionStatus::True))
        && !has(ConditionType::Stale, ConditionStatus::True)
}

impl ExportStatus {
    fn new(export: &Export) -> Self {
        let peers = |is_wanted: fn(&PeerGrant) -> bool| {
            let wanted = export.grants.iter().filter(|grant| is_wanted(grant));
            wanted.map(|grant| grant.peer.to_string()).collect()
        };
        Self {
            service: export.service.clone(),
            sni: export.service.sni(),
            granted_to: peers(PeerGrant::is_granted),
            audited: peers(PeerGrant::is_only_audited),
        }
    }
}

impl ImportStatus {
    fn new(import: &Import, egress: Option<&BTreeMap<ServiceName, SocketAddr>>) -> Self {
        Self {
            service: import.service.clone(),
            peer: import.peer.to_string(),
            confirmed: None,
            protocol: import.protocol.word().to_owned(),
            gateways: import.gateways.iter().map(ToString::to_string).collect(),
            address: egress.and_then(|egress| egress.get(&import.service)).copied(),
            named: None,
            in_mesh: egress.is_none(),
        }
    }
}
