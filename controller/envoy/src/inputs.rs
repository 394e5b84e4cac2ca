//! What the files are made of.

use super::{FilePath, FilterModule, Identity};
use fedgate_core::{Options, ServiceName, Table, TrustDomain};
use fedgate_federation::bundle::{Root, TrustBundle};
use fedgate_federation::federate::Import;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Where one line of JSON for each connection goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AccessLog {
    /// Envoy's standard output.
    #[default]
    Stdout,
    /// A file, which Envoy opens for appending, and anew after `POST /reopen_logs`.
    File(FilePath),
}

/// How many connections an Envoy may have open at a time; further ones are closed as they come, see [`Descriptors`](super::Descriptors).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connections(pub u32);

impl Connections {
    /// What an Envoy takes of which nothing is known yet, and one that finds no limits: what 256 open files are enough for.
    pub const UNSEEN: Self = Self(32);
}

impl Default for Connections {
    fn default() -> Self {
        Self(50_000)
    }
}

/// What the gateway's files are made of.
#[derive(Debug, Clone)]
pub struct GatewayInputs<'a> {
    /// The cluster's own trust domain.
    pub trust_domain: &'a TrustDomain,
    /// Where peers connect to.
    pub listen: SocketAddr,
    /// Envoy's admin address: whoever reaches it can stop Envoy, so it belongs to loopback. Port 0 picks a free one.
    pub admin: SocketAddr,
    /// What the gateway shows to peers.
    pub identity: &'a Identity,
    /// The cluster's own roots, one at least. Nobody is trusted for them, see `gateway/trust/bundles.json`.
    pub local_roots: &'a [Root],
    /// The peers' roots.
    pub bundles: &'a BTreeMap<TrustDomain, TrustBundle>,
    /// Each export with its ready endpoints. The table names no others.
    pub exports: &'a BTreeMap<ServiceName, BTreeSet<SocketAddr>>,
    /// The name that peers probe, if it is offered: the gateway answers it itself.
    pub health: Option<&'a ServiceName>,
    /// The table.
    pub table: &'a Table,
    /// How the filter works.
    pub options: Options,
    /// The filter's module.
    pub module: &'a FilterModule,
    /// Where the gateway logs connections.
    pub access_log: &'a AccessLog,
    /// How many connections it takes.
    pub connections: Connections,
}

/// What the egress's files are made of.
#[derive(Debug, Clone)]
pub struct EgressInputs<'a> {
    /// The cluster's own trust domain.
    pub trust_domain: &'a TrustDomain,
    /// The address of all imports' ports: whoever reaches it acts as this cluster, so it belongs to loopback.
    pub listen: IpAddr,
    /// Envoy's admin address, as the gateway's.
    pub admin: SocketAddr,
    /// What the egress shows to peers' gateways.
    pub identity: &'a Identity,
    /// What is imported. An import that has no port, or whose trust domain has no bundle, is left out.
    pub imports: &'a [Import],
    /// The local port of each import, see [`allocate`](super::allocate).
    pub ports: &'a BTreeMap<ServiceName, u16>,
    /// The peers' roots.
    pub bundles: &'a BTreeMap<TrustDomain, TrustBundle>,
    /// Where the egress logs connections.
    pub access_log: &'a AccessLog,
    /// How many connections it takes.
    pub connections: Connections,
}
