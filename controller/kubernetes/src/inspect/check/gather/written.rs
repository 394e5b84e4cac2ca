//! Lists the owners of the objects of the kinds that fedgate writes, without their content.

use super::super::facts::{Owned, Written};
use crate::api::kind::Kind;
use crate::api::owner::OWNER;
use crate::api::watch::Key;
use crate::inspect::snapshot::refused;
use crate::settings::Namespaces;
use crate::sinks::gateway::TRUST_BUNDLE;
use crate::sinks::gateway::table_object;
use kube::api::{DynamicObject, ListParams};
use kube::core::PartialObjectMeta;
use kube::{Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};

pub(super) async fn ask(client: &Client, namespaces: &Namespaces) -> Written {
    let (table, _) = table_object(namespaces.delivery);
    let kinds = BTreeSet::from([
        (Kind::EnvoyFilter, namespaces.gateway()),
        (table, namespaces.gateway()),
        (Kind::ServiceEntry, namespaces.imports()),
        (Kind::DestinationRule, namespaces.imports()),
        (Kind::EnvoyFilter, namespaces.root.as_str()),
    ]);
    let mut written = BTreeMap::new();
    let mut add = |kind: Kind, namespace: &str, object: PartialObjectMeta<DynamicObject>| {
        let owner = object.labels().get(OWNER).map(String::as_str);
        let owned = if owner == Some(namespaces.own()) { Owned::Ours } else { Owned::Foreign };
        let key = Key { namespace: namespace.to_owned(), name: object.name_any() };
        written.insert((kind, key), owned);
    };
    for (kind, namespace) in kinds {
        let listed = kind.within(client, namespace).list_metadata(&ListParams::default()).await;
        let listed = listed.map_err(|error| describe(&error, "list", kind, namespace))?;
        listed.items.into_iter().for_each(|object| add(kind, namespace, object));
    }
    // There are many ConfigMaps, and most do not concern us.
    let (kind, namespace) = (Kind::ConfigMap, namespaces.gateway());
    let found = kind.within(client, namespace).get_metadata_opt(TRUST_BUNDLE).await;
    let found = found.map_err(|error| describe(&error, "get", kind, namespace))?;
    found.into_iter().for_each(|object| add(kind, namespace, object));
    Ok(written)
}

fn describe(error: &kube::Error, verb: &str, kind: Kind, namespace: &str) -> String {
    format!("{:#}", refused(error, verb, &kind.qualified(), Some(namespace)))
}
