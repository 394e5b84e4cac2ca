//! What the exporter serves: ready-made bytes, built when the federation changes and not when somebody asks.

use super::document::{Document, Head};
use fedgate_federation::{Federation, document::ClusterUuid, key::PublicKey};
use std::collections::HashMap;

/// Everything that is served at one moment. By default nothing is.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// What everybody may read; `None` until this cluster has a root.
    pub public: Option<Document>,
    /// This cluster's SPIFFE bundle; `None` until there is a root.
    pub bundle: Option<Document>,
    /// What peers may read.
    pub access: Option<Access>,
}

/// What peers may read, and how one knows that it is they.
#[derive(Clone, Debug)]
pub struct Access {
    pub(super) audience: ClusterUuid,
    pub(super) own_key: PublicKey,
    peers: HashMap<ClusterUuid, PeerAccess>,
}

/// One peer's.
#[derive(Clone, Debug)]
pub(super) struct PeerAccess {
    pub(super) key: PublicKey,
    pub(super) document: Document,
}

impl Published {
    /// What a federation publishes.
    pub fn of(federation: &Federation) -> Self {
        let public = &federation.public_document;
        // Without a root the documents would be broken ones to whoever reads them.
        let is_ready = !public.roots.is_empty();
        Self {
            public: is_ready.then(|| Document::new(public.to_json())),
            bundle: is_ready.then(|| Document::new(federation.spiffe_bundle.to_json())),
            access: Some(Access::of(federation)),
        }
    }

    pub(super) fn peer(&self, cluster: &ClusterUuid) -> Option<&PeerAccess> {
        self.access.as_ref().and_then(|access| access.peer(cluster))
    }
}

impl Access {
    /// Nobody's yet. `audience` is what tokens have to be meant for, `own_key` this cluster's own.
    pub fn new(audience: ClusterUuid, own_key: PublicKey) -> Self {
        Self { audience, own_key, peers: HashMap::new() }
    }

    fn of(federation: &Federation) -> Self {
        let public = &federation.public_document;
        let mut access = Self::new(public.cluster_uuid.clone(), public.authn_key);
        let mut heads = HashMap::new();
        for (cluster, member) in &federation.members {
            let Some(document) = federation.private_documents.get(&member.peer) else { continue };
            // Most peers may see the same, and share one list of services then: that is written, and kept, once.
            let same = (document.services.as_ptr(), document.gateways.as_slice());
            let head: &Head = heads.entry(same).or_insert_with(|| Head::new(document.head_json()));
            access.allow(cluster.clone(), member.key, head.with(document.tail_json()));
        }
        access
    }

    /// Lets the cluster whose tokens are signed with `key` read `document`.
    pub fn allow(&mut self, cluster: ClusterUuid, key: PublicKey, document: Document) {
        self.peers.insert(cluster, PeerAccess { key, document });
    }

    pub(super) fn peer(&self, cluster: &ClusterUuid) -> Option<&PeerAccess> {
        self.peers.get(cluster)
    }
}
