//! Compares the wanted objects with the existing ones.

use super::gateway::keeps;
use super::object::Desired;
use super::outputs::{Found, Outputs};
use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::settings::Places;
use std::collections::{BTreeMap, BTreeSet};

/// What to do about one object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// It does not exist.
    Create,
    /// It is ours and differs from what is wanted.
    Update(Found),
    /// It belongs to someone else.
    Foreign,
}

/// What to do about `desired`; `None` if it is as wanted.
pub(crate) fn step(desired: &Desired, found: Option<Found>, owner: &str) -> Option<Step> {
    match found {
        None => Some(Step::Create),
        Some(found) if found.owner.as_deref() != Some(owner) => Some(Step::Foreign),
        Some(found) if found.fingerprint == desired.fingerprint => None,
        Some(found) => Some(Step::Update(found)),
    }
}

/// The names of all wanted objects.
#[derive(Debug, Default)]
pub(crate) struct Wanted(BTreeMap<(Kind, String), BTreeSet<String>>);

impl Wanted {
    /// Adds an object.
    pub(crate) fn add(&mut self, desired: &Desired) {
        self.add_name(desired.kind, &desired.namespace, &desired.name);
    }

    /// Adds an object by its name.
    pub(crate) fn add_name(&mut self, kind: Kind, namespace: &str, name: &str) {
        self.0.entry((kind, namespace.to_owned())).or_default().insert(name.to_owned());
    }

    fn has(&self, kind: Kind, key: &Key) -> bool {
        self.0.get(&(kind, key.namespace.clone())).is_some_and(|names| names.contains(&key.name))
    }
}

/// Our objects that are no longer wanted. Those of peers in `unheard` stay: these peers have not
/// answered since the start, so it is unknown what they offer.
pub(crate) fn unwanted(
    outputs: &Outputs,
    wanted: &Wanted,
    places: &Places,
    unheard: &BTreeSet<String>,
) -> Vec<(Kind, Key, Found)> {
    let mut unwanted = Vec::new();
    for ((kind, namespace), output) in outputs.all() {
        let ours = |found: &Found| found.owner.as_deref() == Some(&places.namespace);
        let stays = |key: &Key, found: &Found| {
            wanted.has(*kind, key)
                || (namespace == places.gateway() && keeps(*kind, &key.name, places.delivery))
                || found.peer.as_ref().is_some_and(|peer| unheard.contains(peer))
        };
        let keys = output.watched.keys(|key, found| ours(found) && !stays(key, found));
        unwanted.extend(keys.into_iter().filter_map(|key| {
            let found = output.watched.get(&key)?;
            Some((*kind, key, found))
        }));
    }
    unwanted.extend(unwanted_for_passthrough(outputs, wanted));
    unwanted
}

fn unwanted_for_passthrough(outputs: &Outputs, wanted: &Wanted) -> Vec<(Kind, Key, Found)> {
    let Some(passthrough) = outputs.passthrough() else { return Vec::new() };
    let keys = passthrough.watched.keys(|key, _| !wanted.has(Kind::EnvoyFilter, key));
    keys.into_iter()
        .filter_map(|key| Some((Kind::EnvoyFilter, key.clone(), passthrough.watched.get(&key)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::object::Head;
    use super::*;
    use serde_json::json;

    fn desired() -> Desired {
        let head = Head {
            kind: Kind::ServiceEntry,
            namespace: "a",
            name: "x",
            owner: "fedgate-system",
            peer: None,
        };
        Desired::new(head, json!({ "spec": { "hosts": ["x"] } }))
    }

    #[test]
    fn what_is_as_it_should_be_is_left_and_what_is_not_ours_too() {
        let desired = desired();
        let found = |owner: Option<&str>, fingerprint| {
            let owner = owner.map(str::to_owned);
            Some(Found {
                uid: "1".into(),
                owner,
                peer: None,
                fingerprint,
                shipped: None,
                table: None,
            })
        };
        let other = crate::api::fingerprint::fingerprint(&json!(1));
        let step = |found| step(&desired, found, "fedgate-system");
        assert_eq!(step(None), Some(Step::Create));
        assert_eq!(step(found(Some("fedgate-system"), desired.fingerprint)), None);
        assert!(matches!(step(found(Some("fedgate-system"), other)), Some(Step::Update(_))));
        assert_eq!(step(found(None, desired.fingerprint)), Some(Step::Foreign));
        assert_eq!(step(found(Some("another"), desired.fingerprint)), Some(Step::Foreign));
    }
}
