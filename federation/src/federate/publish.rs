//! The published documents, and the numbers that grow when they change.

use super::offer::Offer;
use super::reach::{Telling, Told};
use super::{Candidate, Inputs, LocalCluster, TableFailure, limits, view};
use crate::bundle::{Fingerprint, TrustBundle};
use crate::document::{
    PrivateDocument, PrivateExtension, PublicDocument, PublicExtension, PublicService,
    SpiffeBundle, View, entity_tag,
};
use crate::finding::Finding;
use crate::grant::PeerGrant;
use crate::key::PublicKeys;
use crate::object::GatewayMode;
use fedgate_core::{Hex, Hostname, PeerName, Table, TrustDomain};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The versions of what was published last. Keep it across restarts; without it, numbers continue
/// from the current time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Published {
    /// The table's generation; 0 before the first table. A new one is the time in milliseconds,
    /// like a sequence.
    pub generation: u64,
    /// The table's content hash.
    pub table: Option<String>,
    /// The version of each peer's private document.
    pub documents: BTreeMap<PeerName, DocumentVersion>,
    /// The version of our SPIFFE bundle.
    pub bundle: Option<DocumentVersion>,
    /// The version of our public document. It is not in the document, but in its signature.
    pub public: Option<DocumentVersion>,
}

impl Published {
    /// Returns where to continue after a restart. `table` is the one that the gateway has, whatever
    /// was saved. A generation must never stand for two tables, and a generation that the gateway
    /// has had must not come back.
    #[must_use]
    pub fn resumed(self, table: Option<&Table>) -> Self {
        match table {
            // The generation was saved, but its table did not reach the gateway. The same table is
            // built again.
            Some(table) if table.generation() < self.generation => self,
            Some(table)
                if table.generation() == self.generation
                    && self.table == Some(table.hash().to_string()) =>
            {
                self
            }
            Some(table) if table.generation() > self.generation => Self {
                generation: table.generation(),
                table: Some(table.hash().to_string()),
                ..self
            },
            _ => self.without_table(),
        }
    }

    /// Returns the same versions, but the next table and documents all get new numbers. Use it if
    /// what was saved may be older than what gateways and peers have seen: they would take a reused
    /// number for a replay.
    #[must_use]
    pub fn renumbered(mut self) -> Self {
        let versions = self.documents.values_mut().chain(&mut self.bundle);
        for version in versions.chain(&mut self.public) {
            version.content.clear();
        }
        self.without_table()
    }

    /// Returns the same versions, but the next table gets a new generation.
    fn without_table(self) -> Self {
        Self { table: None, ..self }
    }
}

/// The version of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentVersion {
    /// Its sequence.
    pub sequence: u64,
    /// SHA-256 of its content without sequence and view, in hexadecimal.
    pub content: String,
}

pub(super) struct Publication {
    pub(super) documents: BTreeMap<PeerName, Arc<PrivateDocument>>,
    pub(super) told_others: BTreeSet<PeerName>,
    pub(super) bundle: SpiffeBundle,
    pub(super) versions: Published,
    /// The findings about what exceeds the peers' limits.
    pub(super) findings: Vec<Finding>,
}

/// Returns what anybody may know of this cluster.
pub(super) fn public_document(local: &LocalCluster) -> PublicDocument {
    let mut roots = local.roots.clone();
    roots.sort();
    roots.dedup();
    PublicDocument {
        cluster_uuid: local.cluster_uuid.clone(),
        authn_key: local.authn_key,
        roots,
        extension: Some(PublicExtension {
            trust_domain: local.trust_domain.clone(),
            other_key: local.keys().other,
        }),
    }
}

/// Returns the documents of the accepted peers, and our SPIFFE bundle.
pub(super) fn publish<'a, 'k: 'a>(
    inputs: &Inputs<'_>,
    accepted: impl Iterator<Item = &'a Candidate<'k>>,
    bundles: &BTreeMap<TrustDomain, TrustBundle>,
    offers: &BTreeMap<Hostname, Offer>,
    table: &Result<Table, TableFailure>,
) -> Publication {
    let before = inputs.previous;
    let mut versions = Published { documents: BTreeMap::new(), bundle: None, ..before.clone() };
    if let Ok(table) = table {
        versions.generation = table.generation();
        versions.table = Some(table.hash().to_string());
    }
    let mut contents = Contents::new(inputs, offers);
    let (mut findings, mut told_others) = (Vec::new(), BTreeSet::new());
    let telling = Telling::new(inputs.local, &mut findings);
    let (mut documents, mut bytes) = (BTreeMap::new(), BTreeMap::new());
    for (index, candidate) in accepted.enumerate() {
        let peer = &candidate.peer;
        let Content { mut document, head, head_bytes } = contents.of_peer(index);
        let told = telling.of_peer(candidate, &mut findings);
        told_others.extend((told != *telling.all()).then(|| peer.name.clone()));
        let Told { gateways, localities } = told;
        document.gateways = gateways.to_vec();
        if let Some(extension) = &mut document.extension {
            extension.gateway_localities = localities.to_vec();
            let applied = bundles.get(&peer.trust_domain).map(applied_roots);
            let keys = candidate.public(inputs).map(|document| applied_keys(document.keys()));
            (extension.applied_roots, extension.applied_keys) =
                (Some(applied.unwrap_or_default()), keys);
        }
        let tail = document.tail_json();
        let view = view::of_peer(inputs, candidate);
        let view_bytes = view.as_ref().map_or(0, View::written_bytes);
        bytes.insert(peer.name.clone(), head_bytes + tail.len() + view_bytes);
        // The view is not part of what the version stands for.
        let hash = Hex(&head.chain_update(tail).finalize()).to_string();
        let version = next_version(inputs, before.documents.get(&peer.name), hash);
        document.extension.iter_mut().for_each(|extension| {
            (extension.sequence, extension.view) = (version.sequence, view.clone())
        });
        documents.insert(peer.name.clone(), Arc::new(document));
        versions.documents.insert(peer.name.clone(), version);
    }
    let bundle = spiffe_bundle(inputs);
    versions.bundle = Some(bundle.1);
    let public = Hex(&Sha256::digest(public_document(inputs.local).to_json())).to_string();
    versions.public = Some(next_version(inputs, before.public.as_ref(), public));
    findings.extend(limits::findings(inputs, &documents, &bytes));
    Publication { documents, told_others, bundle: bundle.0, versions, findings }
}

fn spiffe_bundle(inputs: &Inputs<'_>) -> (SpiffeBundle, DocumentVersion) {
    let roots = public_document(inputs.local).roots;
    let unnumbered = SpiffeBundle { sequence: 0, roots };
    let version = next_version(
        inputs,
        inputs.previous.bundle.as_ref(),
        Hex(&Sha256::digest(unnumbered.to_json())).to_string(),
    );
    (SpiffeBundle { sequence: version.sequence, ..unnumbered }, version)
}

/// Returns the previous version if the content is the same, otherwise one with the next sequence.
fn next_version(
    inputs: &Inputs<'_>,
    before: Option<&DocumentVersion>,
    content: String,
) -> DocumentVersion {
    if let Some(same) = before.filter(|before| before.content == content) {
        return same.clone();
    }
    let sequence = next_number(inputs.now, before.map_or(0, |before| before.sequence));
    DocumentVersion { sequence, content }
}

/// Returns the number of a new version: one more than before, and at least the time in
/// milliseconds. So numbers keep growing even if the saved ones are lost or the clock goes back.
pub(super) fn next_number(now: Timestamp, before: u64) -> u64 {
    let millisecond = u64::try_from(now.as_millisecond()).unwrap_or_default();
    before.saturating_add(1).max(millisecond)
}

fn applied_roots(bundle: &TrustBundle) -> Vec<Fingerprint> {
    in_order(bundle.roots.iter().map(|root| root.fingerprint()).collect())
}

fn applied_keys(keys: PublicKeys) -> Vec<Fingerprint> {
    in_order(keys.iter().map(|key| key.fingerprint()).collect())
}

fn in_order(mut fingerprints: Vec<Fingerprint>) -> Vec<Fingerprint> {
    fingerprints.sort_unstable();
    fingerprints.dedup();
    fingerprints
}

/// The contents of the peers' documents, each built once: with many peers, most may see the same.
struct Contents<'a> {
    local: &'a LocalCluster,
    /// The entity tag of the public document.
    public_tag: String,
    /// From which age on peers should show our documents as stale.
    hint: Option<Duration>,
    offers: &'a BTreeMap<Hostname, Offer>,
    /// The distinct lists of grants, by address.
    classes: BTreeMap<*const PeerGrant, &'a [PeerGrant]>,
    known: BTreeMap<BTreeSet<*const PeerGrant>, Content>,
}

/// The part that is the same in the documents of all peers that may see the same services.
#[derive(Clone)]
struct Content {
    /// Its sequence is 0, and it names no gateways.
    document: PrivateDocument,
    /// The hash of the part of the body that is the same.
    head: Sha256,
    /// The size of that part.
    head_bytes: usize,
}

impl<'a> Contents<'a> {
    fn new(inputs: &Inputs<'a>, offers: &'a BTreeMap<Hostname, Offer>) -> Self {
        let (local, hint) = (inputs.local, inputs.times.hint);
        let ports = offers.values().flat_map(|offer| &offer.ports);
        let classes = ports.map(|port| (port.grants.as_ptr(), port.grants.as_ref())).collect();
        let public_tag = entity_tag(Sha256::new_with_prefix(public_document(local).to_json()));
        Self { local, public_tag, hint, offers, classes, known: BTreeMap::new() }
    }

    /// Returns the content for the peer with this index among the accepted peers.
    fn of_peer(&mut self, index: usize) -> Content {
        let is_visible =
            |grants: &[PeerGrant]| grants.get(index).is_some_and(PeerGrant::is_visible);
        let visible = self
            .classes
            .iter()
            .filter(|(_, grants)| is_visible(grants))
            .map(|(address, _)| *address);
        let visible: BTreeSet<_> = visible.collect();
        if let Some(known) = self.known.get(&visible) {
            return known.clone();
        }
        let document = document(self.local, (&self.public_tag, self.hint), self.offers, &visible);
        let head = document.head_json();
        let content =
            Content { head: Sha256::new_with_prefix(&head), head_bytes: head.len(), document };
        self.known.insert(visible, content.clone());
        content
    }
}

fn document(
    local: &LocalCluster,
    (public_tag, hint): (&str, Option<Duration>),
    offers: &BTreeMap<Hostname, Offer>,
    visible: &BTreeSet<*const PeerGrant>,
) -> PrivateDocument {
    let service = |offer: &Offer| {
        let ports = offer.ports.iter().filter(|port| visible.contains(&port.grants.as_ptr()));
        let ports: Vec<_> = ports.map(|port| port.row.clone()).collect();
        (!ports.is_empty()).then(|| PublicService { hostname: offer.hostname.clone(), ports })
    };
    let services: Arc<[PublicService]> = offers.values().filter_map(service).collect();
    let is_passed_through = |host: &&Hostname| {
        offers.get(*host).is_some_and(|offer| offer.mode == GatewayMode::Passthrough)
    };
    let passthrough_hosts =
        services.iter().map(|service| &service.hostname).filter(is_passed_through).cloned();
    let extension = PrivateExtension {
        sequence: 0,
        service_count: services.len() as u64,
        network: local.network.clone(),
        gateway_identities: local.gateway_identities.clone(),
        gateway_localities: Vec::new(),
        passthrough_hosts: passthrough_hosts.collect(),
        applied_roots: None,
        applied_keys: None,
        public_tag: Some(public_tag.to_owned()),
        stale_after_seconds: hint.map(|hint| hint.as_secs()),
        view: None,
    };
    // What differs from peer to peer is filled in for each.
    PrivateDocument { gateways: Vec::new(), services, extension: Some(extension) }
}
