//! What the files are made from.

use super::{EgressNames, FilePath, FilterModule, Identity, Quiet};
use fedgate_core::{Options, PeerName, ServiceName, Table, TrustDomain};
use fedgate_federation::bundle::{Root, TrustBundle};
use fedgate_federation::document::Locality;
use fedgate_federation::federate::{FederatedService, Imports, ProbeTarget};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Where access logs go, one line of JSON for each connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum AccessLog {
    /// Envoy's standard output.
    #[default]
    Stdout,
    /// A file. Envoy appends to it, and reopens it after `POST /reopen_logs`.
    File(FilePath),
}

/// How many connections an Envoy may have open at once. Further ones are closed on arrival: see
/// [`Descriptors`](super::Descriptors).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connections(pub u32);

impl Connections {
    /// The limit for an Envoy that has not been seen running, or that finds no limits file: what
    /// 256 open files are enough for.
    pub const UNSEEN: Self = Self(32);
}

impl Default for Connections {
    fn default() -> Self {
        Self(50_000)
    }
}

/// What the gateway's files are made from.
#[derive(Debug, Clone)]
pub struct GatewayInputs<'a> {
    /// The cluster's own trust domain.
    pub trust_domain: &'a TrustDomain,
    /// The address that peers connect to.
    pub listen: SocketAddr,
    /// Whether a load balancer in front of it sends the PROXY protocol.
    pub proxy_protocol: bool,
    /// Envoy's admin address. Its clients can stop Envoy, so it belongs on loopback. Port 0 picks a
    /// free one.
    pub admin: SocketAddr,
    /// The certificate and key for peers.
    pub identity: &'a Identity,
    /// The cluster's own roots, at least one. They give nobody access: see
    /// `gateway/trust/bundles.json`.
    pub local_roots: &'a [Root],
    /// The peers' roots.
    pub bundles: &'a BTreeMap<TrustDomain, TrustBundle>,
    /// Each export with its ready endpoints. The table names only these.
    pub exports: &'a BTreeMap<ServiceName, BTreeSet<SocketAddr>>,
    /// The name that peers probe, if it is offered. The gateway answers for it.
    pub health: Option<&'a ServiceName>,
    /// The table.
    pub table: &'a Table,
    /// The filter's options.
    pub options: Options,
    /// The filter's module.
    pub module: &'a FilterModule,
    /// Where the gateway logs connections.
    pub access_log: &'a AccessLog,
    /// How many connections it accepts.
    pub connections: Connections,
    /// How silent connections are kept.
    pub quiet: Quiet,
}

/// What the egress's files are made from.
#[derive(Debug, Clone)]
pub struct EgressInputs<'a> {
    /// The cluster's own trust domain.
    pub trust_domain: &'a TrustDomain,
    /// The address of all imports' ports. Its clients act as this cluster, so it belongs on
    /// loopback.
    pub listen: IpAddr,
    /// Envoy's admin address, as for the gateway.
    pub admin: SocketAddr,
    /// The certificate and key for peers' gateways.
    pub identity: &'a Identity,
    /// Where this cluster is, so that the nearest gateways of its peers are tried first.
    pub locality: Option<&'a Locality>,
    /// The imports. Those without a port, or without a bundle for their trust domain, are left out.
    pub imports: &'a Imports,
    /// The local port of each import: see [`allocate`](super::allocate).
    pub ports: &'a BTreeMap<ServiceName, u16>,
    /// Where imports are reached by their own names.
    pub names: EgressNames<'a>,
    /// The federated names, each with a port of `ports`.
    pub federated: &'a [FederatedService],
    /// The ready workloads of this cluster's Services, for local members.
    pub endpoints: &'a BTreeMap<ServiceName, BTreeSet<SocketAddr>>,
    /// The names by which peers' gateways answer health checks.
    pub probe_targets: &'a BTreeMap<PeerName, ProbeTarget>,
    /// The peers' roots.
    pub bundles: &'a BTreeMap<TrustDomain, TrustBundle>,
    /// Where the egress logs connections.
    pub access_log: &'a AccessLog,
    /// How many connections it accepts.
    pub connections: Connections,
    /// How silent connections are kept.
    pub quiet: Quiet,
}
