//! Binds each imported host to the roots of its owner, whatever else the mesh trusts.
//!
//! The client side enforces this: EnvoyFilters in the mesh's root namespace merge a SPIFFE
//! validator into the host's clusters. A patch can match only one host. istiod reads all
//! EnvoyFilters again whenever one changes, at a cost that grows with their number. With 400
//! imports in an object each, a push took twice as long as with the same patches in one object
//! (`cargo xtask bench istio`).
//!
//! So at most sixteen objects hold the patches of a peer, distributed by host name. A new import
//! changes only one of them, and none grows too large for etcd.

use super::object::{Desired, Head};
use crate::api::kind::Kind;
use crate::settings::ControllerSettings;
use fedgate_core::{Hostname, TrustDomain};
use fedgate_envoy::trust::{into_upstream_tls, spiffe_validator};
use fedgate_federation::bundle::{TrustBundle, bundle_map};
use fedgate_federation::federate::{Import, Imports};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The number of objects among which the hosts of a peer are distributed.
const OBJECTS: u32 = 16;

/// The name of the object that binds this host: `DIGIT.TRUSTDOMAIN`, which is never longer than the
/// host.
pub(crate) fn name(host: &Hostname, trust_domain: &TrustDomain) -> String {
    let digit = host.as_str().bytes().map(u32::from).sum::<u32>() % OBJECTS;
    format!("{digit:x}.{trust_domain}")
}

/// The objects, created lazily. Leaves out hosts whose owner has no trusted root.
pub(crate) fn objects<'a>(
    settings: &'a ControllerSettings,
    imports: &'a Imports,
    bundles: &'a BTreeMap<TrustDomain, TrustBundle>,
) -> impl Iterator<Item = Desired> + 'a {
    let mut named: BTreeMap<String, (&Import, BTreeSet<&Hostname>)> = BTreeMap::new();
    for import in imports.iter() {
        let name = name(&import.service.host, &import.trust_domain);
        named
            .entry(name)
            .or_insert_with(|| (import, BTreeSet::new()))
            .1
            .insert(&import.service.host);
    }
    named.into_iter().filter_map(|(name, (import, hosts))| {
        let bundle = bundles.get(&import.trust_domain)?;
        let namespaces = &settings.namespaces;
        let head = Head {
            kind: Kind::EnvoyFilter,
            namespace: &namespaces.root,
            name: &name,
            owner: namespaces.own(),
            peer: Some(import.peer.as_str()),
        };
        let socket = socket(bundle);
        let patches: Vec<_> = hosts.into_iter().map(|host| patch(host, &socket)).collect();
        Some(Desired::new(head, json!({ "spec": { "configPatches": patches } })))
    })
}

fn patch(host: &Hostname, socket: &Value) -> Value {
    json!({
        "applyTo": "CLUSTER",
        // All clients in the mesh: sidecars, and gateways that route to an import.
        "match": { "context": "ANY", "cluster": { "service": host.as_str() } },
        "patch": { "operation": "MERGE", "value": { "transport_socket": socket } },
    })
}

/// What is merged into a cluster's TLS settings: these roots, for their trust domain.
fn socket(bundle: &TrustBundle) -> Value {
    let map = String::from_utf8_lossy(&bundle_map([bundle])).into_owned();
    let validation =
        json!({ "custom_validator_config": spiffe_validator(json!({ "inline_string": map })) });
    into_upstream_tls(validation)
}
