//! What a replica stores for the others and for the next start, in ConfigMaps in fedgate's own
//! namespace.
//!
//! Only the leader learns from peers, but every replica answers them. So the leader's knowledge and
//! the versions of what it published are objects. They hold no secrets, only documents, which peers
//! publish, and hashes.
//!
//! A peer's knowledge is packed (gzip): ten thousand services take a megabyte of text, which is
//! about the limit of an object.

use crate::api::watch::Key;
use crate::settings::{ControllerSettings, Namespaces, Selector};
use fedgate_core::PeerName;
use fedgate_engine::history::{History, MOST_CHANGES};
use fedgate_federation::bundle::{roots_from_pem, roots_to_pem};
use fedgate_federation::credentials::Credentials;
use fedgate_federation::document::{
    ClusterUuid, GatewayAddress, Limits, Network, WorkloadIdentity,
};
use fedgate_federation::federate::{Passthrough, Published, Reach};
use fedgate_federation::key::PublicKey;
use fedgate_federation::knowledge::{PeerKnowledge, Times};
use fedgate_federation::object::FederatedSuffix;
use fedgate_federation::own::OwnAddresses;
use fedgate_federation::{Finding, LocalCluster};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use kube::api::DynamicObject;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// The label of these ConfigMaps; its value distinguishes the two types.
pub(crate) const LABEL: &str = "fedgate.dev/memory";
/// The label's value for the ConfigMap about this cluster.
pub(crate) const CLUSTER: &str = "cluster";
/// The label's value for the ConfigMaps about peers.
pub(crate) const PEER: &str = "peer";
/// The name of the ConfigMap about this cluster.
pub(crate) const STATE: &str = "fedgate-state";

/// The name of the ConfigMap with what happened.
pub(crate) const CHANGES: &str = "fedgate-changes";

/// Keys in the ConfigMaps.
pub(crate) const PUBLISHED_KEY: &str = "published.json";
/// This cluster, for the command line.
pub(crate) const CLUSTER_KEY: &str = "cluster.json";
/// What is known of a peer.
pub(crate) const KNOWLEDGE_KEY: &str = "knowledge.json.gz";
/// What happened.
pub(crate) const CHANGES_KEY: &str = "changes.json.gz";
/// The annotation with the peer's name, which may be longer than a label's value.
pub(crate) const PEER_ANNOTATION: &str = "fedgate.dev/peer";

/// The maximum size of unpacked knowledge in bytes: a document's limit, plus room for the
/// additional fields.
const UNPACKED: u64 = 64 << 20;

/// What a ConfigMap stores.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Memory {
    /// Of this cluster.
    Cluster {
        /// The versions of what was published.
        published: Published,
        /// This cluster, and where its objects are.
        record: Option<Box<ClusterRecord>>,
    },
    /// Of a peer.
    Peer(PeerName, std::sync::Arc<PeerKnowledge>),
    /// Nothing that is valid; it will be overwritten.
    Nothing,
}

/// This cluster, as the command line reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterRecord {
    trust_domain: fedgate_core::TrustDomain,
    cluster_uuid: ClusterUuid,
    authn_key_pub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other_key_pub: Option<String>,
    root_ca: String,
    #[serde(default)]
    credentials: Credentials,
    network: Network,
    gateways: Vec<GatewayAddress>,
    #[serde(default)]
    reach: Reach,
    gateway_identities: Vec<WorkloadIdentity>,
    #[serde(default)]
    health_name: bool,
    #[serde(default)]
    passthrough: Passthrough,
    #[serde(default)]
    own: OwnAddresses,
    /// When knowledge is stale.
    pub times: Times,
    /// Where objects are.
    #[serde(rename = "places")]
    pub namespaces: Namespaces,
    /// The labels of the gateway's Pods.
    #[serde(default)]
    pub gateway_selector: Selector,
    /// The suffix of its federated names.
    #[serde(default)]
    pub federated_suffix: FederatedSuffix,
    /// Whether `ServiceExport`s export Services.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mcs_exports: bool,
    /// Whether `ServiceImport`s are written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mcs_imports: bool,
    /// What is missing in the cluster.
    #[serde(default)]
    pub findings: Vec<Finding>,
}

impl ClusterRecord {
    /// The record of a cluster with these findings.
    pub(crate) fn of(
        cluster: &LocalCluster,
        settings: &ControllerSettings,
        findings: &[Finding],
    ) -> Self {
        let LocalCluster {
            trust_domain,
            cluster_uuid,
            authn_key,
            other_key,
            roots,
            credentials,
            network,
            gateways,
            reach,
            gateway_identities,
            health_name,
            passthrough,
            own_addresses,
            federated_suffix,
        } = cluster.clone();
        Self {
            trust_domain,
            cluster_uuid,
            authn_key_pub: authn_key.to_pem(),
            other_key_pub: other_key.map(|key| key.to_pem()),
            root_ca: roots_to_pem(&roots),
            credentials,
            network,
            gateways,
            reach,
            gateway_identities,
            health_name,
            passthrough,
            own: own_addresses,
            federated_suffix,
            times: settings.intervals().knowledge,
            namespaces: settings.namespaces.clone(),
            gateway_selector: settings.gateway.selector.clone(),
            mcs_exports: settings.mcs_exports,
            mcs_imports: settings.mcs_imports,
            findings: findings.to_vec(),
        }
    }

    /// What is known of the certificates of the gateway's Pods.
    pub(crate) fn of_pods(&self) -> Credentials {
        self.credentials.of_pods()
    }

    /// The UUID that peers know the cluster by.
    pub(crate) fn cluster_uuid(&self) -> &ClusterUuid {
        &self.cluster_uuid
    }

    /// The cluster; `None` if its key or a root is invalid.
    pub(crate) fn cluster(&self) -> Option<LocalCluster> {
        let roots = match self.root_ca.is_empty() {
            true => Vec::new(),
            false => roots_from_pem(&self.root_ca, Limits::default().certificate_bytes),
        };
        Some(LocalCluster {
            trust_domain: self.trust_domain.clone(),
            cluster_uuid: self.cluster_uuid.clone(),
            authn_key: PublicKey::from_pem(&self.authn_key_pub).ok()?,
            other_key: self.other_key_pub.as_deref().and_then(|pem| PublicKey::from_pem(pem).ok()),
            roots: roots.into_iter().collect::<Result<_, _>>().ok()?,
            credentials: self.credentials.clone(),
            network: self.network.clone(),
            gateways: self.gateways.clone(),
            reach: self.reach.clone(),
            gateway_identities: self.gateway_identities.clone(),
            health_name: self.health_name,
            passthrough: self.passthrough.clone(),
            own_addresses: self.own.clone(),
            federated_suffix: self.federated_suffix.clone(),
        })
    }
}

/// Extracts what is needed from a ConfigMap.
pub(crate) fn keep(object: DynamicObject) -> Memory {
    let label =
        object.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL)).map(String::as_str);
    let found = match label {
        Some(CLUSTER) => cluster(&object),
        Some(PEER) => peer(&object),
        _ => None,
    };
    found.unwrap_or(Memory::Nothing)
}

fn cluster(object: &DynamicObject) -> Option<Memory> {
    let json = |key: &str| object.data.get("data")?.get(key).and_then(Value::as_str);
    let published = json(PUBLISHED_KEY).and_then(|text| serde_json::from_str(text).ok())?;
    let record = json(CLUSTER_KEY).and_then(|text| serde_json::from_str(text).ok());
    Some(Memory::Cluster { published, record })
}

fn peer(object: &DynamicObject) -> Option<Memory> {
    use base64::Engine;
    let name = PeerName::parse(object.metadata.annotations.as_ref()?.get(PEER_ANNOTATION)?).ok()?;
    let packed = object.data.get("binaryData")?.get(KNOWLEDGE_KEY)?.as_str()?;
    let packed = base64::prelude::BASE64_STANDARD.decode(packed).ok()?;
    Some(Memory::Peer(name, std::sync::Arc::new(unpacked(&packed, UNPACKED)?)))
}

/// The maximum size of packed knowledge in bytes that fits into an object next to everything else.
const PACKED: usize = 768 << 10;

/// Packs knowledge; equal knowledge gives equal bytes. If it is too large for an object, the
/// private document is left out: after a restart the peer's roots and key are known, and the rest
/// is asked for.
pub(crate) fn pack(knowledge: &PeerKnowledge) -> Vec<u8> {
    let packed = packed(knowledge);
    match packed.len() <= PACKED {
        true => packed,
        false => self::packed(&PeerKnowledge { private: None, held: None, ..knowledge.clone() }),
    }
}

/// Packs a value (gzip of JSON); equal values give equal bytes.
pub(crate) fn packed(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(value).unwrap_or_default();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(&json);
    encoder.finish().unwrap_or_default()
}

/// Unpacks a value whose JSON has at most `limit` bytes.
pub(crate) fn unpacked<T: DeserializeOwned>(packed: &[u8], limit: u64) -> Option<T> {
    let mut json = Vec::new();
    GzDecoder::new(packed).take(limit).read_to_end(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}

/// The maximum size of a packed history in bytes. In base64 it is a third larger.
const PACKED_CHANGES: usize = 384 << 10;

/// Packs a history. One that is too large loses first what was in force, then its oldest changes.
pub(crate) fn pack_changes(history: &History) -> Vec<u8> {
    let mut packed = packed(history);
    let mut most = MOST_CHANGES;
    while packed.len() > PACKED_CHANGES && most > 0 {
        packed = self::packed(&history.shortened(most));
        most /= 2;
    }
    packed
}

/// Why a stored history cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangesError(pub(crate) String);

/// What happened, as the leader stored it.
pub(crate) fn read_changes(object: &DynamicObject) -> Result<History, ChangesError> {
    use base64::Engine;
    let wrong = |what: &str| ChangesError(format!("binaryData.{CHANGES_KEY}: {what}"));
    let text = object.data.get("binaryData").and_then(|data| data.get(CHANGES_KEY)?.as_str());
    let text = text.ok_or_else(|| wrong("it is missing"))?;
    let packed = base64::prelude::BASE64_STANDARD.decode(text);
    let packed = packed.map_err(|_| wrong("it is not base64"))?;
    let mut json = Vec::new();
    let unpacked = GzDecoder::new(packed.as_slice()).take(UNPACKED).read_to_end(&mut json);
    unpacked.map_err(|_| wrong("it cannot be unpacked"))?;
    let history = serde_json::from_slice::<History>(&json);
    history.map(History::bounded).map_err(|_| wrong("it is not a history"))
}

/// What is known of each peer.
pub(crate) fn knowledge(memory: &BTreeMap<Key, Memory>) -> BTreeMap<PeerName, PeerKnowledge> {
    let peer = |memory: &Memory| match memory {
        Memory::Peer(name, knowledge) => Some((name.clone(), knowledge.as_ref().clone())),
        _ => None,
    };
    memory.values().filter_map(peer).collect()
}

/// The versions of what was published last.
pub(crate) fn published(memory: &BTreeMap<Key, Memory>) -> Option<Published> {
    memory.values().find_map(|memory| match memory {
        Memory::Cluster { published, .. } => Some(published.clone()),
        _ => None,
    })
}

/// This cluster, as the controller stored it.
pub(crate) fn record(memory: &BTreeMap<Key, Memory>) -> Option<&ClusterRecord> {
    memory.values().find_map(|memory| match memory {
        Memory::Cluster { record, .. } => record.as_deref(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use fedgate_engine::history::{Change, ChangeKind};
    use serde_json::json;
    use sha2::{Digest, Sha512};

    fn nothing_known() -> PeerKnowledge {
        let none = Value::Null;
        let json = json!({ "trustDomain": "beta.example", "public": none, "private": none, "uuidSince": none,
            "publicExchange": none, "privateExchange": none, "held": none });
        serde_json::from_value(json).unwrap()
    }

    fn config_map(packed: &[u8]) -> Memory {
        let packed = base64::prelude::BASE64_STANDARD.encode(packed);
        let object = json!({
            "metadata": { "name": "x", "labels": { LABEL: PEER }, "annotations": { PEER_ANNOTATION: "beta" } },
            "binaryData": { KNOWLEDGE_KEY: packed },
        });
        keep(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn knowledge_survives_packing() {
        let known = nothing_known();
        let Memory::Peer(name, read) = config_map(&pack(&known)) else { panic!("no peer") };
        assert_eq!((name.as_str(), read.as_ref()), ("beta", &known));
        assert_eq!(pack(&known), pack(&read));
    }

    #[test]
    fn invalid_content_is_ignored() {
        assert_eq!(config_map(b"no gzip"), Memory::Nothing);
        let packed = pack(&nothing_known());
        assert_eq!(config_map(&packed[..packed.len() / 2]), Memory::Nothing);
        let without = json!({ "metadata": { "name": "x", "labels": { LABEL: CLUSTER } }, "data": { PUBLISHED_KEY: "{" } });
        assert_eq!(keep(serde_json::from_value(without).unwrap()), Memory::Nothing);
    }

    fn history(changes: usize) -> History {
        let mut history = History::default();
        // Text that cannot be packed well.
        let text = |number: usize| format!("{:x?}", Sha512::digest(number.to_string()));
        for number in 0..changes {
            let at = jiff::Timestamp::UNIX_EPOCH;
            history.put(vec![Change::new(
                at,
                ChangeKind::Peer,
                &number.to_string(),
                &text(number),
            )]);
        }
        history
    }

    fn stored(packed: &[u8]) -> Result<History, ChangesError> {
        let packed = base64::prelude::BASE64_STANDARD.encode(packed);
        let object =
            json!({ "metadata": { "name": CHANGES }, "binaryData": { CHANGES_KEY: packed } });
        read_changes(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_history_survives_packing_and_stays_far_below_the_limit_of_an_object() {
        let history = history(MOST_CHANGES);
        let packed = pack_changes(&history);
        assert!(packed.len() <= PACKED_CHANGES, "{}", packed.len());
        assert_eq!(stored(&packed).unwrap().changes(), history.changes());
    }

    #[test]
    fn a_damaged_history_says_what_is_wrong() {
        let packed = pack_changes(&history(3));
        for (bytes, says) in [
            (&b"no gzip"[..], "it cannot be unpacked"),
            (&packed[..packed.len() / 2], "it cannot be unpacked"),
            (&super::packed(&json!({ "changes": 7 })), "it is not a history"),
        ] {
            let ChangesError(why) = stored(bytes).unwrap_err();
            assert_eq!(why, format!("binaryData.{CHANGES_KEY}: {says}"));
        }
        let empty = json!({ "metadata": { "name": CHANGES } });
        let why = read_changes(&serde_json::from_value(empty).unwrap()).unwrap_err().0;
        assert!(why.ends_with("it is missing"), "{why}");
    }
}
