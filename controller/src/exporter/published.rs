//! What the exporter serves: ready-made bytes, built when the federation changes and not when somebody asks.

use axum::{body::Bytes, http::HeaderValue};
use fedgate_federation::{Federation, document::ClusterUuid, key::PublicKey};
use sha2::{Digest, Sha256};
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
        let mut written = HashMap::new();
        for (cluster, member) in &federation.members {
            let Some(document) = federation.private_documents.get(&member.peer) else { continue };
            // Most peers may see the same, and share one list of services then: that is written, and kept, once.
            let same = (document.services.as_ptr(), document.extension.as_ref().map(|extension| extension.sequence));
            let document: &Document = written.entry(same).or_insert_with(|| Document::new(document.to_json()));
            access.allow(cluster.clone(), member.key, document.clone());
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

/// One document: its bytes and its strong entity tag (RFC 9110 section 8.8.3), which is a hash of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    bytes: Bytes,
    etag: HeaderValue,
}

impl Document {
    /// A document of these bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let etag = entity_tag(&bytes);
        Self { bytes, etag }
    }

    /// The body.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The entity tag, quotes included.
    pub fn etag(&self) -> &HeaderValue {
        &self.etag
    }

    /// Whether a client that sent this `If-None-Match` has the document already (RFC 9110 section 13.1.2, weak comparison).
    pub(super) fn is_in(&self, if_none_match: &HeaderValue) -> bool {
        let tags = if_none_match.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        tags.map(|tag| tag.strip_prefix(b"W/").unwrap_or(tag)).any(|tag| tag == b"*" || tag == self.etag.as_bytes())
    }
}

fn entity_tag(bytes: &[u8]) -> HeaderValue {
    use std::fmt::Write;
    let mut tag = String::from('"');
    for byte in &Sha256::digest(bytes)[..16] {
        // Writing to a string cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    // Hexadecimal digits in quotes are a valid header value.
    HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(text: &str) -> HeaderValue {
        HeaderValue::from_str(text).unwrap()
    }

    #[test]
    fn equal_bytes_have_equal_tags_and_others_dont() {
        let (one, same, other) = (Document::new("{}"), Document::new(b"{}".to_vec()), Document::new("{} "));
        assert_eq!(one.etag(), same.etag());
        assert_ne!(one.etag(), other.etag());
        // sha256("{}") is known.
        assert_eq!(one.etag(), "\"44136fa355b3678a1146ad16f7e8649e\"");
    }

    #[test]
    fn if_none_match_is_a_list_with_weak_tags_and_a_star() {
        let document = Document::new("{}");
        let tag = document.etag().to_str().unwrap();
        for has in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag} ,\"y\""), "*".into()] {
            assert!(document.is_in(&sent(&has)), "{has}");
        }
        for has_not in ["", "\"\"", "44136fa355b3678a1146ad16f7e8649e", "\"44136fa355b3678a\"", ","] {
            assert!(!document.is_in(&sent(has_not)), "{has_not}");
        }
    }
}
