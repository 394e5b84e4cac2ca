//! The gateway's objects: its trust bundle, its table, its listener (`server`), and what makes the listener use both (`patches`).
//!
//! The filter's module comes by a ConfigMap (`shipping`). The table has an object of its own, so that the listener stays the same from one table to the next and no connection drains.
//!
//! All of them are the controller's and none is the chart's: they find each other by names, server names and ports, must come in an order, and
//! are put right when somebody changes them. So an upgrade of the chart alone changes no listener.

mod patches;
mod server;
mod shipping;

pub(crate) use shipping::Shipping;

use super::object::{Desired, Head};
use crate::envoy::{filter, trust};
use crate::kubernetes::kind::Kind;
use crate::kubernetes::settings::{ControllerSettings, Delivery, Waiting};
use fedgate_core::{Options, Table, WaitForIdentity, write_configuration};
use fedgate_federation::bundle::TrustBundle;
use fedgate_federation::{Finding, FindingReason, LocalCluster, ObjectRef};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The ConfigMap with the peers' roots, which is mounted into the gateway.
pub(crate) const TRUST_BUNDLE: &str = "fedgate-trust-bundle";
/// Its key.
pub(crate) const BUNDLES: &str = "bundles.json";
/// The EnvoyFilter with the table.
pub(crate) const TABLE: &str = "fedgate-table";
/// The EnvoyFilter that changes the listener.
pub(crate) const LISTENER: &str = "fedgate-gateway";
/// The Gateway.
pub(crate) const GATEWAY: &str = "fedgate-gateway";
/// Where a connection ends that no filter has sent anywhere: the VirtualService, and the ServiceEntry without endpoints.
pub(crate) const BLACK_HOLE: &str = "fedgate-black-hole";
/// The WasmPlugin.
pub(crate) const PLUGIN: &str = "fedgate";

/// The most bytes of an object with a table. etcd refuses requests of 1.5 MiB, and the object has more than the table in it.
pub(crate) const LARGEST_TABLE_OBJECT: usize = 1 << 20;

type Bundles = BTreeMap<fedgate_core::TrustDomain, TrustBundle>;

/// The objects, in the order in which they are to be written: the module and the roots before a table that counts on them, and the Gateway,
/// which opens the port, after all that closes it. A module that goes, goes last.
///
/// `table` is `None` when none could be built since the start: what is there stays. A table that is too large for an object is a finding, and its object stays as it is: it is never cut.
pub(crate) fn objects(
    settings: &ControllerSettings,
    local: &LocalCluster,
    bundles: &Bundles,
    table: Option<&Table>,
    shipping: &Shipping,
) -> (Vec<Desired>, Option<Finding>) {
    let objects = Objects { settings, shipping };
    let modules = shipping.config_map.clone();
    let mut wanted: Vec<_> = modules.iter().filter(|_| !shipping.drops).cloned().collect();
    // Without any root there is no bundle map that Envoy would take.
    if !bundles.is_empty() || !local.roots.is_empty() {
        wanted.push(objects.trust_bundle(local, bundles));
    }
    wanted.extend([objects.black_hole_host(), objects.black_hole_route(), objects.patches()]);
    let table = table.map(|table| objects.table(table));
    let size = table.as_ref().map_or(0, |(_, size)| *size);
    let fits = size <= LARGEST_TABLE_OBJECT;
    wanted.extend(table.filter(|_| fits).map(|(table, _)| table));
    wanted.push(objects.server());
    wanted.extend(modules.filter(|_| shipping.drops));
    if fits {
        return (wanted, None);
    }
    let message = format!(
        "it has {size} bytes as an object, and at most {LARGEST_TABLE_OBJECT} can be stored; the last one that was not too \
         large stays in force. Export fewer Services"
    );
    let cluster = ObjectRef::cluster(local.trust_domain.as_str());
    (wanted, Some(Finding::error(FindingReason::TableTooLarge, cluster, "", message)))
}

/// The names of the gateway's objects that stay though none of them is wanted at the moment.
pub(crate) fn keeps(kind: Kind, name: &str, delivery: Delivery) -> bool {
    match kind {
        Kind::ConfigMap => name == TRUST_BUNDLE,
        Kind::EnvoyFilter => name == LISTENER || (name == TABLE && delivery == Delivery::EnvoyFilter),
        Kind::WasmPlugin => name == PLUGIN && delivery == Delivery::WasmPlugin,
        Kind::Gateway => name == GATEWAY,
        Kind::VirtualService | Kind::ServiceEntry => name == BLACK_HOLE,
        _ => false,
    }
}

struct Objects<'a> {
    settings: &'a ControllerSettings,
    shipping: &'a Shipping,
}

impl Objects<'_> {
    fn head<'a>(&'a self, kind: Kind, name: &'a str) -> Head<'a> {
        let places = &self.settings.places;
        Head { kind, namespace: places.gateway(), name, owner: &places.namespace, peer: None }
    }

    fn trust_bundle(&self, local: &LocalCluster, bundles: &Bundles) -> Desired {
        let map = trust::bundles_or_nobody(&local.trust_domain, &local.roots, bundles);
        let map = String::from_utf8_lossy(&map).into_owned();
        Desired::new(self.head(Kind::ConfigMap, TRUST_BUNDLE), json!({ "data": { BUNDLES: map } }))
    }

    /// The object with the table, and its size in bytes.
    fn table(&self, table: &Table) -> (Desired, usize) {
        let configuration = write_configuration(table, self.options());
        let desired = match self.settings.places.delivery {
            Delivery::EnvoyFilter => {
                let extension = filter::extension_of(json!(configuration).to_string(), self.shipping.path());
                let patch = json!({
                    "applyTo": "EXTENSION_CONFIG",
                    "match": { "context": "GATEWAY" },
                    "patch": { "operation": "ADD", "value": extension },
                });
                self.envoy_filter(TABLE, vec![patch])
            }
            Delivery::WasmPlugin => {
                let spec = json!({
                    "selector": { "matchLabels": self.settings.gateway.selector.0 },
                    "type": "NETWORK",
                    "phase": "AUTHN",
                    "url": self.shipping.url,
                    "failStrategy": "FAIL_RELOAD",
                    "pluginName": PLUGIN,
                    "pluginConfig": configuration,
                });
                Desired::new(self.head(Kind::WasmPlugin, PLUGIN), json!({ "spec": spec }))
            }
        };
        let size = desired.body.to_string().len();
        (desired, size)
    }

    fn options(&self) -> Options {
        let wait_for_identity = match self.settings.gateway.wait_for_identity {
            Waiting::Paused => WaitForIdentity::Paused,
            Waiting::Connected => WaitForIdentity::Connected,
        };
        Options { wait_for_identity, ..Options::default() }
    }

    /// The names that callers ask for: all hosts of this cluster.
    fn hosts(&self) -> String {
        format!("*.{}", self.settings.trust_domain)
    }

    fn envoy_filter(&self, name: &str, patches: Vec<Value>) -> Desired {
        let selector = json!({ "labels": self.settings.gateway.selector.0 });
        let spec = json!({ "workloadSelector": selector, "configPatches": patches });
        Desired::new(self.head(Kind::EnvoyFilter, name), json!({ "spec": spec }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::Sample;
    use super::*;
    use crate::kubernetes::settings::tests::read;

    /// The listener's patches and the table, as texts.
    fn written(flags: &[&str]) -> [String; 2] {
        let in_force = Sample::healthy().snapshot().in_force;
        let settings = read(flags).unwrap();
        let shipping = Shipping::by_operator("file:///filter.wasm");
        let bundles = &in_force.federation.bundles;
        let (objects, _) = super::objects(&settings, &in_force.local, bundles, Some(&in_force.table), &shipping);
        let text = |name: &str| {
            let is = |object: &&Desired| object.kind == Kind::EnvoyFilter && object.name == name;
            objects.iter().find(is).unwrap().body.to_string()
        };
        [text(LISTENER), text(TABLE)]
    }

    #[test]
    fn an_older_envoy_is_given_no_field_that_it_does_not_know() {
        // Each is known from Envoy 1.37 on.
        let newer = ["max_early_data_bytes", "on_downstream_tls_handshake"];
        let [listener, table] = written(&[]);
        assert!(newer.iter().all(|field| listener.contains(field)), "{listener}");
        assert!(table.contains("paused") && !table.contains("connected"), "{table}");
        let [listener, table] = written(&["--wait-for-identity", "Connected"]);
        assert!(newer.iter().all(|field| !listener.contains(field)), "{listener}");
        assert!(listener.contains("config_discovery") && listener.contains("trust_bundles"), "all the rest stays");
        assert!(table.contains("connected") && !table.contains("paused"), "{table}");
    }
}
