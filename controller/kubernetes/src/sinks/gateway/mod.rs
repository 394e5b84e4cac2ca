//! The gateway's objects: its trust bundle, its table, its listener (`server`), and the patches
//! that make the listener use both (`patches`).
//!
//! The proxy-wasm module comes in a ConfigMap (`shipping`), the native one with the Pod. The table
//! has an object of its own, so a new table does not change the listener, and no connection drains.
//!
//! All of them belong to the controller, and none to the chart. They refer to each other by names,
//! server names and ports, have to be written in a certain order, and are corrected when someone
//! changes them. So an upgrade of the chart alone changes no listener.

mod patches;
mod server;
mod shipping;

pub(crate) use shipping::Shipping;

use super::object::{Desired, Head};
use crate::api::kind::Kind;
use crate::settings::{ControllerSettings, Delivery};
use fedgate_core::{Hostname, Options, Table, TrustDomain, write_configuration};
use fedgate_envoy::{filter, trust};
use fedgate_federation::bundle::TrustBundle;
use fedgate_federation::{Federation, Finding, FindingReason, LocalCluster, ObjectRef};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The ConfigMap with the peers' roots. The gateway mounts it.
pub(crate) const TRUST_BUNDLE: &str = "fedgate-trust-bundle";
/// Its key.
pub(crate) const BUNDLES: &str = "bundles.json";
/// The EnvoyFilter with the table.
pub(crate) const TABLE: &str = "fedgate-table";
/// The EnvoyFilter that changes the listener.
pub(crate) const LISTENER: &str = "fedgate-gateway";
/// The Gateway.
pub(crate) const GATEWAY: &str = "fedgate-gateway";
/// The black hole for connections that no filter routes: the VirtualService, and the ServiceEntry
/// without endpoints.
pub(crate) const BLACK_HOLE: &str = "fedgate-black-hole";
/// The ServiceEntry of the health name.
pub(crate) const HEALTH: &str = "fedgate-health";
/// The WasmPlugin.
pub(crate) const PLUGIN: &str = "fedgate";

/// The maximum size of an object with a table, in bytes. etcd refuses requests of 1.5 MiB, and a
/// request holds more than the table.
pub(crate) const LARGEST_TABLE_OBJECT: usize = 1 << 20;

/// The objects, in the order in which they must be written. The module and the roots come before a
/// table that needs them. The Gateway, which opens the port, comes after everything that protects
/// the port. A module that is dropped goes last.
///
/// `table` is `None` if none could be built since the start; the existing one then stays. A table
/// that is too large for an object is never truncated: it yields a finding, and the existing object
/// stays as it is.
pub(crate) fn objects(
    settings: &ControllerSettings,
    local: &LocalCluster,
    federation: &Federation,
    table: Option<&Table>,
    shipping: &Shipping,
) -> (Vec<Desired>, Option<Finding>) {
    let (objects, bundles) = (Objects { settings, shipping }, &federation.bundles);
    let modules = shipping.config_map.clone();
    let mut wanted: Vec<_> = modules.iter().filter(|_| !shipping.drops).cloned().collect();
    // Without any root there is no bundle map that Envoy accepts.
    if !bundles.is_empty() || !local.roots.is_empty() {
        wanted.push(objects.trust_bundle(local, bundles));
    }
    wanted.extend([objects.black_hole_host(), objects.black_hole_route(), objects.patches()]);
    wanted.extend(federation.health.as_ref().map(|health| objects.health_host(health)));
    // Without a table it is unknown which Services have their TLS passed through, so the existing
    // server stays.
    let server = (table.is_some() || !settings.gateway.passthrough)
        .then(|| objects.server(&passed_through(table)));
    let table = table.map(|table| objects.table(table));
    let size = table.as_ref().map_or(0, |(_, size)| *size);
    let fits = size <= LARGEST_TABLE_OBJECT;
    wanted.extend(table.filter(|_| fits).map(|(table, _)| table));
    wanted.extend(server);
    wanted.extend(modules.filter(|_| shipping.drops));
    if fits {
        return (wanted, None);
    }
    (wanted, Some(too_large(size, ObjectRef::cluster(local.trust_domain.as_str()))))
}

pub(crate) fn too_large(size: usize, cluster: ObjectRef) -> Finding {
    let message = format!(
        "the table takes {size} bytes as an object, but at most {LARGEST_TABLE_OBJECT} can be stored; the last table that fits \
         stays in force; export fewer Services"
    );
    Finding::error(FindingReason::TableTooLarge, cluster, "", message)
}

/// Returns true for the gateway's objects that must not be deleted, even while they are not wanted.
pub(crate) fn keeps(kind: Kind, name: &str, delivery: Delivery) -> bool {
    if (kind, name) == table_object(delivery) {
        return true;
    }
    match kind {
        Kind::ConfigMap => name == TRUST_BUNDLE,
        Kind::EnvoyFilter => name == LISTENER,
        Kind::Gateway => name == GATEWAY,
        Kind::VirtualService | Kind::ServiceEntry => name == BLACK_HOLE,
        _ => false,
    }
}

/// The hosts whose TLS is passed through, in order.
fn passed_through(table: Option<&Table>) -> BTreeSet<Hostname> {
    let exports = table.into_iter().flat_map(Table::exports);
    exports.filter(|(_, export)| export.is_passthrough()).map(|(service, _)| service.host).collect()
}

struct Objects<'a> {
    settings: &'a ControllerSettings,
    shipping: &'a Shipping,
}

impl Objects<'_> {
    fn head<'a>(&'a self, kind: Kind, name: &'a str) -> Head<'a> {
        let namespaces = &self.settings.namespaces;
        Head { kind, namespace: namespaces.gateway(), name, owner: namespaces.own(), peer: None }
    }

    fn trust_bundle(
        &self,
        local: &LocalCluster,
        bundles: &BTreeMap<TrustDomain, TrustBundle>,
    ) -> Desired {
        let map = trust::bundles_or_nobody(&local.trust_domain, &local.roots, bundles);
        let map = String::from_utf8_lossy(&map).into_owned();
        Desired::new(self.head(Kind::ConfigMap, TRUST_BUNDLE), json!({ "data": { BUNDLES: map } }))
    }

    /// The object with the table, and its size in bytes.
    fn table(&self, table: &Table) -> (Desired, usize) {
        let named_callers = self.settings.gateway.named_callers;
        let options = Options { named_callers, ..Options::default() };
        let configuration = write_configuration(table, options);
        let delivery = self.settings.namespaces.delivery;
        let desired = match delivery {
            Delivery::EnvoyFilter | Delivery::DynamicModule => {
                let extension = filter::extension_of(
                    delivery.filter(),
                    json!(configuration).to_string(),
                    self.shipping.path(),
                );
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

/// The object that holds the table in this way of delivery.
pub(crate) fn table_object(delivery: Delivery) -> (Kind, &'static str) {
    match delivery {
        Delivery::EnvoyFilter | Delivery::DynamicModule => (Kind::EnvoyFilter, TABLE),
        Delivery::WasmPlugin => (Kind::WasmPlugin, PLUGIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use crate::settings::tests::read;
    use fedgate_core::TableBuilder;

    fn table(passed_through: &[&str]) -> Table {
        let mut builder = TableBuilder::new("alpha.example".parse().unwrap());
        for service in passed_through {
            builder.passthrough(service.parse().unwrap()).unwrap();
        }
        Table::read(builder.build(1).unwrap()).unwrap()
    }

    fn made(flags: &[&str], passed_through: &[&str]) -> BTreeMap<(Kind, String), Value> {
        let sample = Sample::healthy();
        let (settings, federation) = (read(flags).unwrap(), sample.snapshot().in_force.federation);
        let (objects, finding) = objects(
            &settings,
            &sample.local,
            &federation,
            Some(&table(passed_through)),
            &shipped(),
        );
        assert_eq!(finding, None);
        objects
            .into_iter()
            .map(|object| ((object.kind, object.name), object.body["spec"].clone()))
            .collect()
    }

    fn listener(made: &BTreeMap<(Kind, String), Value>) -> &Value {
        &made[&(Kind::EnvoyFilter, LISTENER.to_owned())]
    }

    const WEB: &str = "web.shop.svc.alpha.example:80";

    fn shipped() -> Shipping {
        Shipping::by_operator("file:///etc/fedgate/filter/sample.wasm")
    }

    #[test]
    fn without_passthrough_the_port_has_one_server() {
        let made = made(&[], &[]);
        let server = json!({
            "port": { "number": 15443, "name": "tls-federation", "protocol": "TLS" },
            "hosts": ["*.alpha.example"],
            "tls": { "mode": "ISTIO_MUTUAL" },
        });
        let expected = json!({ "selector": { "istio": "fedgate" }, "servers": [server] });
        assert_eq!(made[&(Kind::Gateway, GATEWAY.to_owned())], expected);
        assert!(!listener(&made).to_string().contains("passthrough"));
    }

    #[test]
    fn passthrough_adds_a_server_and_keeps_the_listeners_patches() {
        let (before, after) = (
            made(&["--passthrough"], &[]),
            made(&["--passthrough"], &[WEB, "db.shop.svc.alpha.example:5432"]),
        );
        let servers = |made: &BTreeMap<_, Value>| {
            made[&(Kind::Gateway, GATEWAY.to_owned())]["servers"].clone()
        };
        assert_eq!(servers(&before).as_array().map(Vec::len), Some(1));
        let passthrough = json!({
            "port": { "number": 15443, "name": "tls-passthrough", "protocol": "TLS" },
            "hosts": ["shop/db.shop.svc.alpha.example", "shop/web.shop.svc.alpha.example"],
            "tls": { "mode": "AUTO_PASSTHROUGH" },
        });
        assert_eq!(servers(&after)[1], passthrough);
        assert_eq!(
            listener(&before),
            listener(&after),
            "the listener would drain with each export"
        );
    }

    #[test]
    fn the_balancers_header_is_read_first_and_only_if_it_is_expected() {
        let of = |flags: &[&str]| {
            let made = made(flags, &[]);
            let patches = listener(&made)["configPatches"].as_array().unwrap().clone();
            let of_balancer = |patch: &Value| patch["applyTo"] == "LISTENER_FILTER";
            (patches.into_iter().find(of_balancer), listener(&made).to_string())
        };
        let (patch, text) = of(&["--gateway-proxy-protocol", "true"]);
        let patch = patch.unwrap();
        assert_eq!(patch["patch"]["operation"], "INSERT_FIRST");
        assert_eq!(patch["match"]["listener"]["portNumber"], 15443);
        assert!(text.contains("DOWNSTREAM_DIRECT_REMOTE_ADDRESS"), "{text}");
        let (patch, text) = of(&[]);
        assert_eq!(patch, None);
        assert!(!text.contains("DOWNSTREAM_DIRECT_REMOTE_ADDRESS"), "{text}");
    }

    /// The filter must not run before it knows that the chain passes TLS through.
    #[test]
    fn passthrough_is_marked_before_the_filter_in_each_delivery() {
        for (delivery, filters) in [("EnvoyFilter", 1), ("WasmPlugin", 0), ("DynamicModule", 1)] {
            let made = made(&["--passthrough", "--delivery", delivery], &[WEB]);
            let patches = listener(&made)["configPatches"].as_array().unwrap().clone();
            let chain = |patch: &&Value| {
                patch["match"]["listener"]["filterChain"]["applicationProtocols"].is_string()
            };
            let operations: Vec<_> = patches
                .iter()
                .filter(chain)
                .map(|patch| patch["patch"]["operation"].as_str().unwrap())
                .collect();
            let expected: Vec<_> =
                std::iter::repeat_n("INSERT_BEFORE", filters).chain(["INSERT_FIRST"]).collect();
            assert_eq!(operations, expected, "INSERT_FIRST comes last, and so in front of all");
        }
    }

    /// The filter reads the client from what the listener provides, and pauses in front of a
    /// tcp_proxy that must not stop reading. Envoy itself tells a dynamic module who the client is.
    #[test]
    fn the_listener_has_what_the_filter_needs_in_each_delivery() {
        for delivery in ["EnvoyFilter", "WasmPlugin", "DynamicModule"] {
            let text = listener(&made(&["--delivery", delivery], &[])).to_string();
            for needed in ["max_early_data_bytes", "trust_bundles"] {
                assert!(text.contains(needed), "{needed}: {text}");
            }
            let recorded = text.contains("on_downstream_tls_handshake");
            assert_eq!(recorded, delivery != "DynamicModule", "{text}");
        }
    }

    /// The listener asks by name and type. The type of the other filter would be refused.
    #[test]
    fn the_listener_asks_for_the_filter_that_the_table_object_has() {
        let mut names = BTreeSet::new();
        for delivery in ["EnvoyFilter", "DynamicModule"] {
            let made = made(&["--delivery", delivery], &[]);
            let patches = listener(&made)["configPatches"].as_array().unwrap();
            let values = patches.iter().map(|patch| &patch["patch"]["value"]);
            let mut asked = values.filter(|value| value["config_discovery"].is_object());
            let table = &made[&(Kind::EnvoyFilter, TABLE.to_owned())]["configPatches"][0];
            let (asked, extension) = (asked.next().unwrap(), &table["patch"]["value"]);
            assert_eq!(asked["name"], extension["name"]);
            let types = &asked["config_discovery"]["type_urls"];
            assert_eq!(*types, json!([extension["typed_config"]["@type"]]));
            names.insert(asked["name"].to_string());
        }
        assert_eq!(names.len(), 2, "an Envoy can change from one to the other: {names:?}");
    }

    #[test]
    fn the_native_filter_gets_its_table_and_its_path() {
        let made = made(&["--delivery", "DynamicModule"], &[]);
        assert!(!made.keys().any(|(kind, name)| *kind == Kind::WasmPlugin || name == "fedgate"));
        let table = &made[&(Kind::EnvoyFilter, TABLE.to_owned())]["configPatches"][0];
        assert_eq!(table["applyTo"], "EXTENSION_CONFIG");
        let filter = &table["patch"]["value"]["typed_config"];
        let file = &filter["dynamic_module_config"]["module"]["local"]["filename"];
        assert_eq!(*file, "/etc/fedgate/filter/sample.wasm");
        let configuration = filter["filter_config"]["value"].as_str().unwrap();
        let read = fedgate_core::read_configuration(configuration.as_bytes()).unwrap();
        assert_eq!(read.0.generation(), 1);
    }

    #[test]
    fn without_a_table_a_passthrough_gateway_is_not_written() {
        let sample = Sample::healthy();
        let federation = sample.snapshot().in_force.federation;
        let has_gateway = |flags: &[&str]| {
            let (objects, _) =
                objects(&read(flags).unwrap(), &sample.local, &federation, None, &shipped());
            objects.iter().any(|object| object.kind == Kind::Gateway)
        };
        assert!(!has_gateway(&["--passthrough"]) && has_gateway(&[]));
    }

    #[test]
    fn the_health_name_is_answered_only_if_enabled() {
        let mut sample = Sample::healthy();
        sample.local.health_name = true;
        sample.write(&fedgate_federation::federate::Published::default());
        let federation = sample.snapshot().in_force.federation;
        let (objects, _) = objects(&sample.settings, &sample.local, &federation, None, &shipped());
        let entry = objects.iter().find(|object| object.name == HEALTH).unwrap();
        let address = entry.body["spec"]["endpoints"][0]["address"].as_str().unwrap();
        assert_eq!(entry.body["spec"]["exportTo"], json!(["."]));
        let listener = objects.iter().find(|object| object.name == LISTENER).unwrap();
        let socket = address.strip_prefix("unix://").unwrap();
        assert!(socket.starts_with('@') && listener.body.to_string().contains(socket), "{address}");
        let off = made(&["--health-name", "false"], &[]);
        assert!(
            !off.contains_key(&(Kind::ServiceEntry, HEALTH.to_owned()))
                && !self::listener(&off).to_string().contains("/healthz")
        );
    }
}
