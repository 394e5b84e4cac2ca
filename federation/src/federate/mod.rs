//! Computes the desired state from all that is known, with one pure function: [`federate()`].
//!
//! ```text
//! objects ──► peers ──► standings (who is refused, and why) ──┬─► imports, trust bundles
//!      │                     ▲                                ├─► documents for the peers
//!      │        knowledge ───┘                                ├─► reports
//!      └───► policies ──► grants ──► exports ─────────────────┴─► table
//! ```
//!
//! Nothing here fails as a whole. A fault of one object, peer or document becomes a finding about
//! it, and the rest goes on. The same inputs give the same outputs, in the same order, byte for
//! byte.

mod bundles;
mod clocks;
mod condition;
mod export;
mod far_side;
mod federated;
mod gateways;
mod health;
mod import;
mod importing;
mod last_valid;
mod limits;
mod memory;
mod non_peers;
mod offer;
mod passthrough;
mod pods;
mod publish;
mod reach;
mod report;
mod rotation;
mod standing;
mod view;

pub use condition::{Condition, ConditionStatus, ConditionType, table_too_large};
pub use export::{Export, TableFailure};
pub(crate) use far_side::SETTLING;
pub use far_side::{FarSide, Mismatch, MismatchKind, Turn};
pub use federated::{
    FederatedMember, FederatedPort, FederatedService, HealthCheck, HealthProbe, MemberPlace,
    MemberState, PassedOver,
};
pub use gateways::Gateway;
pub use import::{Import, Imports, ProbeTarget, Protocol, ServerIdentity, owner};
pub use memory::Memory;
pub use passthrough::{Passthrough, PassthroughService};
pub use pods::{ExportedPod, MOST_PODS};
pub use publish::{DocumentVersion, Published};
pub use reach::Reach;
pub use report::PeerReport;
pub use rotation::{Advice, Holding, OurKey, OurRoot, Rotation, Verdict};
pub use standing::Standing;

use crate::bundle::{Root, TrustBundle};
use crate::credentials::Credentials;
use crate::document::{
    ClusterUuid, GatewayAddress, Network, PrivateDocument, PublicDocument, SpiffeBundle,
    WorkloadIdentity,
};
use crate::finding::{Finding, ObjectRef};
use crate::grant::{Granter, KnownPeers, Policies};
use crate::key::{PublicKey, PublicKeys};
use crate::knowledge::{Age, AtExpiry, PeerKnowledge, Times};
use crate::object::{FederatedSuffix, Objects, Peer, check_cluster_domain, peers};
use crate::own::OwnAddresses;
use fedgate_core::{Hostname, PeerName, ServiceName, Table, TrustDomain};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// This cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalCluster {
    /// Its trust domain, which is also its cluster domain.
    pub trust_domain: TrustDomain,
    /// Its UUID.
    pub cluster_uuid: ClusterUuid,
    /// The public key that its tokens are verified with.
    pub authn_key: PublicKey,
    /// Its second key, while it rotates its keys.
    pub other_key: Option<PublicKey>,
    /// Its roots.
    pub roots: Vec<Root>,
    /// The state of its own certificates.
    pub credentials: Credentials,
    /// Its network.
    pub network: Network,
    /// The addresses at which peers reach its gateways.
    pub gateways: Vec<GatewayAddress>,
    /// What else the settings say about these addresses.
    pub reach: Reach,
    /// The SPIFFE IDs of its gateways. If empty, peers accept any identity of its trust domain.
    pub gateway_identities: Vec<WorkloadIdentity>,
    /// Whether to offer the name that DKP's clusters probe ([peer protocol, section
    /// 4](crate::document)) to every peer. Something behind the gateway has to answer it.
    pub health_name: bool,
    /// Whether TLS can be passed through to workloads.
    pub passthrough: Passthrough,
    /// The addresses that it listens on itself.
    pub own_addresses: OwnAddresses,
    /// The suffix of its federated names.
    pub federated_suffix: FederatedSuffix,
}

impl LocalCluster {
    /// Returns the keys that it may sign with.
    pub fn keys(&self) -> PublicKeys {
        PublicKeys::new(self.authn_key, self.other_key)
    }
}

/// Everything that [`federate()`] looks at.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// This cluster.
    pub local: &'a LocalCluster,
    /// The objects that its operators wrote.
    pub objects: &'a Objects,
    /// What is known of the peers, by name.
    pub knowledge: &'a BTreeMap<PeerName, PeerKnowledge>,
    /// The versions of what was published last: [`Federation::published`] of the last run, or the
    /// default for the first run.
    pub previous: &'a Published,
    /// The ages at which knowledge becomes stale and expires.
    pub times: Times,
    /// The current time.
    pub now: Timestamp,
}

/// Everything that follows from the inputs.
#[derive(Debug, Clone)]
pub struct Federation {
    /// The table for the gateway. On failure the last good table stays in force, and a finding says
    /// so.
    pub table: Result<Table, TableFailure>,
    /// The exports in order of service. Only TCP ports, as in the table.
    pub exports: Vec<Export>,
    /// The name by which peers check that they can reach this cluster, if it is offered. It is a
    /// row of the table without a Service.
    pub health: Option<ServiceName>,
    /// The Services that ask for TLS passthrough, in order. Their workloads have to trust the
    /// peers' roots in addition to ours. A Service is among the exports as soon as
    /// [`Passthrough::Prepared`] says that its workloads do.
    pub passthrough: Vec<PassthroughService>,
    /// The imports, in order of trust domain and service.
    pub imports: Imports,
    /// The federated names, in order of host name, each with its members and whether they take
    /// calls.
    pub federated_services: Vec<FederatedService>,
    /// How to probe each peer's gateways. Peers without a usable gateway are not listed.
    pub probe_targets: BTreeMap<PeerName, ProbeTarget>,
    /// The names of each peer's gateways that must be looked up. Peers without names are not
    /// listed.
    pub gateway_names: BTreeMap<PeerName, BTreeSet<Hostname>>,
    /// The roots to trust for each peer's trust domain.
    pub bundles: BTreeMap<TrustDomain, TrustBundle>,
    /// The peers that may fetch their private document, by the UUID that is the subject of their
    /// tokens.
    pub members: BTreeMap<ClusterUuid, Member>,
    /// The document that anybody may fetch.
    pub public_document: PublicDocument,
    /// The document that each peer may fetch. It lists which of the peer's roots are in
    /// `bundles`. So put `bundles` in force at the gateway before serving it.
    pub private_documents: BTreeMap<PeerName, Arc<PrivateDocument>>,
    /// The peers that are told other gateway addresses than [`LocalCluster::gateways`].
    pub told_others: BTreeSet<PeerName>,
    /// Our roots, for readers that know only SPIFFE.
    pub spiffe_bundle: SpiffeBundle,
    /// The report on each peer, in order of name, refused peers included.
    pub peers: Vec<PeerReport>,
    /// The `Accepted` condition (False, with the reason) of each `IstioFederation` that is not a
    /// valid peer and has no report, by the object's name. The object that describes this cluster
    /// is among them (reason `ThisCluster`).
    pub non_peers: BTreeMap<String, Condition>,
    /// Which peer holds which of our roots and keys.
    pub rotation: Rotation,
    /// What the operator should know, errors first. Includes the adapter's findings.
    pub findings: Vec<Finding>,
    /// To be kept and passed as [`Inputs::previous`] to the next run.
    pub published: Published,
    /// When the result changes even if no input does, because something becomes stale or expires.
    pub next_change: Option<Timestamp>,
}

/// A peer that may fetch its private document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in this cluster.
    pub peer: PeerName,
    /// The keys that its tokens are verified with.
    pub keys: PublicKeys,
}

/// A valid peer, with what is known of it and whether it takes part.
pub(crate) struct Candidate<'a> {
    pub(crate) peer: Peer,
    pub(crate) knowledge: Option<&'a PeerKnowledge>,
    pub(crate) standing: Standing,
    /// Set if its object is not valid now and its last valid version is in force.
    pub(crate) refused: Option<Condition>,
}

impl Candidate<'_> {
    pub(crate) fn is_accepted(&self) -> bool {
        self.standing == Standing::Accepted
    }

    /// Returns the ages that apply to the peer's documents.
    pub(crate) fn times(&self, inputs: &Inputs<'_>) -> Times {
        inputs.times.of_peer(&self.peer, self.knowledge.and_then(PeerKnowledge::hint))
    }

    /// Returns true if the connections that the peer has open must end, because who it is has not
    /// been confirmed for too long.
    pub(crate) fn is_dropped(&self, inputs: &Inputs<'_>) -> bool {
        let times = self.times(inputs);
        let known = self.knowledge.and_then(|knowledge| knowledge.public.as_ref());
        times.at_expiry == AtExpiry::Drop
            && known.is_some_and(|known| times.age(known.confirmed, inputs.now) == Age::Expired)
    }

    /// Returns the public document, unless it is too old to be used.
    pub(crate) fn public(&self, inputs: &Inputs<'_>) -> Option<&PublicDocument> {
        let known = self.knowledge?.public.as_ref()?;
        self.times(inputs).is_used(known.confirmed, inputs.now).then_some(&known.document)
    }

    /// Returns the private document, unless it is too old to be used.
    pub(crate) fn private(&self, inputs: &Inputs<'_>) -> Option<&PrivateDocument> {
        let known = self.knowledge?.private.as_ref()?;
        self.times(inputs).is_used(known.confirmed, inputs.now).then_some(&known.document)
    }
}

impl Federation {
    /// Returns the report on a peer.
    pub fn peer(&self, name: &PeerName) -> Option<&PeerReport> {
        self.peers.iter().find(|report| report.peer.name == *name)
    }
}

/// Computes the desired state.
pub fn federate(inputs: &Inputs<'_>) -> Federation {
    federate_again(inputs, &mut Memory::default())
}

/// Computes the same as [`federate()`], but repeats only what has changed since the run that left
/// `memory`, and shares the rest with its result. So a change of one peer costs little, however much
/// the others offer.
pub fn federate_again(inputs: &Inputs<'_>, memory: &mut Memory) -> Federation {
    let mut findings = inputs.objects.findings.clone();
    let (candidates, non_peers) = candidates(inputs, &mut findings);
    let accepted = || candidates.iter().filter(|candidate| candidate.is_accepted());

    let objects = inputs.objects.federations.iter().map(|named| named.name.as_str());
    let names: BTreeSet<&str> =
        objects.chain(candidates.iter().map(|candidate| candidate.peer.name.as_str())).collect();
    let peers = candidates
        .iter()
        .map(|candidate| (&candidate.peer.name, &candidate.peer.trust_domain))
        .collect();
    let known = KnownPeers { names: &names, peers };
    let policies = Policies::compile(&inputs.objects.policies, &known, &mut findings);
    let mut granter = Granter::new(&policies, accepted().map(|candidate| &candidate.peer.name));
    let (mut offers, passthrough) = export::offers(inputs, &names, &mut granter, &mut findings);
    let health = health::add(inputs.local, &mut offers, &granter);
    let exports = export::exports(&offers);
    let table = export::table(
        inputs,
        accepted().map(|candidate| (&candidate.peer, candidate.is_dropped(inputs))),
        &granter,
        &exports,
        health.as_ref(),
    );

    let bundles = bundles::bundles(inputs, accepted(), &mut findings);
    let importing =
        importing::import(inputs, accepted(), &bundles, &mut memory.imports, &mut findings);
    findings.extend(reach::unknown_peers(inputs, &names));
    let published = publish::publish(inputs, accepted(), &bundles, &offers, &table);
    findings.extend(published.findings);

    let modes: BTreeMap<_, _> = granter.modes().collect();
    let local = ObjectRef::cluster(inputs.local.trust_domain.as_str());
    findings.extend(granter.into_findings());
    findings.extend(inputs.local.credentials.findings(inputs.now));
    findings.extend(table.as_ref().err().map(|failure| failure.finding(local)));
    let compiled = report::Compiled {
        modes: &modes,
        exports: &exports,
        importing: &importing,
        documents: &published.documents,
    };
    let peers = report::reports(inputs, &candidates, &compiled, &mut findings);
    let known = federated::Known {
        inputs,
        candidates: &candidates,
        reports: &peers,
        bundles: &bundles,
        imports: &importing.imports,
    };
    let federated_services = federated::services(&known, &mut findings);
    findings.sort_by(|a, b| {
        (a.severity, &a.object, &a.field, a.reason)
            .cmp(&(b.severity, &b.object, &b.field, b.reason))
    });
    findings.dedup();
    Federation {
        next_change: report::next_change(inputs, &candidates, &peers),
        rotation: rotation::rotation(inputs, accepted()),
        members: members(inputs, accepted()),
        public_document: publish::public_document(inputs.local),
        private_documents: published.documents,
        told_others: published.told_others,
        spiffe_bundle: published.bundle,
        published: published.versions,
        table,
        exports,
        health,
        passthrough,
        imports: importing.imports,
        federated_services,
        probe_targets: importing.targets,
        gateway_names: importing.names,
        bundles,
        peers,
        non_peers,
        findings,
    }
}

/// Returns all peers, each judged, and the conditions of the objects that are not peers. If our own
/// trust domain cannot be federated, there are no peers.
fn candidates<'a>(
    inputs: &Inputs<'a>,
    findings: &mut Vec<Finding>,
) -> (Vec<Candidate<'a>>, BTreeMap<String, Condition>) {
    let ours = &inputs.local.trust_domain;
    let objects = &inputs.objects.federations;
    if let Err((reason, why)) = check_cluster_domain(ours) {
        findings.push(Finding::error(
            reason,
            ObjectRef::cluster(ours.as_str()),
            "trustDomain",
            why,
        ));
        let message = format!("this cluster's own trust domain is {ours}: {why}");
        let refusals = objects
            .iter()
            .map(|named| Finding::error(reason, named.object(), "", message.as_str()));
        let refusals = refusals.collect::<Vec<_>>();
        return (
            Vec::new(),
            non_peers::without_peers(
                non_peers::refused_objects(inputs.objects, &refusals),
                &BTreeSet::new(),
            ),
        );
    }
    let (mut peers, more) = peers(objects, ours);
    let refused = non_peers::refused_objects(inputs.objects, &more);
    findings.extend(more);
    peers.extend(last_valid::peers(inputs, &peers, &refused, findings));
    let mut candidates = standing::judge(inputs, peers, findings);
    for candidate in &mut candidates {
        candidate.refused = last_valid::condition(&candidate.peer, &refused);
    }
    let valid: BTreeSet<&str> =
        candidates.iter().map(|candidate| candidate.peer.name.as_str()).collect();
    let non_peers = non_peers::without_peers(refused, &valid);
    (candidates, non_peers)
}

fn members<'a, 'k: 'a>(
    inputs: &Inputs<'_>,
    accepted: impl Iterator<Item = &'a Candidate<'k>>,
) -> BTreeMap<ClusterUuid, Member> {
    let member = |candidate: &'a Candidate<'k>| {
        let document = candidate.public(inputs)?;
        let member = Member { peer: candidate.peer.name.clone(), keys: document.keys() };
        Some((document.cluster_uuid.clone(), member))
    };
    accepted.filter_map(member).collect()
}
