//! Works out what is imported from each peer, and what must be probed and looked up for it.

use super::gateways::{Gateway, Located, locate};
use super::import::{Import, Imports, ProbeTarget, Protocol, ServerIdentity};
use super::{Candidate, Inputs, LocalCluster, health};
use crate::bundle::TrustBundle;
use crate::document::{PrivateDocument, PublicService};
use crate::finding::{Finding, FindingReason};
use fedgate_core::{Hostname, PeerName, ServiceName, TrustDomain};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The longest name that DNS allows, dots included.
const LONGEST_NAME: usize = 253;

/// The imports, and what must be probed and looked up for them.
#[derive(Default)]
pub(super) struct Importing {
    pub(super) imports: Imports,
    pub(super) targets: BTreeMap<PeerName, ProbeTarget>,
    pub(super) names: BTreeMap<PeerName, BTreeSet<Hostname>>,
    /// The peers with a name that has not been looked up yet.
    pub(super) pending: BTreeSet<PeerName>,
}

/// The imports of one peer, and their basis.
#[derive(Debug)]
pub(super) struct PeerImports {
    basis: Basis,
    rows: Arc<[Import]>,
    /// The service to ask for in a probe, and whether it is the peer's health name.
    asked: Option<(ServiceName, bool)>,
}

/// All inputs of a peer's imports.
#[derive(Debug, PartialEq, Eq)]
struct Basis {
    trust_domain: TrustDomain,
    services: Services,
    passthrough_hosts: Vec<Hostname>,
    gateways: Arc<[Gateway]>,
    server: Arc<ServerIdentity>,
    health: Option<ServiceName>,
}

/// A document's services. Most documents are the ones of the last run, which costs one look:
/// `Arc<[T]>` itself would compare all services.
#[derive(Debug, Eq)]
struct Services(Arc<[PublicService]>);

impl PartialEq for Services {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

/// Returns the services and gateways of the peers that have a bundle. Reuses a
/// peer's imports from `memory` if their basis is unchanged, and leaves this run's imports there.
pub(super) fn import<'a, 'k: 'a>(
    inputs: &Inputs<'_>,
    accepted: impl Iterator<Item = &'a Candidate<'k>>,
    bundles: &BTreeMap<TrustDomain, TrustBundle>,
    memory: &mut BTreeMap<PeerName, PeerImports>,
    findings: &mut Vec<Finding>,
) -> Importing {
    let mut before = std::mem::take(memory);
    let mut importing = Importing::default();
    for candidate in accepted {
        let peer = &candidate.peer.name;
        let Some(bundle) = bundles.get(&candidate.peer.trust_domain) else { continue };
        let Some(document) = candidate.private(inputs) else { continue };
        let located = locate(inputs, candidate, document, findings);
        if !located.gateways.is_empty() {
            let basis = Basis::new(inputs, candidate, document, &located.gateways);
            let same = before.remove(peer).filter(|before| before.basis == basis);
            let of_peer = same.unwrap_or_else(|| PeerImports::new(peer, basis));
            let trust_domain = candidate.peer.trust_domain.clone();
            importing.imports.insert(trust_domain, Arc::clone(&of_peer.rows));
            let acknowledges = acknowledges(document, inputs.local);
            importing.targets.insert(peer.clone(), of_peer.target(acknowledges, bundle));
            memory.insert(peer.clone(), of_peer);
        } else if !document.services.is_empty() && !located.pending {
            findings.push(no_gateways(candidate, document));
        }
        importing.add_names(peer, located);
    }
    importing
}

/// Returns whether the peer has put at least one of our roots in force; `None` if it does not say.
pub(super) fn acknowledges(document: &PrivateDocument, local: &LocalCluster) -> Option<bool> {
    let applied = document.extension.as_ref()?.applied_roots.as_ref()?;
    Some(local.roots.iter().any(|root| applied.contains(&root.fingerprint())))
}

fn no_gateways(candidate: &Candidate<'_>, document: &PrivateDocument) -> Finding {
    let message = match document.gateways.len() {
        0 => "the peer announces services and no gateway, so they cannot be reached; ask its operator to announce one"
            .to_owned(),
        count => format!(
            "none of the peer's gateways ({count}) can be used, so its services cannot be reached; ask its operator to announce one that can"
        ),
    };
    Finding::error(FindingReason::NoGateways, candidate.peer.object(), "ingressGateways", message)
}

impl Importing {
    fn add_names(&mut self, peer: &PeerName, located: Located) {
        if located.pending {
            self.pending.insert(peer.clone());
        }
        if !located.names.is_empty() {
            self.names.insert(peer.clone(), located.names);
        }
    }
}

impl Basis {
    fn new(
        inputs: &Inputs<'_>,
        candidate: &Candidate<'_>,
        document: &PrivateDocument,
        gateways: &Arc<[Gateway]>,
    ) -> Self {
        let trust_domain = candidate.peer.trust_domain.clone();
        let health = candidate
            .public(inputs)
            .and_then(|public| health::name(&public.cluster_uuid, &trust_domain));
        Self {
            services: Services(Arc::clone(&document.services)),
            passthrough_hosts: document
                .extension
                .as_ref()
                .map(|extension| extension.passthrough_hosts.clone())
                .unwrap_or_default(),
            gateways: Arc::clone(gateways),
            server: Arc::new(server_identity(&trust_domain, document)),
            health,
            trust_domain,
        }
    }

    /// The ports that the peer offers, with their names. The names of hosts were checked when the
    /// document arrived. Documents from a state file are checked here again.
    fn offered(&self) -> impl Iterator<Item = (ServiceName, &String)> {
        let owned =
            self.services.0.iter().filter(|service| self.trust_domain.owns(&service.hostname));
        owned.flat_map(ports)
    }
}

impl PeerImports {
    fn new(peer: &PeerName, basis: Basis) -> Self {
        let workload = Arc::new(ServerIdentity::AnyOf(basis.trust_domain.clone()));
        let passed_through: BTreeSet<&Hostname> = basis.passthrough_hosts.iter().collect();
        let import = |(service, port_name): (ServiceName, &String)| {
            let passthrough = passed_through.contains(&service.host);
            Import {
                peer: peer.clone(),
                trust_domain: basis.trust_domain.clone(),
                service,
                port_name: port_name.clone(),
                protocol: Protocol::of_port_name(port_name),
                gateways: Arc::clone(&basis.gateways),
                passthrough,
                server: Arc::clone(if passthrough { &workload } else { &basis.server }),
            }
        };
        let rows = basis.offered().map(import);
        let (health, mut rows): (Vec<_>, Vec<_>) =
            rows.partition(|row| Some(&row.service) == basis.health.as_ref());
        rows.sort_by(|a, b| a.service.cmp(&b.service));
        // The gateway answers the health name for every peer, whatever else is granted to us.
        let asked = of_gateway(&health).map(|service| (service, true));
        let asked = asked.or_else(|| Some((of_gateway(&rows)?, false)));
        Self { rows: rows.into(), asked, basis }
    }

    fn target(&self, acknowledges: Option<bool>, bundle: &TrustBundle) -> ProbeTarget {
        ProbeTarget {
            service: self.asked.as_ref().map(|(service, _)| service.clone()),
            health: self.asked.as_ref().is_some_and(|(_, is_health)| *is_health),
            acknowledges,
            gateways: Arc::clone(&self.basis.gateways),
            server: Arc::clone(&self.basis.server),
            bundle: bundle.clone(),
        }
    }
}

/// Returns the first service by name whose TLS ends at the gateway. Where TLS passes through to a
/// workload, the gateway does not answer. Pods come last, because they come and go.
fn of_gateway(rows: &[Import]) -> Option<ServiceName> {
    let of_gateway = rows.iter().filter(|row| !row.passthrough).map(|row| &row.service);
    let short = of_gateway.filter(|service| service.sni().len() <= LONGEST_NAME);
    short.min_by_key(|service| (service.is_of_pod(), *service)).cloned()
}

/// Returns a host's ports, each number once. A Service may use one number for both TCP and UDP.
/// Documents do not say which is which, and the gateway forwards only TCP.
fn ports(service: &PublicService) -> Vec<(ServiceName, &String)> {
    let mut numbers = BTreeSet::new();
    let rows = service.ports.iter().filter(|row| numbers.insert(row.port));
    rows.filter_map(|row| {
        Some((ServiceName::new(service.hostname.clone(), row.port).ok()?, &row.name))
    })
    .collect()
}

fn server_identity(trust_domain: &TrustDomain, document: &PrivateDocument) -> ServerIdentity {
    let named = document.extension.iter().flat_map(|extension| &extension.gateway_identities);
    let own: Vec<_> = named
        .filter(|identity| identity.trust_domain() == trust_domain.as_str())
        .cloned()
        .collect();
    match own.is_empty() {
        true => ServerIdentity::AnyOf(trust_domain.clone()),
        false => ServerIdentity::Exactly(own),
    }
}
