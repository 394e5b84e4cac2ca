//! The egress's files.

use super::bootstrap::bootstrap;
use super::federated::{self, Aggregate, MemberCluster};
use super::file::Step;
use super::named::{self, ServerNames};
use super::text::{self, Texts};
use super::{
    AccessLog, EgressInputs, File, FilePath, Quiet, cluster, health, limits, listener, localities,
    members, trust,
};
use fedgate_core::ServiceName;
use fedgate_federation::bundle::TrustBundle;
use fedgate_federation::federate::{Import, ServerIdentity};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

const IDENTITY: &str = "egress/identity.json";

/// The texts of the clusters and listeners that were made last.
#[derive(Debug, Default)]
pub(super) struct EgressTexts {
    clusters: Texts<PeerCluster>,
    listeners: Texts<Listener>,
    server_names: Texts<ServerNames>,
    members: Texts<MemberCluster>,
    aggregates: Texts<Aggregate>,
    names: Texts<NameListener>,
}

pub(super) fn files(
    folder: &FilePath,
    texts: &mut EgressTexts,
    inputs: &EgressInputs<'_>,
) -> Vec<File> {
    let outlets: Vec<_> = outlets(inputs).collect();
    let federated = federated::federated(inputs);
    let identity = folder.join(IDENTITY);
    let mut clusters = texts
        .clusters
        .of(ways(inputs, &outlets).into_iter(), |cluster| cluster::peer(cluster, &identity));
    let members: Vec<_> = federated.members.iter().map(|member| member.service.clone()).collect();
    if !federated.outlets.is_empty() {
        clusters.push(text::resource(&cluster::no_member()));
    }
    clusters.extend(
        texts
            .members
            .of(federated.members.into_iter(), |member| cluster::member(member, &identity)),
    );
    clusters.extend(texts.aggregates.of(federated.aggregates.into_iter(), cluster::aggregate));
    let mut listeners = texts.listeners.of(listeners(inputs, &outlets), |listener| {
        let make = if listener.by_name { named::at_own_address } else { listener::import };
        let more = (inputs.access_log, listener.quiet);
        make(&listener.service, &listener.way, listener.listen, more)
    });
    let server_names = inputs.names.server_names.and_then(|listen| {
        ServerNames::of(
            listen,
            &outlets,
            |outlet| way(outlet.import),
            (inputs.access_log, inputs.quiet),
        )
    });
    let server_names = texts.server_names.of(server_names.into_iter(), ServerNames::listener);
    let names = name_listeners(inputs, &federated.outlets);
    listeners.extend(texts.names.of(names, listener::federated));
    if !members.is_empty() {
        listeners.push(text::resource(&members::listener(&members_socket(folder), &members)));
    }
    let health = text::resource(&health::typed_listener(&socket(folder)));
    let listeners: Vec<_> = std::iter::once(health).chain(listeners).chain(server_names).collect();
    vec![
        File::secret(IDENTITY, &trust::identity_secret(inputs.identity)),
        File::json(Step::Base, limits::file("egress"), &limits::limits(inputs.connections)),
        File::resources(Step::Clusters, "egress/cds.json", &clusters),
        File::resources(Step::Listeners, "egress/lds.json", &listeners),
        File::json(Step::Bootstrap, "egress/bootstrap.json", &bootstrap_of(folder, inputs)),
    ]
}

/// An import with all that it needs.
pub(super) struct Outlet<'a> {
    pub(super) import: &'a Import,
    pub(super) bundle: &'a TrustBundle,
    pub(super) port: u16,
}

/// Everything that the cluster of a peer's gateways is made from.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct PeerCluster {
    pub(super) name: String,
    /// Each group takes over if those before it are not reachable.
    pub(super) addresses: Vec<BTreeSet<SocketAddr>>,
    pub(super) quiet: Quiet,
    pub(super) bundle: TrustBundle,
    pub(super) server: Arc<ServerIdentity>,
}

/// Everything that the listener of an import is made from.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Listener {
    service: ServiceName,
    way: String,
    listen: SocketAddr,
    /// At the address of its host, instead of the import's local port.
    by_name: bool,
    access_log: AccessLog,
    quiet: Quiet,
}

/// Everything that the listener of a federated name is made from.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct NameListener {
    pub(super) service: ServiceName,
    pub(super) ways: Vec<(String, u32)>,
    pub(super) attempts: u32,
    pub(super) listen: SocketAddr,
    /// Whether this is the address of its host, and not that of all ports.
    pub(super) by_name: bool,
    pub(super) access_log: AccessLog,
    pub(super) quiet: Quiet,
}

/// By name. Envoy refuses a trust domain without roots, so an import without a bundle gets no
/// cluster.
fn outlets<'a>(inputs: &EgressInputs<'a>) -> impl Iterator<Item = Outlet<'a>> {
    let (imports, bundles) = (inputs.imports, inputs.bundles);
    inputs.ports.iter().filter_map(move |(service, port)| {
        let (_, import) = imports.find(service)?;
        let bundle = bundles.get(&import.trust_domain).filter(|bundle| !bundle.roots.is_empty())?;
        Some(Outlet { import, bundle, port: *port })
    })
}

/// One cluster for each peer and way. Gateways, roots and expected identities are the same for all
/// of a peer's imports whose TLS ends at its gateway, and the same for all others.
fn ways(inputs: &EgressInputs<'_>, outlets: &[Outlet<'_>]) -> Vec<PeerCluster> {
    let ways: BTreeMap<_, _> = outlets.iter().map(|outlet| (way(outlet.import), outlet)).collect();
    let cluster = |(name, outlet): (String, &Outlet<'_>)| PeerCluster {
        name,
        addresses: localities::groups(outlet.import, inputs.locality),
        quiet: inputs.quiet,
        bundle: outlet.bundle.clone(),
        server: Arc::clone(&outlet.import.server),
    };
    ways.into_iter().map(cluster).collect()
}

fn listeners(inputs: &EgressInputs<'_>, outlets: &[Outlet<'_>]) -> impl Iterator<Item = Listener> {
    let listener = |outlet: &Outlet<'_>, listen, by_name| Listener {
        service: outlet.import.service.clone(),
        way: way(outlet.import),
        listen,
        by_name,
        access_log: inputs.access_log.clone(),
        quiet: inputs.quiet,
    };
    outlets.iter().flat_map(move |outlet| {
        let at_port = listener(outlet, SocketAddr::new(inputs.listen, outlet.port), false);
        let named = inputs.names.of(&outlet.import.service);
        std::iter::once(at_port).chain(named.map(|address| listener(outlet, address, true)))
    })
}

/// Each federated name has a port among those of imports, and possibly an address of its own.
fn name_listeners(
    inputs: &EgressInputs<'_>,
    outlets: &[federated::Outlet<'_>],
) -> impl Iterator<Item = NameListener> {
    outlets.iter().flat_map(move |outlet| {
        let listener = |listen, by_name| NameListener {
            service: outlet.service.clone(),
            ways: outlet.ways.clone(),
            attempts: outlet.attempts,
            listen,
            by_name,
            access_log: inputs.access_log.clone(),
            quiet: inputs.quiet,
        };
        let at_port = listener(SocketAddr::new(inputs.listen, outlet.listen), false);
        let named = inputs.names.of(outlet.service).map(|address| listener(address, true));
        std::iter::once(at_port).chain(named)
    })
}

/// The socket that shows which members of federated names are alive.
pub(super) fn members_socket(folder: &FilePath) -> String {
    health::socket(folder.join("members").as_str())
}

/// The socket that shows whether the egress runs.
pub(super) fn socket(folder: &FilePath) -> String {
    health::socket(folder.join("egress").as_str())
}

fn bootstrap_of(folder: &FilePath, inputs: &EgressInputs<'_>) -> Value {
    bootstrap("egress", &folder.join("egress"), inputs.trust_domain, inputs.admin, vec![])
}

/// The name of the cluster that an import goes through.
fn way(import: &Import) -> String {
    // No trust domain contains a `+`.
    let through = if import.passthrough { "+passthrough" } else { "" };
    format!("peer|{}{through}", import.trust_domain)
}
