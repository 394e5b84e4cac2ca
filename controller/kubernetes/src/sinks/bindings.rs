//! Whose roots are believed for an imported host: its owner's and no others, whatever the mesh believes otherwise.
//!
//! It is said on the client's side, in the mesh's root namespace, by EnvoyFilters that merge a SPIFFE validator into the host's clusters. A
//! patch can only be for one host. istiod reads all EnvoyFilters anew whenever one has changed, and that costs by their number: 400 imports
//! with an object each made a push twice as dear as the same patches in one object (`cargo xtask bench istio`). So the patches of a
//! peer are in sixteen objects at most, by the host's name: a new import changes one of them, and none grows too large to be stored.

use super::object::{Desired, Head};
use crate::api::kind::Kind;
use crate::settings::ControllerSettings;
use fedgate_core::{Hostname, TrustDomain};
use fedgate_envoy::trust::{into_upstream_tls, spiffe_validator};
use fedgate_federation::bundle::{TrustBundle, bundle_map};
use fedgate_federation::federate::Import;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// In how many objects the hosts of a peer are.
const OBJECTS: u32 = 16;

/// The name of the object that binds this host: `DIGIT.TRUSTDOMAIN`, which is never longer than the host.
pub(crate) fn name(host: &Hostname, trust_domain: &TrustDomain) -> String {
    let digit = host.as_str().bytes().map(u32::from).sum::<u32>() % OBJECTS;
    format!("{digit:x}.{trust_domain}")
}

/// The objects, made one after another. A host without a root that could be believed is in none.
pub(crate) fn objects<'a>(
    settings: &'a ControllerSettings,
    imports: &'a [Import],
    bundles: &'a BTreeMap<TrustDomain, TrustBundle>,
) -> impl Iterator<Item = Desired> + 'a {
    let mut named: BTreeMap<String, (&Import, BTreeSet<&Hostname>)> = BTreeMap::new();
    for import in imports {
        let name = name(&import.service.host, &import.trust_domain);
        named.entry(name).or_insert_with(|| (import, BTreeSet::new())).1.insert(&import.service.host);
    }
    named.into_iter().filter_map(|(name, (import, hosts))| {
        let bundle = bundles.get(&import.trust_domain)?;
        let places = &settings.places;
        let head = Head {
            kind: Kind::EnvoyFilter,
            namespace: &places.root,
            name: &name,
            owner: &places.namespace,
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
        // Whoever of the mesh calls: sidecars, and gateways that lead to an import.
        "match": { "context": "ANY", "cluster": { "service": host.as_str() } },
        "patch": { "operation": "MERGE", "value": { "transport_socket": socket } },
    })
}

/// What is merged into a cluster's TLS: these roots, for their trust domain.
fn socket(bundle: &TrustBundle) -> Value {
    let map = String::from_utf8_lossy(&bundle_map([bundle])).into_owned();
    let validation = json!({ "custom_validator_config": spiffe_validator(json!({ "inline_string": map })) });
    into_upstream_tls(validation)
}
