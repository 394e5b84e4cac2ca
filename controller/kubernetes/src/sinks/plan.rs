//! Compares the wanted objects with the existing ones.

use super::gateway::keeps;
use super::object::Desired;
use super::outputs::{Existing, Outputs};
use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::settings::Namespaces;
use std::collections::{BTreeMap, BTreeSet};

/// What to do about one object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// It does not exist.
    Create,
    /// It is ours and differs from what is wanted.
    Update(Existing),
    /// It belongs to someone else.
    Foreign,
}

/// What to do about `desired`; `None` if it is as wanted.
pub(crate) fn step(desired: &Desired, found: Option<Existing>, owner: &str) -> Option<Step> {
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
    namespaces: &Namespaces,
    unheard: &BTreeSet<String>,
) -> Vec<(Kind, Key, Existing)> {
    let mut unwanted = Vec::new();
    for ((kind, namespace), output) in outputs.all() {
        let ours = |found: &Existing| found.owner.as_deref() == Some(namespaces.own());
        let stays = |key: &Key, found: &Existing| {
            wanted.has(*kind, key)
                || (namespace == namespaces.gateway()
                    && keeps(*kind, &key.name, namespaces.delivery))
                || found.peer.as_ref().is_some_and(|peer| unheard.contains(peer))
        };
        let keys = output.watched.keys(|key, found| ours(found) && !stays(key, found));
        unwanted.extend(keys.into_iter().filter_map(|key| {
            let found = output.watched.get(&key)?;
            Some((*kind, key, found))
        }));
    }
    unwanted.extend(unwanted_elsewhere(outputs, wanted));
    unwanted
}

fn unwanted_elsewhere(outputs: &Outputs, wanted: &Wanted) -> Vec<(Kind, Key, Existing)> {
    let mut unwanted = Vec::new();
    for (kind, watched) in outputs.elsewhere() {
        let keys = watched.keys(|key, _| !wanted.has(kind, key)).into_iter();
        unwanted.extend(keys.filter_map(|key| Some((kind, key.clone(), watched.get(&key)?))));
    }
    unwanted
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
    fn only_our_own_objects_that_differ_are_written() {
        let desired = desired();
        let found = |owner: Option<&str>, fingerprint| {
            let owner = owner.map(str::to_owned);
            Some(Existing {
                uid: "1".into(),
                owner,
                peer: None,
                fingerprint,
                shipped: None,
                table: None,
                address: None,
                reserved: Default::default(),
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
