//! From what is known to what is in force: one pure function, [`federate()`].
//!
//! ```text
//! objects ──► peers ──► standings (who is refused, and why) ──┬─► imports, trust bundles
//!      │                     ▲                                ├─► documents for the peers
//!      │        knowledge ───┘                                ├─► reports
//!      └───► policies ──► grants ──► exports ─────────────────┴─► table
//! ```
//!
//! Nothing in here fails as a whole. What is wrong with one object, peer or document becomes a finding about it, and the rest
//! goes on. The same inputs give the same outputs, in the same order, byte for byte.

mod condition;
mod export;
mod gateways;
mod health;
mod import;
mod last_valid;
mod limits;
mod offer;
mod others;
mod passthrough;
mod publish;
mod report;
mod standing;

pub use condition::{Condition, ConditionStatus, ConditionType, table_too_large};
pub use export::{Export, TableFailure};
pub use gateways::Gateway;
pub use import::{Import, ProbeTarget, Protocol, ServerIdentity};
pub use passthrough::{Passthrough, PassthroughService};
pub use publish::{DocumentVersion, Published};
pub use report::PeerReport;
pub use standing::Standing;

use crate::bundle::{Root, TrustBundle};
use crate::credentials::Credentials;
use crate::document::{
    ClusterUuid, GatewayAddress, Network, PrivateDocument, PublicDocument, SpiffeBundle, WorkloadIdentity,
};
use crate::finding::{Finding, ObjectRef};
use crate::grant::{Granter, KnownPeers, Policies};
use crate::key::PublicKey;
use crate::knowledge::{Age, PeerKnowledge, Times};
use crate::object::{Objects, Peer, check_cluster_domain, peers};
use crate::own::OwnAddresses;
use fedgate_core::{Hostname, PeerName, ServiceName, Table, TrustDomain};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// This cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalCluster {
    /// Its trust domain, which is its cluster domain as well.
    pub trust_domain: TrustDomain,
    /// Its UUID.
    pub cluster_uuid: ClusterUuid,
    /// The key that its tokens are signed with.
    pub authn_key: PublicKey,
    /// Its roots.
    pub roots: Vec<Root>,
    /// What is known of its own certificates.
    pub credentials: Credentials,
    /// Its network.
    pub network: Network,
    /// Where its gateways can be reached by the peers.
    pub gateways: Vec<GatewayAddress>,
    /// The SPIFFE IDs of its gateways; empty: the peers accept any identity of its trust domain.
    pub gateway_identities: Vec<WorkloadIdentity>,
    /// Whether the name that DKP's clusters probe ([peer protocol, section 4](crate::document)) is offered to every peer. Somebody behind
    /// the gateway has to answer it.
    pub health_name: bool,
    /// Whether TLS can be passed through to workloads.
    pub passthrough: Passthrough,
    /// What it listens on itself.
    pub own: OwnAddresses,
}

/// Everything that [`federate()`] looks at.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// This cluster.
    pub local: &'a LocalCluster,
    /// What its operators wrote.
    pub objects: &'a Objects,
    /// What is known of the peers, by name.
    pub knowledge: &'a BTreeMap<PeerName, PeerKnowledge>,
    /// The versions of what was published last: [`Federation::published`] of the last run, or the default for the first.
    pub previous: &'a Published,
    /// When knowledge is stale.
    pub times: Times,
    /// The time of day.
    pub now: Timestamp,
}

/// Everything that follows from the inputs.
#[derive(Debug, Clone)]
pub struct Federation {
    /// The table for the gateway. On failure the last good one stays in force; a finding says so too.
    pub table: Result<Table, TableFailure>,
    /// The exports, in order of service: TCP ports only, as in the table.
    pub exports: Vec<Export>,
    /// The name by which peers find out whether they get through, if it is offered: a row of the table that no Service stands behind.
    pub health: Option<ServiceName>,
    /// The Services whose TLS is to be passed through, in order: their workloads have to believe the peers' roots beside ours. Each is
    /// among the exports as soon as [`Passthrough::Prepared`] says that they do.
    pub passthrough: Vec<PassthroughService>,
    /// The imports, in order of service.
    pub imports: Vec<Import>,
    /// What of each peer's gateways is to be probed; peers of which no gateway is in force have nothing.
    pub probe_targets: BTreeMap<PeerName, ProbeTarget>,
    /// The names of each peer's gateways, which are to be looked up; peers without names are not in it.
    pub gateway_names: BTreeMap<PeerName, BTreeSet<Hostname>>,
    /// The roots of each peer whose identities may be believed.
    pub bundles: BTreeMap<TrustDomain, TrustBundle>,
    /// The peers that may ask for their private document, by the UUID that their tokens have as subject.
    pub members: BTreeMap<ClusterUuid, Member>,
    /// What anybody may fetch.
    pub public_document: PublicDocument,
    /// What each peer may fetch. It tells the peer which of its roots are in `bundles`, so those have to be handed to the gateway
    /// before it is handed out.
    pub private_documents: BTreeMap<PeerName, Arc<PrivateDocument>>,
    /// Our roots, for readers that know SPIFFE only.
    pub spiffe_bundle: SpiffeBundle,
    /// How it is with each peer, in order of name; those that are refused included.
    pub peers: Vec<PeerReport>,
    /// The condition of each `IstioFederation` that is no valid peer and has no report, by the object's name: `Accepted` is
    /// False, with why. The object that describes this cluster is among them (reason `ThisCluster`).
    pub others: BTreeMap<String, Condition>,
    /// What the operator should know, errors first. What the adapter found is part of it.
    pub findings: Vec<Finding>,
    /// To be kept, and handed in as [`Inputs::previous`] next time.
    pub published: Published,
    /// When the result will be another one though nothing else changes: something gets stale, or expires.
    pub next_change: Option<Timestamp>,
}

/// A peer that may ask for its private document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name here.
    pub peer: PeerName,
    /// The key that its tokens are signed with.
    pub key: PublicKey,
}

/// A valid peer, with what is known of it and whether it takes part.
pub(crate) struct Candidate<'a> {
    pub(crate) peer: Peer,
    pub(crate) knowledge: Option<&'a PeerKnowledge>,
    pub(crate) standing: Standing,
    /// Why its object is not valid now: then its last valid version is in force.
    pub(crate) refused: Option<Condition>,
}

impl Candidate<'_> {
    pub(crate) fn is_accepted(&self) -> bool {
        self.standing == Standing::Accepted
    }

    /// The public document, unless it is too old to be used.
    pub(crate) fn public(&self, inputs: &Inputs<'_>) -> Option<&PublicDocument> {
        let known = self.knowledge?.public.as_ref()?;
        (inputs.times.age(known.confirmed, inputs.now) < Age::Expired).then_some(&known.document)
    }

    /// The private document, unless it is too old to be used.
    pub(crate) fn private(&self, inputs: &Inputs<'_>) -> Option<&PrivateDocument> {
        let known = self.knowledge?.private.as_ref()?;
        (inputs.times.age(known.confirmed, inputs.now) < Age::Expired).then_some(&known.document)
    }
}

impl Federation {
    /// The report on a peer.
    pub fn peer(&self, name: &PeerName) -> Option<&PeerReport> {
        self.peers.iter().find(|report| report.peer.name == *name)
    }

    /// The key of the peer that a token says it comes from; for [`crate::token::verify`].
    pub fn key_of(&self, cluster: &ClusterUuid) -> Option<PublicKey> {
        self.members.get(cluster).map(|member| member.key)
    }

    /// The audience of a token for a peer; `None` when none may be sent to it.
    ///
    /// It is answered from here and not from what is known of the one peer, because a peer may claim another cluster's UUID, and
    /// the token would then open that cluster's document for us to the wrong one. So after a public document with a new UUID, the
    /// private document waits for the next [`federate()`].
    pub fn token_audience(&self, peer: &PeerName) -> Option<&ClusterUuid> {
        self.peer(peer).filter(|report| report.standing.may_send_token())?.cluster_uuid.as_ref()
    }

    /// What a peer that was verified may fetch.
    pub fn private_document_for(&self, cluster: &ClusterUuid) -> Option<&Arc<PrivateDocument>> {
        self.members.get(cluster).and_then(|member| self.private_documents.get(&member.peer))
    }
}

/// Works out what is in force.
pub fn federate(inputs: &Inputs<'_>) -> Federation {
    let mut findings = inputs.objects.findings.clone();
    let (candidates, others) = candidates(inputs, &mut findings);
    let accepted = || candidates.iter().filter(|candidate| candidate.is_accepted());

    let objects = inputs.objects.federations.iter().map(|named| named.name.as_str());
    let names: BTreeSet<&str> =
        objects.chain(candidates.iter().map(|candidate| candidate.peer.name.as_str())).collect();
    let peers = candidates.iter().map(|candidate| (&candidate.peer.name, &candidate.peer.trust_domain)).collect();
    let known = KnownPeers { names: &names, peers };
    let policies = Policies::compile(&inputs.objects.policies, &known, &mut findings);
    let mut granter = Granter::new(&policies, accepted().map(|candidate| &candidate.peer.name));
    let (mut offers, passthrough) = export::offers(inputs, &names, &mut granter, &mut findings);
    let health = health::add(inputs.local, &mut offers, &granter);
    let exports = export::exports(&offers);
    let table = export::table(inputs, accepted().map(|candidate| &candidate.peer), &granter, &exports, health.as_ref());

    let bundles = import::bundles(inputs, accepted(), &mut findings);
    let imports = import::imports(inputs, accepted(), &bundles, &mut findings);
    let published = publish::publish(inputs, accepted().map(|candidate| &candidate.peer), &bundles, &offers, &table);
    findings.extend(published.findings);

    let modes: BTreeMap<_, _> = granter.modes().collect();
    let local = ObjectRef::cluster(inputs.local.trust_domain.as_str());
    findings.extend(granter.into_findings());
    findings.extend(inputs.local.credentials.findings(inputs.now));
    findings.extend(table.as_ref().err().map(|failure| failure.finding(local)));
    let peers = report::reports(inputs, &candidates, &modes, &exports, &imports, &mut findings);
    findings
        .sort_by(|a, b| (a.severity, &a.object, &a.field, a.reason).cmp(&(b.severity, &b.object, &b.field, b.reason)));
    findings.dedup();
    Federation {
        next_change: report::next_change(inputs, &candidates),
        members: members(inputs, accepted()),
        public_document: publish::public_document(inputs.local),
        private_documents: published.documents,
        spiffe_bundle: published.bundle,
        published: published.versions,
        table,
        exports,
        health,
        passthrough,
        imports: imports.rows,
        probe_targets: imports.targets,
        gateway_names: imports.names,
        bundles,
        peers,
        others,
        findings,
    }
}

/// All peers, each judged, and what to say of the objects that are none. When our own trust domain cannot be federated,
/// nobody's can with it.
fn candidates<'a>(
    inputs: &Inputs<'a>,
    findings: &mut Vec<Finding>,
) -> (Vec<Candidate<'a>>, BTreeMap<String, Condition>) {
    let ours = &inputs.local.trust_domain;
    let objects = &inputs.objects.federations;
    if let Err((reason, why)) = check_cluster_domain(ours) {
        findings.push(Finding::error(reason, ObjectRef::cluster(ours.as_str()), "trustDomain", why));
        let message = format!("this cluster's own trust domain is {ours}: {why}");
        let refusals = objects.iter().map(|named| Finding::error(reason, named.object(), "", message.as_str()));
        let refusals = refusals.collect::<Vec<_>>();
        return (Vec::new(), others::others(others::refused_objects(inputs.objects, &refusals), &BTreeSet::new()));
    }
    let (mut peers, more) = peers(objects, ours);
    let refused = others::refused_objects(inputs.objects, &more);
    findings.extend(more);
    peers.extend(last_valid::peers(inputs, &peers, &refused, findings));
    let mut candidates = standing::judge(inputs, peers, findings);
    for candidate in &mut candidates {
        candidate.refused = last_valid::condition(&candidate.peer, &refused);
    }
    let valid: BTreeSet<&str> = candidates.iter().map(|candidate| candidate.peer.name.as_str()).collect();
    let others = others::others(refused, &valid);
    (candidates, others)
}

fn members<'a, 'k: 'a>(
    inputs: &Inputs<'_>,
    accepted: impl Iterator<Item = &'a Candidate<'k>>,
) -> BTreeMap<ClusterUuid, Member> {
    let member = |candidate: &'a Candidate<'k>| {
        let document = candidate.public(inputs)?;
        let member = Member { peer: candidate.peer.name.clone(), key: document.authn_key };
        Some((document.cluster_uuid.clone(), member))
    };
    accepted.filter_map(member).collect()
}
