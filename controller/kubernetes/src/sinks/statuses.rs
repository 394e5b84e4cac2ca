//! Decides which `IstioFederation`s and `FederatedService`s need a new status, and writes it.

use crate::api::fingerprint::{Fingerprint, fingerprint};
use crate::api::owner::FIELD_MANAGER;
use crate::api::watch::Key;
use crate::replica::compiled::Compiled;
use crate::sources::federated::FederatedObject;
use crate::sources::federation::FederationObject;
use crate::status::{DesiredStatus, desired, federated};
use fedgate_core::PeerName;
use fedgate_federation::Finding;
use fedgate_federation::federate::{Condition, ConditionType, PeerReport, table_too_large};
use jiff::Timestamp;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Fingerprints of statuses that the API server did not store as written: a foreign CRD drops
/// fields that it does not know. What the API server returned counts as what was written.
#[derive(Debug, Default)]
pub(crate) struct Kept(BTreeMap<Key, (Fingerprint, Fingerprint)>);

impl Kept {
    /// Returns true if the object's status is as wanted.
    pub(super) fn is_settled(&self, key: &Key, is: Fingerprint, wanted: Fingerprint) -> bool {
        is == wanted || self.0.get(key) == Some(&(wanted, is))
    }
}

/// The conditions of the gateway, which are the same for every peer.
#[derive(Debug, Default)]
pub(crate) struct OfGateway<'a> {
    /// The finding about a table that is too large for an object.
    pub(crate) too_large: Option<&'a Finding>,
    /// Whether the gateway's Pods have the table; `None` to keep the present condition.
    pub(crate) loaded: Option<Condition>,
}

/// The statuses that differ from what is wanted.
pub(crate) fn to_write(
    compiled: &Compiled,
    of_gateway: &OfGateway<'_>,
    federations: &BTreeMap<Key, FederationObject>,
    kept: &Kept,
    now: Timestamp,
) -> Vec<(Key, DesiredStatus)> {
    let conditions = conditions(compiled, of_gateway);
    let status = |(key, object): (&Key, &FederationObject)| {
        let mut conditions = conditions.get(key.name.as_str())?.clone();
        if of_gateway.loaded.is_none() && is_peer(&conditions) {
            conditions.extend(object.condition(ConditionType::TableLoaded));
        }
        if compiled.generations.get(&key.name) != Some(&object.generation) {
            // The spec is newer; the next compilation handles it.
            return None;
        }
        if !object.conditions.is_empty() && compiled.is_pending(&key.name) {
            return None;
        }
        let knowledge =
            PeerName::parse(&key.name).ok().and_then(|name| compiled.knowledge.get(&name));
        let wanted = desired(object, &conditions, knowledge, now);
        (!kept.is_settled(key, object.status, wanted.fingerprint)).then(|| (key.clone(), wanted))
    };
    federations.iter().filter_map(status).collect()
}

/// The same for `FederatedService`s.
pub(crate) fn federated_to_write(
    compiled: &Compiled,
    objects: &BTreeMap<Key, FederatedObject>,
    kept: &Kept,
    now: Timestamp,
) -> Vec<(Key, DesiredStatus)> {
    let federation = &compiled.in_force.federation;
    let services: BTreeMap<_, _> = federation
        .federated_services
        .iter()
        .map(|service| ((service.namespace.as_str(), service.name.as_str()), service))
        .collect();
    let status = |(key, object): (&Key, &FederatedObject)| {
        if compiled.federated_generations.get(key) != Some(&object.generation) {
            // The spec is newer; the next compilation handles it.
            return None;
        }
        let (namespace, name) = (key.namespace.as_str(), key.name.as_str());
        let service = services.get(&(namespace, name)).copied();
        let refused = federated::refusal(&federation.findings, namespace, name);
        let wanted = federated::desired(object, service, refused, now);
        (!kept.is_settled(key, object.status, wanted.fingerprint)).then(|| (key.clone(), wanted))
    };
    objects.iter().filter_map(status).collect()
}

/// Only peers get the gateway's conditions; objects that do not describe a peer do not.
fn is_peer(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| condition.kind == ConditionType::TableTooLarge)
}

/// The conditions of each object: for a peer those of its report, for the others the reason why
/// they are not peers.
fn conditions<'a>(
    compiled: &'a Compiled,
    of_gateway: &OfGateway<'_>,
) -> BTreeMap<&'a str, Vec<Condition>> {
    let OfGateway { too_large, loaded } = of_gateway;
    let federation = &compiled.in_force.federation;
    let peer = |report: &'a PeerReport| {
        let own = report.conditions.iter().cloned();
        (
            report.peer.name.as_str(),
            own.chain([table_too_large(*too_large)]).chain(loaded.clone()).collect(),
        )
    };
    let peers = federation.peers.iter().map(peer);
    let others = federation
        .non_peers
        .iter()
        .map(|(name, condition)| (name.as_str(), vec![condition.clone()]));
    peers.chain(others).collect()
}

/// Writes a whole status. The caller passes the returned object to the watch; `kept` remembers
/// whether the status came back as written.
///
/// This is not a server-side apply, which fails as a whole if the definition lacks a field. A
/// foreign definition may lack some of ours. From a patch, the API server takes the fields that it
/// knows.
///
/// # Errors
/// The API server's error. An object that no longer exists is not an error.
pub(crate) async fn write(
    api: &Api<DynamicObject>,
    key: &Key,
    wanted: &DesiredStatus,
    kept: &mut Kept,
) -> kube::Result<Option<DynamicObject>> {
    // Adding an existing field replaces it.
    let patch = json!([{ "op": "add", "path": "/status", "value": wanted.value }]);
    let patch: Patch<()> =
        Patch::Json(serde_json::from_value(patch).map_err(kube::Error::SerdeError)?);
    let parameters =
        PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_status(&key.name, &parameters, &patch).await {
        Ok(object) => {
            let is = fingerprint(object.data.get("status").unwrap_or(&Value::Null));
            match is == wanted.fingerprint {
                true => drop(kept.0.remove(key)),
                false => drop(kept.0.insert(key.clone(), (wanted.fingerprint, is))),
            }
            Ok(Some(object))
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
