//! What the exporter serves: ready-made bytes, built when the federation changes, not on each
//! request.

use super::document::{Document, Head};
use super::news::News;
use fedgate_federation::{
    Federation, document::ClusterUuid, key::PublicKeys, knowledge::DocumentKind,
};
use fedgate_trace::Change;
use std::{collections::HashMap, sync::Arc};

/// Everything that is served at one moment. The default serves nothing.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The public document. `None` until this cluster has a root.
    pub public: Option<Document>,
    /// This cluster's SPIFFE bundle. `None` until this cluster has a root.
    pub bundle: Option<Document>,
    /// The private documents, and who may read them.
    pub access: Option<Access>,
}

/// Who may read a private document, and how tokens are checked.
#[derive(Clone, Debug)]
pub struct Access {
    pub(super) audience: ClusterUuid,
    pub(super) own_keys: PublicKeys,
    peers: HashMap<ClusterUuid, PeerAccess>,
}

/// One peer's access.
#[derive(Clone, Debug)]
pub(super) struct PeerAccess {
    pub(super) keys: PublicKeys,
    pub(super) document: Document,
    /// The change that the document follows from, if that is traced.
    pub(super) news: Option<Arc<News>>,
}

impl Published {
    /// What a federation publishes.
    pub fn of(federation: &Federation) -> Self {
        let public = &federation.public_document;
        // Without a root, readers would take the documents for broken.
        let is_ready = !public.roots.is_empty();
        Self {
            public: is_ready.then(|| public_document(federation)),
            bundle: is_ready.then(|| Document::new(federation.spiffe_bundle.to_json())),
            access: Some(Access::of(federation)),
        }
    }

    /// What a federation publishes after a change. A document that is the same in `before` follows
    /// from an earlier change.
    pub fn of_change(federation: &Federation, change: &Change, before: &Self) -> Self {
        let mut published = Self::of(federation);
        let Some(access) = published.access.as_mut() else { return published };
        if !change.is_traced() && !before.has_news() {
            return published;
        }
        for (cluster, member) in &federation.members {
            let Some(now) = access.peers.get_mut(cluster) else { continue };
            let same = |before: &&PeerAccess| before.document.etag() == now.document.etag();
            now.news = match before.peer(cluster).filter(same) {
                Some(before) => before.news.clone(),
                None => News::of(change, &member.peer).map(Arc::new),
            };
        }
        published
    }

    fn has_news(&self) -> bool {
        let peers = self.access.iter().flat_map(|access| access.peers.values());
        peers.into_iter().any(|peer| peer.news.is_some())
    }

    pub(super) fn peer(&self, cluster: &ClusterUuid) -> Option<&PeerAccess> {
        self.access.as_ref().and_then(|access| access.peer(cluster))
    }
}

fn public_document(federation: &Federation) -> Document {
    let public = &federation.public_document;
    let sequence = federation.published.public.as_ref().map_or(0, |version| version.sequence);
    let document = Document::new(public.to_json());
    document.issued_by(&public.cluster_uuid, DocumentKind::Public, None, sequence)
}

impl Access {
    /// Access for no peers yet. `audience` is the audience that tokens must have; `own_keys` are this
    /// cluster's own.
    pub fn new(audience: ClusterUuid, own_keys: impl Into<PublicKeys>) -> Self {
        Self { audience, own_keys: own_keys.into(), peers: HashMap::new() }
    }

    fn of(federation: &Federation) -> Self {
        let public = &federation.public_document;
        let mut access = Self::new(public.cluster_uuid.clone(), public.keys());
        let mut heads = HashMap::new();
        for (cluster, member) in &federation.members {
            let Some(document) = federation.private_documents.get(&member.peer) else { continue };
            // Most peers may see the same services and then share one list, so its text is written
            // and kept once.
            let same = document.services.as_ptr();
            let head: &Head = heads.entry(same).or_insert_with(|| Head::new(document.head_json()));
            let sequence = document.extension.as_ref().map_or(0, |extension| extension.sequence);
            let (issuer, kind) = (&public.cluster_uuid, DocumentKind::Private);
            let document = head.with(document.tail_json());
            let document = document.issued_by(issuer, kind, Some(cluster), sequence);
            access.allow(cluster.clone(), member.keys, document);
        }
        access
    }

    /// Lets the cluster that signs its tokens with one of `keys` read `document`.
    pub fn allow(&mut self, cluster: ClusterUuid, keys: impl Into<PublicKeys>, document: Document) {
        self.peers.insert(cluster, PeerAccess { keys: keys.into(), document, news: None });
    }

    pub(super) fn peer(&self, cluster: &ClusterUuid) -> Option<&PeerAccess> {
        self.peers.get(cluster)
    }
}
