//! The ConfigMaps in which replicas share what they know, and from which the next start continues.

use super::object::{Desired, Head};
use super::reserved::{self, HostAddress, RESERVED_KEY};
use crate::api::kind::Kind;
use crate::settings::Namespaces;
use crate::sources::memory::{
    CHANGES, CHANGES_KEY, CLUSTER, CLUSTER_KEY, ClusterRecord, KNOWLEDGE_KEY, LABEL, PEER,
    PUBLISHED_KEY, STATE, pack_changes,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fedgate_core::PeerName;
use fedgate_engine::history::History;
use fedgate_envoy::resource::hash;
use fedgate_federation::federate::Published;
use serde_json::json;

/// The ConfigMap about this cluster.
pub(crate) fn state(
    namespaces: &Namespaces,
    published: &Published,
    record: &ClusterRecord,
) -> Desired {
    let owner = namespaces.own();
    let head = Head { kind: Kind::ConfigMap, namespace: owner, name: STATE, owner, peer: None };
    let data = json!({ PUBLISHED_KEY: json!(published).to_string(), CLUSTER_KEY: json!(record).to_string() });
    Desired::labelled(head, json!({ "data": data }), &[(LABEL, CLUSTER)])
}

/// The ConfigMap about a peer: what is known of it, and the addresses of its hosts that are no
/// longer imported.
pub(crate) fn peer(
    namespaces: &Namespaces,
    peer: &PeerName,
    packed: &[u8],
    removed: &HostAddress,
) -> Desired {
    let mut data = json!({ KNOWLEDGE_KEY: BASE64_STANDARD.encode(packed) });
    if !removed.is_empty() {
        data[RESERVED_KEY] = BASE64_STANDARD.encode(reserved::pack(removed)).into();
    }
    let owner = namespaces.own();
    let name = name(peer);
    let head = Head {
        kind: Kind::ConfigMap,
        namespace: owner,
        name: &name,
        owner,
        peer: Some(peer.as_str()),
    };
    Desired::labelled(head, json!({ "binaryData": data }), &[(LABEL, PEER)])
}

/// The ConfigMap with what happened. It has no label of the replicas' memory, because only people
/// and the next leader read it.
pub(crate) fn changes(namespaces: &Namespaces, history: &History) -> Desired {
    let owner = namespaces.own();
    let head = Head { kind: Kind::ConfigMap, namespace: owner, name: CHANGES, owner, peer: None };
    let packed = BASE64_STANDARD.encode(pack_changes(history));
    Desired::new(head, json!({ "binaryData": { CHANGES_KEY: packed } }))
}

/// Both an object's name and a peer's name may have up to 253 characters, so a long name is hashed.
fn name(peer: &PeerName) -> String {
    const LONGEST: usize = 200;
    match peer.as_str() {
        name if name.len() <= LONGEST => format!("fedgate-peer-{name}"),
        name => format!("fedgate-peer-{}", hash(name.as_bytes())),
    }
}
